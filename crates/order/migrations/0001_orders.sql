create table counters (
  kind text   primary key,
  last bigint not null
);
insert into counters (kind, last) values ('order', 0);

create table orders (
  id             text   primary key,
  number         bigint not null unique,
  customer_id    text,
  place_id       text   not null,
  state          text   not null,
  status         text   not null,
  states         text   not null,
  adjustments    text   not null,
  total          bigint not null,
  currency       text   not null,
  payment_method text   not null,
  payment_status text   not null,
  payment_id     text,
  reason         text,
  shipping       text,
  notes          text,
  placed_at      bigint not null,
  created_at     bigint not null,
  updated_at     bigint not null,
  version        bigint not null,
  sequence       bigint not null,
  archived       bigint not null default 0,
  -- What the client sent, to tell a repeat from another order under the same id.
  payload_hash   text   not null,
  -- The answer that refused the order, for whoever sends its id again.
  refusal        text,
  -- What is still to be done (null: nothing), and who does it until when.
  work           text,
  lease_owner    text   not null,
  lease_epoch    bigint not null,
  lease_until    bigint not null,
  constraint orders_total_check check (total >= 0),
  constraint orders_terminal_check check (work is not null or state in ('CONFIRMED', 'CANCELLED'))
);
create index orders_customer on orders (customer_id, number);
create index orders_place on orders (place_id, number);
create index orders_open on orders (lease_until) where work is not null;

create table order_lines (
  order_id   text   not null references orders (id),
  position   bigint not null,
  product_id text,
  name       text   not null,
  quantity   bigint not null,
  returned   bigint not null default 0,
  unit_price bigint not null,
  primary key (order_id, position),
  constraint order_lines_quantity_check check (quantity > 0),
  constraint order_lines_returned_check check (returned between 0 and quantity)
);

create table returns (
  id            text   primary key,
  order_id      text   not null references orders (id),
  payload_hash  text   not null,
  body          text   not null,
  refund_amount bigint not null,
  refund_status text   not null,
  created_at    bigint not null,
  constraint returns_refund_check check (refund_amount >= 0)
);
create index returns_order on returns (order_id);

-- Requests by their Idempotency-Key: written with the effect, the answer with its terminal state.
create table idempotency (
  subject      text   not null,
  route        text   not null,
  key          text   not null,
  payload_hash text   not null,
  -- The order (route orders) or return that the request made.
  target_id    text   not null,
  status       bigint,
  body         text,
  created_at   bigint not null,
  primary key (subject, route, key)
);
create index idempotency_target on idempotency (target_id) where status is null;
create index idempotency_age on idempotency (created_at);
