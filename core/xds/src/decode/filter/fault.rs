//! The fault filter.

use selvedge_traffic::Fraction;
use selvedge_traffic::filter::{AbortBy, DelayBy, Fault, FaultAbort, FaultDelay};
use selvedge_xds_proto::envoy::config::core::v3::RuntimeFractionalPercent;
use selvedge_xds_proto::envoy::extensions::filters::common::fault::v3 as common;
use selvedge_xds_proto::envoy::extensions::filters::http::fault::v3 as proto;
use selvedge_xds_proto::envoy::r#type::v3::FractionalPercent;

use crate::decode::{Reason, duration, matching, text};

pub(super) fn filter(message: proto::HttpFault) -> Result<Fault, Reason> {
    if message.response_rate_limit.is_some() {
        return Err(unsupported("fault.response_rate_limit"));
    }
    if !message.downstream_nodes.is_empty() {
        return Err(unsupported("fault.downstream_nodes"));
    }
    Ok(Fault {
        delay: message.delay.map(delay).transpose()?,
        abort: message.abort.map(abort).transpose()?,
        cluster: (!message.upstream_cluster.is_empty()).then_some(message.upstream_cluster),
        headers: message.headers.into_iter().map(matching::header).collect::<Result<_, _>>()?,
        active_max: message.max_active_faults,
    })
}

fn unsupported(field: &'static str) -> Reason {
    Reason::Unsupported { field, value: "it is set".to_owned() }
}

/// No share is none.
fn share(field: &'static str, share: Option<FractionalPercent>) -> Result<Fraction, Reason> {
    let Some(share) = share else { return Ok(Fraction::NONE) };
    text::fraction(field, RuntimeFractionalPercent { default_value: Some(share), runtime_key: String::new() })
}

fn delay(message: common::FaultDelay) -> Result<FaultDelay, Reason> {
    use common::fault_delay::FaultDelaySecifier;
    let by = match message.fault_delay_secifier {
        Some(FaultDelaySecifier::FixedDelay(delay)) => {
            let delay = duration::decode("fault.delay.fixed_delay", delay)?;
            if delay.is_zero() {
                return Err(Reason::Missing("fault.delay.fixed_delay"));
            }
            DelayBy::Fixed(delay)
        }
        Some(FaultDelaySecifier::HeaderDelay(_)) => DelayBy::Header,
        None => return Err(Reason::Missing("fault.delay")),
    };
    Ok(FaultDelay { by, share: share("fault.delay.percentage", message.percentage)? })
}

fn abort(message: proto::FaultAbort) -> Result<FaultAbort, Reason> {
    use proto::fault_abort::ErrorType;
    let by = match message.error_type {
        Some(ErrorType::HttpStatus(status @ 200..=599)) => AbortBy::Http(status as u16),
        Some(ErrorType::HttpStatus(status)) => {
            return Err(Reason::Invalid {
                field: "fault.abort.http_status",
                value: status.to_string(),
                expected: "is not in 200..=599",
            });
        }
        Some(ErrorType::GrpcStatus(status)) => AbortBy::Grpc(status),
        Some(ErrorType::HeaderAbort(_)) => AbortBy::Header,
        None => return Err(Reason::Missing("fault.abort")),
    };
    Ok(FaultAbort { by, share: share("fault.abort.percentage", message.percentage)? })
}
