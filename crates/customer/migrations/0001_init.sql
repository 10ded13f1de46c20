-- Customers, the users who log in, their tokens, the keys that sign these, and answers kept for repeats.
create table counters (
  kind text   not null primary key,
  last bigint not null
);

create table customers (
  id            text   not null,
  number        bigint not null unique,
  name          text   not null,
  first_name    text,
  last_name     text,
  email         text,
  -- Small letters: unique without regard to case.
  email_lower   text unique,
  phone         text,
  address       text,
  -- Small letters of all that a search looks at.
  search        text   not null,
  -- What the client sent when it chose the id itself, to tell a repeat from a clash.
  created_from  text,
  created_at    bigint not null,
  updated_at    bigint not null,
  version       bigint not null,
  sequence      bigint not null,
  anonymised_at bigint,
  primary key (id)
);

create table users (
  id             text   not null,
  username       text   not null,
  username_lower text   not null unique,
  email          text   not null,
  email_lower    text   not null unique,
  name           text   not null,
  password_hash  text   not null,
  roles          text   not null,
  stores         text   not null,
  customer_id    text unique,
  created_at     bigint not null,
  version        bigint not null,
  primary key (id)
);
create index users_created_at on users (created_at, id);

create table tokens (
  jti        text   not null,
  user_id    text   not null,
  expires_at bigint not null,
  revoked    bigint not null default 0,
  primary key (jti)
);
create index tokens_user_id on tokens (user_id);
create index tokens_expires_at on tokens (expires_at);

create table signing_keys (
  kid        text   not null,
  pkcs8      text   not null,
  created_at bigint not null,
  primary key (kid)
);

create table idempotency (
  subject      text   not null,
  route        text   not null,
  key          text   not null,
  payload_hash text   not null,
  about        text   not null,
  status       bigint not null,
  body         text   not null,
  location     text   not null,
  etag         text   not null,
  created_at   bigint not null,
  primary key (subject, route, key)
);
create index idempotency_created_at on idempotency (created_at);
create index idempotency_about on idempotency (about);
