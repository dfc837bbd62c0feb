//! Who the client is.

use selvedge_traffic::{ClientAddress, ClientDetection, DetectBy};
use selvedge_xds_proto::envoy::config::core::v3::TypedExtensionConfig;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use selvedge_xds_proto::envoy::extensions::http::original_ip_detection::xff::v3::XffConfig;

use super::bounds::{expect, not_empty};
use super::{Reason, text};

pub(super) fn decode(message: &HttpConnectionManager) -> Result<ClientAddress, Reason> {
    let internal = message.internal_address_config.clone().unwrap_or_default();
    if internal.unix_sockets {
        return Err(Reason::Unsupported {
            field: "internal_address_config.unix_sockets",
            value: "true".to_owned(),
        });
    }
    let blocks = internal.cidr_ranges.iter();
    let blocks = blocks.map(|block| text::cidr("internal_address_config.cidr_ranges", block));
    let detection = detection(&message.original_ip_detection_extensions)?;
    if detection.is_some() {
        // As Envoy has it: the two would contradict each other.
        let mixed = [
            (message.use_remote_address.unwrap_or_default(), "use_remote_address"),
            (message.xff_num_trusted_hops > 0, "xff_num_trusted_hops"),
        ];
        if let Some((_, field)) = mixed.into_iter().find(|(there, _)| *there) {
            return Err(Reason::Invalid {
                field,
                value: "a value".to_owned(),
                expected: "stands beside original_ip_detection_extensions",
            });
        }
    }
    Ok(ClientAddress {
        trusted_hops: message.xff_num_trusted_hops,
        skip_append: message.skip_xff_append,
        internal: blocks.collect::<Result<_, _>>()?,
        detection,
        keep_request_id: message.preserve_external_request_id,
    })
}

fn detection(extensions: &[TypedExtensionConfig]) -> Result<Option<ClientDetection>, Reason> {
    const FIELD: &str = "original_ip_detection_extensions";
    let extension = match extensions {
        [] => return Ok(None),
        [one] => one,
        many => return Err(Reason::Unsupported { field: FIELD, value: many.len().to_string() }),
    };
    not_empty("original_ip_detection_extensions.name", extension.name.clone())?;
    let config: XffConfig = expect(&extension.name, extension.typed_config.as_ref())?;
    let by = match config.xff_trusted_cidrs {
        None => DetectBy::Hops(config.xff_num_trusted_hops),
        Some(_) if config.xff_num_trusted_hops > 0 => {
            return Err(Reason::Invalid {
                field: "xff.xff_trusted_cidrs",
                value: "a value".to_owned(),
                expected: "stands beside xff_num_trusted_hops",
            });
        }
        Some(trusted) if trusted.cidrs.is_empty() => {
            return Err(Reason::Missing("xff.xff_trusted_cidrs.cidrs"));
        }
        Some(trusted) => {
            let blocks = trusted.cidrs.iter().map(|block| text::cidr("xff.xff_trusted_cidrs", block));
            DetectBy::Proxies(blocks.collect::<Result<_, _>>()?)
        }
    };
    Ok(Some(ClientDetection { by, append: !config.skip_xff_append.unwrap_or(true) }))
}
