-- The minimum writes of one order: its row, its line and its outbox row, in one commit.
\set id random(1, 1000000000000)
begin;
insert into bench_orders (customer_id, state, total, body) values (:id, 'CONFIRMED', 100, repeat('x', 600));
insert into bench_lines (order_id, product_id, quantity, unit_price) values (lastval(), 'bench-product', 1, 100);
insert into bench_outbox (topic, key, payload) values ('orders', :id, repeat('x', 800));
commit;
