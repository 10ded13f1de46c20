-- For what is old enough to be forgotten.
create index notifications_at on notifications (at);
