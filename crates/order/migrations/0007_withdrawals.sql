-- Orders whose client must confirm that it knows of them, and orders that their client gave up. A decided withdrawal of an unknown order
-- is a tombstone: it refuses the order if that comes late.
create table withdrawals (
  order_id text   primary key,
  -- When the order is withdrawn unless its client acknowledges it; when it was decided.
  due_at   bigint not null,
  decided  bigint not null,
  -- Whether nothing is left to do.
  done     bigint not null,
  actor    text   not null
);
create index withdrawals_open on withdrawals (due_at) where done = 0;
