//! The fleet in one process, and its command line.
