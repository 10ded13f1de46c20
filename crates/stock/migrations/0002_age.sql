-- For what is old enough to be forgotten, among reservations that stay for ever.
create index reservations_released on reservations (updated_at) where state = 'released';
