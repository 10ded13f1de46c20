//! What the command line shares with programs that run the services themselves: the audit, and the data folder.

pub mod audit;
pub mod data;
pub mod out;
