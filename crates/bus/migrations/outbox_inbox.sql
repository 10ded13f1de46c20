-- What a service has to tell, written in the transaction of the effect.
create table outbox (
  id           {serial},
  topic        text   not null,
  key          text   not null,
  sequence     bigint not null,
  payload      text   not null,
  created_at   bigint not null,
  published_at bigint
);
create index outbox_unpublished on outbox (id) where published_at is null;

-- The last event of each aggregate that took effect here, written in the transaction of the effect.
create table inbox (
  topic    text   not null,
  subject  text   not null,
  sequence bigint not null,
  event_id text   not null,
  at       bigint not null,
  primary key (topic, subject)
) {without rowid};
