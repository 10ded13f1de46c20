//! What `souk audit` finds: faults are planted by hand in the stores of a stopped fleet, one at a time.

mod day;
mod planted;
mod stores;
mod unchecked;
mod watch;
