-- For what is old enough to be forgotten.
create index log_at on log (at);
