-- What clients keep with an order in their own words: JSON of texts.
alter table orders add column metadata text;
