//! HTTP filters: what is done with a request besides routing it, in the order in which it is configured.
//!
//! Adding one takes three files: its configuration here, its messages in `selvedge-xds`, its acts in the proxy.

pub mod buffer;
pub mod compressor;
pub mod cors;
pub mod decompressor;
pub mod ext_authz;
pub mod fault;
pub mod jwt;
pub mod local_rate_limit;
pub mod rate_limit;
pub mod rbac;

use serde::Serialize;

pub use buffer::{Buffer, BufferRoute};
pub use compressor::{Coding, Compressor, CompressorRoute};
pub use cors::CorsPolicy;
pub use decompressor::{Decompressor, PackedBy, Unpack};
pub use ext_authz::{AuthzBody, AuthzHttp, AuthzService, ExtAuthz, ExtAuthzRoute};
pub use fault::{AbortBy, DelayBy, Fault, FaultAbort, FaultDelay};
pub use jwt::{Jwt, JwtHeader, JwtKeys, JwtProvider, JwtRoute, JwtRule, Requirement, RuleRequirement};
pub use local_rate_limit::{LocalDescriptor, LocalRateLimit};
pub use rate_limit::{GlobalRateLimit, GlobalRateLimitRoute, RequestType};
pub use rbac::Rbac;

/// A filter in its place among those of an HTTP connection manager.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterEntry {
    /// By which routes refer to it; unique within its connection manager.
    pub name: String,
    /// Only routes that ask for it have it.
    pub disabled: bool,
    pub filter: HttpFilter,
}

/// What a filter does.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum HttpFilter {
    Buffer(Buffer),
    Rbac(Rbac),
    LocalRateLimit(Box<LocalRateLimit>),
    GlobalRateLimit(Box<GlobalRateLimit>),
    Jwt(Box<Jwt>),
    ExtAuthz(Box<ExtAuthz>),
    /// What routes say decides.
    Cors,
    Fault(Box<Fault>),
    Compressor(Box<Compressor>),
    Decompressor(Decompressor),
    /// gRPC as browsers speak it becomes gRPC.
    GrpcWeb,
}

/// What a route table, a virtual host, a route or a weighted cluster says about one filter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FilterOverride {
    /// The filter's name; of a name that no filter has, nothing comes.
    pub filter: String,
    pub setting: FilterSetting,
}

/// The more specific setting wins: weighted cluster, route, virtual host, table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum FilterSetting {
    Disabled,
    /// As the connection manager configures it, even where that is disabled.
    Enabled,
    /// Enabled, with a configuration of its own.
    Config(RouteFilter),
}

/// A filter's configuration where it differs; which type belongs to which filter is the filter's own matter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum RouteFilter {
    Buffer(BufferRoute),
    /// `None`: everything passes.
    Rbac(Option<Rbac>),
    LocalRateLimit(Box<LocalRateLimit>),
    GlobalRateLimit(Box<GlobalRateLimitRoute>),
    Jwt(JwtRoute),
    ExtAuthz(ExtAuthzRoute),
    Cors(Box<CorsPolicy>),
    Fault(Box<Fault>),
    Compressor(CompressorRoute),
}

/// The settings of the filter `name`, from the most specific level that has one to the least. `levels` are the overrides
/// of the weighted cluster, the route, the virtual host and the table, in this order.
pub fn settings<'a>(
    name: &'a str,
    levels: impl IntoIterator<Item = &'a [FilterOverride]>,
) -> impl Iterator<Item = &'a FilterSetting> {
    levels
        .into_iter()
        .filter_map(move |level| level.iter().find(|entry| entry.filter == name))
        .map(|entry| &entry.setting)
}
