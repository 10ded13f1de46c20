//! Stock of many stores: levels, reservations, ledger.
