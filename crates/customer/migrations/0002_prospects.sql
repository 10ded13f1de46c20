-- Prospects and activities. What is deleted stays as a mark with nothing personal left: its id must not come again.
create table prospects (
  id           text   not null,
  number       bigint not null unique,
  first_name   text   not null,
  last_name    text   not null,
  company      text,
  email        text,
  phone        text,
  field        text   not null,
  owner        text,
  activity_id  text,
  customer_id  text,
  stage        text   not null check (stage in ('new', 'contacted', 'qualified', 'won', 'lost')),
  -- Who moved the stage and when, in JSON.
  history      text   not null,
  -- Small letters of all that a search looks at.
  search       text   not null,
  created_at   bigint not null,
  updated_at   bigint not null,
  version      bigint not null,
  sequence     bigint not null,
  deleted_at   bigint,
  primary key (id)
);
create index prospects_stage on prospects (stage, number);
create index prospects_field on prospects (field, number);
create index prospects_owner on prospects (owner, number);

create table activities (
  -- Of one that an event made, derived from the event's id: so it is made once.
  id          text   not null,
  number      bigint not null unique,
  name        text   not null,
  date        text   not null,
  prospect_id text,
  -- 1 if an event made it.
  by_event    bigint not null,
  created_at  bigint not null,
  updated_at  bigint not null,
  version     bigint not null,
  sequence    bigint not null,
  deleted_at  bigint,
  primary key (id)
);
create index activities_date on activities (date, number);
create index activities_prospect_id on activities (prospect_id, number);
