create table log (
  position integer primary key autoincrement,
  topic    text   not null,
  key      text   not null,
  payload  text   not null,
  at       bigint not null
);
create table offsets (
  grp      text   not null,
  topic    text   not null,
  position bigint not null,
  primary key (grp, topic)
) without rowid;
