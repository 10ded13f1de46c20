-- Where an order was taken: web, or store for a sale at a till.
alter table orders add column channel text not null default 'web';
