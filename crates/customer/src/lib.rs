//! Customers, users and their tokens.
