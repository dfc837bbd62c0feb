//! The engine over stores that fail, clocks that jump, and workers that come back.

mod buckets;
mod fair;
mod faults;
mod full;
mod limits;
mod order;
mod panics;
mod redrive;
mod retention;
mod schedules;
mod shards;
mod strangers;
mod takeover;
mod tokens;
mod world;
