//! Dev-dependency: databases, clocks, chaos and clients for tests.
