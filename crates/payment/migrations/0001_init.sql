-- The money of orders. Times are microseconds since 1970, amounts minor units, truth 0 or 1.

create table payments (
    id text not null,
    -- None for a tombstone: a void that came before its authorise.
    number bigint,
    kind text not null,
    order_id text not null,
    customer_id text,
    amount bigint not null,
    currency text not null,
    method text not null,
    capture bigint not null,
    status text not null,
    captured bigint not null,
    refunded bigint not null,
    -- Events told so far.
    sequence bigint not null,
    -- Until when one replica talks to the provider about it.
    claimed_until bigint not null,
    created_at bigint not null,
    updated_at bigint not null,
    constraint payments_pkey primary key (id),
    unique (order_id),
    unique (number),
    constraint payments_kind_check check (kind in ('order', 'legacy')),
    constraint payments_method_check check (method in ('card', 'cash')),
    constraint payments_status_check check (status in
        ('authorised', 'captured', 'refused', 'voided', 'partly_refunded', 'refunded', 'in_doubt', 'tombstone')),
    constraint payments_amount_check check (amount > 0 or status = 'tombstone'),
    constraint payments_captured_check check (captured >= 0 and captured <= amount),
    constraint payments_refunded_check check (refunded >= 0 and refunded <= captured)
);
-- What the resolver looks for; nearly always empty.
create index payments_in_doubt on payments (claimed_until) where status = 'in_doubt';

create table operations (
    order_id text not null references payments (order_id),
    op text not null,
    op_id text not null,
    -- Its place among the operations of the payment, from 0.
    position bigint not null,
    said bigint not null,
    amount bigint not null,
    outcome text not null,
    reason text not null,
    note text not null,
    at bigint not null,
    constraint operations_pkey primary key (order_id, op, op_id),
    unique (order_id, position),
    constraint operations_op_check check (op in ('authorize', 'capture', 'void', 'refund')),
    constraint operations_outcome_check check (outcome in ('done', 'refused', 'in_doubt')),
    constraint operations_amount_check check (said >= 0 and amount >= 0)
);

-- Numbers that people see, counted up from 1.
create table counters (
    name text not null,
    value bigint not null,
    constraint counters_pkey primary key (name)
);
insert into counters (name, value) values ('payment', 0);

-- The sandbox provider's own books.
create table sandbox_balances (
    customer_id text not null,
    balance bigint not null,
    constraint sandbox_balances_pkey primary key (customer_id),
    constraint sandbox_balances_balance_check check (balance >= 0)
);
create table sandbox_calls (
    -- The idempotency key.
    key text not null,
    done bigint not null,
    reason text not null,
    at bigint not null,
    constraint sandbox_calls_pkey primary key (key)
);
