-- Goods on their way between places, and the two movements that they make.

-- Neither engine lets a check be widened in the same words, so the ledger is copied into a table with the wider one.
alter table ledger rename to ledger_before;
create table ledger (
    id text not null,
    product_id text not null,
    place_id text not null references places (id),
    kind text not null,
    quantity bigint not null,
    balance bigint not null,
    cause text not null,
    reason text not null,
    actor text not null,
    at bigint not null,
    constraint ledger_id_pkey primary key (id),
    constraint ledger_kinds_check check (kind in ('adjusted', 'sold', 'restocked', 'sent', 'received')),
    constraint ledger_quantities_check check (quantity <> 0),
    constraint ledger_balances_check check (balance >= 0)
);
insert into ledger (id, product_id, place_id, kind, quantity, balance, cause, reason, actor, at)
    select id, product_id, place_id, kind, quantity, balance, cause, reason, actor, at from ledger_before;
drop table ledger_before;
create index ledger_by_product on ledger (product_id, place_id, id);

create table replenishments (
    id text not null,
    number bigint not null,
    product_id text not null,
    from_place_id text not null references places (id),
    place_id text not null references places (id),
    quantity bigint not null,
    stage text not null,
    -- What left, and what was counted on arrival so far.
    shipped bigint not null,
    received bigint not null,
    -- 1: made because the level was low.
    automatic bigint not null,
    reason text,
    -- JSON, as it is shown.
    history text not null,
    -- Counts changes and events.
    sequence bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    constraint replenishments_pkey primary key (id),
    unique (number),
    constraint replenishments_quantity_check check (quantity > 0),
    constraint replenishments_places_check check (place_id <> from_place_id),
    constraint replenishments_shipped_check check (shipped >= 0 and received >= 0),
    constraint replenishments_stage_check check (stage in ('requested', 'approved', 'refused', 'in_transit', 'received'))
);
create index replenishments_by_stage on replenishments (stage, number);
create index replenishments_in_transit on replenishments (product_id, place_id) where stage = 'in_transit';
-- A level that is low asks once.
create unique index replenishments_automatic on replenishments (product_id, place_id)
    where automatic = 1 and stage in ('requested', 'approved', 'in_transit');

insert into counters (name, value) values ('replenishment', 0);
