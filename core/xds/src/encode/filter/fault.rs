//! The fault filter.

use selvedge_traffic::Fraction;
use selvedge_traffic::filter::{AbortBy, DelayBy, Fault};
use selvedge_xds_proto::envoy::extensions::filters::common::fault::v3 as common;
use selvedge_xds_proto::envoy::extensions::filters::http::fault::v3 as proto;
use selvedge_xds_proto::envoy::r#type::v3::FractionalPercent;

use crate::encode::{duration, matching, text};

pub(super) fn filter(fault: &Fault) -> proto::HttpFault {
    proto::HttpFault {
        delay: fault.delay.as_ref().map(|delay| common::FaultDelay {
            fault_delay_secifier: Some(match delay.by {
                DelayBy::Fixed(by) => {
                    common::fault_delay::FaultDelaySecifier::FixedDelay(duration::encode(by))
                }
                DelayBy::Header => {
                    common::fault_delay::FaultDelaySecifier::HeaderDelay(common::fault_delay::HeaderDelay {})
                }
            }),
            percentage: share(delay.share),
        }),
        abort: fault.abort.as_ref().map(|abort| proto::FaultAbort {
            error_type: Some(match abort.by {
                AbortBy::Http(status) => proto::fault_abort::ErrorType::HttpStatus(status.into()),
                AbortBy::Grpc(status) => proto::fault_abort::ErrorType::GrpcStatus(status),
                AbortBy::Header => {
                    proto::fault_abort::ErrorType::HeaderAbort(proto::fault_abort::HeaderAbort {})
                }
            }),
            percentage: share(abort.share),
        }),
        upstream_cluster: fault.cluster.clone().unwrap_or_default(),
        headers: fault.headers.iter().map(matching::header).collect(),
        downstream_nodes: Vec::new(),
        max_active_faults: fault.active_max,
        response_rate_limit: None,
    }
}

fn share(share: Fraction) -> Option<FractionalPercent> {
    text::fraction(share).default_value
}
