//! The one front door: routing, bridges, merged docs.
