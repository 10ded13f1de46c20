-- Stock of many places. Times are microseconds since 1970.

create table places (
    id text not null,
    number bigint not null,
    name text not null,
    kind text not null,
    -- JSON, as it is shown.
    address text,
    created_at bigint not null,
    constraint places_pkey primary key (id),
    unique (number),
    constraint places_kind_check check (kind in ('store', 'logistics'))
);

create table levels (
    product_id text not null,
    place_id text not null references places (id),
    on_hand bigint not null,
    reserved bigint not null,
    threshold bigint,
    -- Events told about this level.
    sequence bigint not null,
    constraint levels_pkey primary key (product_id, place_id),
    constraint levels_on_hand_check check (on_hand >= 0),
    constraint levels_reserved_check check (reserved >= 0 and reserved <= on_hand),
    constraint levels_threshold_check check (threshold >= 0)
);

create table reservations (
    order_id text not null,
    -- None where a release came before the reserve.
    place_id text references places (id),
    state text not null,
    -- Events told about this order's stock.
    sequence bigint not null,
    -- When the order service is asked whether it still wants it.
    expires_at bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    constraint reservations_pkey primary key (order_id),
    constraint reservations_state_check check (state in ('held', 'committed', 'released'))
);
create index reservations_expiring on reservations (expires_at) where state = 'held';

create table reservation_lines (
    order_id text not null references reservations (order_id),
    product_id text not null,
    quantity bigint not null,
    -- Of what was sold, what came back on the shelf.
    restocked bigint not null,
    constraint reservation_lines_pkey primary key (order_id, product_id),
    constraint reservation_lines_quantity_check check (quantity > 0),
    constraint reservation_lines_restocked_check check (restocked >= 0 and restocked <= quantity)
);

create table adjustments (
    id text not null,
    product_id text not null,
    place_id text not null references places (id),
    delta bigint not null,
    reason text not null,
    balance bigint not null,
    actor text not null,
    at bigint not null,
    constraint adjustments_pkey primary key (id),
    constraint adjustments_delta_check check (delta <> 0)
);

-- Every movement of what is on hand. Ids sort by time.
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
    constraint ledger_pkey primary key (id),
    constraint ledger_kind_check check (kind in ('adjusted', 'sold', 'restocked')),
    constraint ledger_quantity_check check (quantity <> 0),
    constraint ledger_balance_check check (balance >= 0)
);
create index ledger_of_product on ledger (product_id, place_id, id);

-- What was answered to requests with an Idempotency-Key.
create table answers (
    subject text not null,
    route text not null,
    key text not null,
    request text not null,
    body text not null,
    at bigint not null,
    constraint answers_pkey primary key (subject, route, key)
);
create index answers_by_age on answers (at);

create table counters (
    name text not null,
    value bigint not null,
    constraint counters_pkey primary key (name)
);
insert into counters (name, value) values ('place', 0);
