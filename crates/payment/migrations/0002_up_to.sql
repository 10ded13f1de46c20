-- Whether a refund may give back less than was said, where less is left.
alter table operations add column up_to bigint not null default 0;
