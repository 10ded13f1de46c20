-- For what is old enough to be forgotten, among payments that stay for ever.
create index payments_tombstones on payments (updated_at) where status = 'tombstone';
create index sandbox_calls_at on sandbox_calls (at);
