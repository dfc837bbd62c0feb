//! Typed extensions: a message with its type URL.

use prost::{Message, Name};
use prost_types::Any;
use selvedge_xds_proto::envoy::config::core::v3::transport_socket;

/// `message` under its type URL.
pub(crate) fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

/// Whether `any` says that it holds an `M`.
pub(crate) fn holds<M: Name>(any: &Any) -> bool {
    any.type_url.strip_prefix(M::type_url().as_str()) == Some("")
}

/// The configuration of a transport socket.
pub(crate) fn transport_socket_config(config: Option<transport_socket::ConfigType>) -> Option<Any> {
    config.map(|transport_socket::ConfigType::TypedConfig(any)| any)
}
