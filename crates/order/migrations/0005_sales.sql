-- Sales by day, month and year, so that a report of any range adds up few rows. Kept in the transactions that change orders.
create table sales_summary (
  -- orders: whole ones, with their adjustments; products: what was sold of one. Apart, since the first are few and read alone.
  what       text   not null,
  -- day, month or year
  grain      text   not null,
  -- Its first day, in days since 1970-01-01 (UTC), of when the orders were placed.
  starts     bigint not null,
  place_id   text   not null,
  -- '' of whole orders.
  product_id text   not null,
  orders     bigint not null,
  quantity   bigint not null,
  -- Minor units, less what came back.
  revenue    bigint not null,
  primary key (what, grain, starts, place_id, product_id)
) {without rowid};

-- Whether a confirmed order is in the summaries. Those from before are added by and by.
alter table orders add column summed bigint not null default 0;
create index orders_unsummed on orders (number) where summed = 0 and state = 'CONFIRMED';
