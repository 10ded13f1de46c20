-- Where people moved an order, when and who; the saga's states stand in `states`.
alter table orders add column history text not null default '[]';
