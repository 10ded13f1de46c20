//! Notifications, the live stream and the timeline of a customer.
