//! End-to-end tests. Each starts a separate fleet on a separate data folder.

mod bad_calls;
mod bad_input;
mod carts;
mod chaos;
mod collisions;
mod crash_points;
mod dapr;
mod fuzz;
mod import;
mod journey;
mod lost_commits;
mod mesh;
mod observe;
mod openapi;
mod outage;
mod oversell;
mod repeats;
mod replicas;
mod restart;
mod roles;
mod separate;
mod tokens;
mod traces;
mod transfers;
mod upgrade;
