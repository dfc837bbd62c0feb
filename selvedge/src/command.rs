//! The commands beside `appmesh`, one file each.

pub(crate) mod call;
pub(crate) mod completions;
pub(crate) mod env;
pub(crate) mod explain;
pub(crate) mod help;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod redirect;
pub(crate) mod register;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod status;
pub(crate) mod up;
pub(crate) mod version;
