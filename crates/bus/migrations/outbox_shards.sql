-- Messages of one key are in one shard; one relay at a time publishes a shard.
alter table outbox add column shard bigint not null default 0;
-- For what is old enough to be forgotten.
create index outbox_published on outbox (published_at) where published_at is not null;
create index inbox_at on inbox (at);
