//! Who the client is.

use selvedge_traffic::{ClientAddress, ClientDetection, DetectBy};
use selvedge_xds_proto::envoy::config::core::v3::TypedExtensionConfig;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use selvedge_xds_proto::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::InternalAddressConfig;
use selvedge_xds_proto::envoy::extensions::http::original_ip_detection::xff::v3::{
    XffConfig, XffTrustedCidrs,
};

use super::text;
use crate::any::pack;

pub(super) fn encode(client: &ClientAddress, message: &mut HttpConnectionManager) {
    message.xff_num_trusted_hops = client.trusted_hops;
    message.skip_xff_append = client.skip_append;
    message.preserve_external_request_id = client.keep_request_id;
    message.internal_address_config = (!client.internal.is_empty()).then(|| InternalAddressConfig {
        unix_sockets: false,
        cidr_ranges: client.internal.iter().map(text::cidr).collect(),
    });
    message.original_ip_detection_extensions = client.detection.iter().map(detection).collect();
}

fn detection(detection: &ClientDetection) -> TypedExtensionConfig {
    let (hops, trusted) = match &detection.by {
        DetectBy::Hops(hops) => (*hops, None),
        DetectBy::Proxies(blocks) => {
            (0, Some(XffTrustedCidrs { cidrs: blocks.iter().map(text::cidr).collect() }))
        }
    };
    let config = XffConfig {
        xff_num_trusted_hops: hops,
        xff_trusted_cidrs: trusted,
        skip_xff_append: Some(!detection.append),
    };
    TypedExtensionConfig {
        name: "envoy.http.original_ip_detection.xff".to_owned(),
        typed_config: Some(pack(&config)),
    }
}
