//! The engine over stores that fail, clocks that jump, and workers that come back.

mod faults;
mod takeover;
mod world;
