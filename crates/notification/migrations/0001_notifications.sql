create table notifications (
  -- Counts up; also the id of the live stream's events.
  number      {serial},
  id          text   not null unique,
  at          bigint not null,
  kind        text   not null,
  severity    text   not null,
  message     text   not null,
  subject     text   not null,
  order_id    text,
  -- Who may see it: this customer, staff of this place, and head office always.
  customer_id text,
  place_id    text,
  constraint notifications_severity_check check (severity in ('info', 'warning'))
);
create index notifications_customer on notifications (customer_id, number);
create index notifications_place on notifications (place_id, number);
create index notifications_order on notifications (order_id);
