-- The idempotency key under which a provider is asked for an operation; none in rows of earlier versions, which used
-- order_id:op:op_id.
alter table operations add column provider_key text;
-- What a call asked for, so that its key is refused with another request; none where the key was invalidated without a call, and in
-- rows of earlier versions.
alter table sandbox_calls add column request text;
