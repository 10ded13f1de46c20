-- The catalogue, and answers kept for repeats.
create table counters (
  kind text   not null primary key,
  last bigint not null
);

create table products (
  id           text   not null,
  number       bigint not null unique,
  name         text   not null,
  description  text,
  category     text,
  -- Minor units.
  price        bigint not null constraint products_price_check check (price >= 0),
  currency     text   not null,
  active       bigint not null,
  -- Small letters of all that a search looks at.
  search       text   not null,
  -- What the client sent when he chose the id himself, to tell a repeat from a clash.
  created_from text   not null,
  created_at   bigint not null,
  updated_at   bigint not null,
  version      bigint not null,
  sequence     bigint not null,
  -- The id stays taken.
  deleted_at   bigint,
  primary key (id)
);
create index products_category on products (category, number);

create table idempotency (
  subject      text   not null,
  route        text   not null,
  key          text   not null,
  payload_hash text   not null,
  answer       text   not null,
  created_at   bigint not null,
  primary key (subject, route, key)
);
create index idempotency_created_at on idempotency (created_at);
