//! Where a resource says that what it refers to is to be had.

use selvedge_xds_proto::envoy::config::core::v3::ConfigSource;
use selvedge_xds_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;

use super::Reason;

/// Endpoints and routes come by the stream of everything else: no other is opened for them.
pub(super) fn aggregated(field: &'static str, config: Option<&ConfigSource>) -> Result<(), Reason> {
    match config.and_then(|config| config.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_)) => Ok(()),
        Some(_) => Err(Reason::Unsupported { field, value: "a stream of its own".to_owned() }),
        None => Err(Reason::Missing(field)),
    }
}
