//! The wire formats, one a file, over one value model.

pub(crate) mod aws_json;
pub(crate) mod aws_query;
mod cbor;
pub(crate) mod rest_json;
pub(crate) mod rpc_v2_cbor;
