//! Programs that are started, watched and ended for somebody: an application and what stands beside it.

mod child;
mod lines;
pub(crate) mod notify;

pub(crate) use child::{Child, Signals, Spec};
