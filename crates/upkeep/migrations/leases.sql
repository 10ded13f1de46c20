-- Who does a piece of periodic work, until when.
create table leases (
  name  text   not null primary key,
  owner text   not null,
  -- When it was last taken or renewed.
  since bigint not null,
  until bigint not null
);
-- Before when rows of a table may have been pruned.
create table pruned (
  name   text   not null primary key,
  before bigint not null
);
