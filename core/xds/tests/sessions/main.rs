//! Both ends of a discovery stream, message by message.

mod delta;
mod pair;
mod sotw;
mod world;
