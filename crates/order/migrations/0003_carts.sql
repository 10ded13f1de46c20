-- Items of carts count from 1 over all carts.
insert into counters (kind, last) values ('cart_item', 0);

-- A customer's cart has the customer's id; a guest's has an id that nobody guesses.
create table carts (
  id            text   primary key,
  customer_id   text,
  -- Whose stock it would take, once somebody has said.
  place_id      text,
  -- The id of the order that the next checkout makes; while `checking_out`, of the order that it is becoming.
  order_id      text   not null,
  checking_out  bigint not null default 0,
  last_order_id text,
  created_at    bigint not null,
  updated_at    bigint not null,
  version       bigint not null
);
create index carts_updated on carts (updated_at, id);
create index carts_guests on carts (updated_at) where customer_id is null;

create table cart_items (
  cart_id    text   not null references carts (id) on delete cascade,
  product_id text   not null,
  id         text   not null,
  number     bigint not null,
  -- As it was when somebody last looked.
  name       text   not null,
  unit_price bigint not null,
  available  bigint,
  gone       bigint not null default 0,
  quantity   bigint not null,
  primary key (cart_id, product_id),
  constraint cart_items_number_key unique (number),
  constraint cart_items_quantity_check check (quantity > 0)
);

-- The cart of which an order was made.
alter table orders add column cart_id text;
