//! Response flags: why a response or a connection ended as it did, in Envoy's words.

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Flag {
    FailedLocalHealthCheck,
    NoHealthyUpstream,
    UpstreamRequestTimeout,
    LocalReset,
    UpstreamRemoteReset,
    UpstreamConnectionFailure,
    UpstreamConnectionTermination,
    UpstreamOverflow,
    NoRouteFound,
    DelayInjected,
    FaultInjected,
    RateLimited,
    UnauthorizedExternalService,
    RateLimitServiceError,
    DownstreamConnectionTermination,
    UpstreamRetryLimitExceeded,
    StreamIdleTimeout,
    InvalidEnvoyRequestHeaders,
    DownstreamProtocolError,
    UpstreamMaxStreamDurationReached,
    ResponseFromCacheFilter,
    NoFilterConfigFound,
    DurationTimeout,
    UpstreamProtocolError,
    NoClusterFound,
    OverloadManagerTerminated,
    DnsResolutionFailed,
    DropOverload,
    DownstreamRemoteReset,
    UnconditionalDropOverload,
}

/// Short and long names, by [`Flag`] in order.
const NAMES: [(&str, &str); 30] = [
    ("LH", "FailedLocalHealthCheck"),
    ("UH", "NoHealthyUpstream"),
    ("UT", "UpstreamRequestTimeout"),
    ("LR", "LocalReset"),
    ("UR", "UpstreamRemoteReset"),
    ("UF", "UpstreamConnectionFailure"),
    ("UC", "UpstreamConnectionTermination"),
    ("UO", "UpstreamOverflow"),
    ("NR", "NoRouteFound"),
    ("DI", "DelayInjected"),
    ("FI", "FaultInjected"),
    ("RL", "RateLimited"),
    ("UAEX", "UnauthorizedExternalService"),
    ("RLSE", "RateLimitServiceError"),
    ("DC", "DownstreamConnectionTermination"),
    ("URX", "UpstreamRetryLimitExceeded"),
    ("SI", "StreamIdleTimeout"),
    ("IH", "InvalidEnvoyRequestHeaders"),
    ("DPE", "DownstreamProtocolError"),
    ("UMSDR", "UpstreamMaxStreamDurationReached"),
    ("RFCF", "ResponseFromCacheFilter"),
    ("NFCF", "NoFilterConfigFound"),
    ("DT", "DurationTimeout"),
    ("UPE", "UpstreamProtocolError"),
    ("NC", "NoClusterFound"),
    ("OM", "OverloadManagerTerminated"),
    ("DF", "DnsResolutionFailed"),
    ("DO", "DropOverload"),
    ("DR", "DownstreamRemoteReset"),
    ("UDO", "UnconditionalDropOverload"),
];

const ALL: [Flag; 30] = [
    Flag::FailedLocalHealthCheck,
    Flag::NoHealthyUpstream,
    Flag::UpstreamRequestTimeout,
    Flag::LocalReset,
    Flag::UpstreamRemoteReset,
    Flag::UpstreamConnectionFailure,
    Flag::UpstreamConnectionTermination,
    Flag::UpstreamOverflow,
    Flag::NoRouteFound,
    Flag::DelayInjected,
    Flag::FaultInjected,
    Flag::RateLimited,
    Flag::UnauthorizedExternalService,
    Flag::RateLimitServiceError,
    Flag::DownstreamConnectionTermination,
    Flag::UpstreamRetryLimitExceeded,
    Flag::StreamIdleTimeout,
    Flag::InvalidEnvoyRequestHeaders,
    Flag::DownstreamProtocolError,
    Flag::UpstreamMaxStreamDurationReached,
    Flag::ResponseFromCacheFilter,
    Flag::NoFilterConfigFound,
    Flag::DurationTimeout,
    Flag::UpstreamProtocolError,
    Flag::NoClusterFound,
    Flag::OverloadManagerTerminated,
    Flag::DnsResolutionFailed,
    Flag::DropOverload,
    Flag::DownstreamRemoteReset,
    Flag::UnconditionalDropOverload,
];

impl Flag {
    /// The flag of a short name.
    pub fn of(short: &str) -> Option<Self> {
        ALL.into_iter().find(|flag| flag.short() == short)
    }

    /// `UH`, `UF`, …
    pub fn short(self) -> &'static str {
        NAMES[self as usize].0
    }

    /// `NoHealthyUpstream`, …
    pub fn long(self) -> &'static str {
        NAMES[self as usize].1
    }
}

/// More than a handful never meet on one request; what comes after the eighth is dropped.
pub const FLAGS_MAX: usize = 8;

/// The flags of one request or connection, in the order in which they were set – the order in which Envoy prints them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponseFlags([Option<Flag>; FLAGS_MAX]);

impl ResponseFlags {
    /// Adds a flag; a second time changes nothing.
    pub fn set(&mut self, flag: Flag) {
        if self.contains(flag) {
            return;
        }
        if let Some(free) = self.0.iter_mut().find(|slot| slot.is_none()) {
            *free = Some(flag);
        }
    }

    pub fn contains(&self, flag: Flag) -> bool {
        self.0.contains(&Some(flag))
    }

    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }

    pub fn iter(&self) -> impl Iterator<Item = Flag> {
        self.0.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_the_order_of_the_flags() {
        assert_eq!(
            (Flag::FailedLocalHealthCheck.short(), Flag::FailedLocalHealthCheck.long()),
            ("LH", "FailedLocalHealthCheck")
        );
        assert_eq!(Flag::UnconditionalDropOverload.short(), "UDO");
        assert_eq!(Flag::UpstreamRetryLimitExceeded.long(), "UpstreamRetryLimitExceeded");
        assert!(ALL.into_iter().enumerate().all(|(index, flag)| flag as usize == index));
        assert_eq!((Flag::of("URX"), Flag::of("XX")), (Some(Flag::UpstreamRetryLimitExceeded), None));
        for (_, long) in NAMES {
            assert_eq!(NAMES.iter().filter(|(_, other)| *other == long).count(), 1, "{long}");
        }
    }

    #[test]
    fn flags_keep_the_order_in_which_they_were_set() {
        let mut flags = ResponseFlags::default();
        [Flag::UpstreamRetryLimitExceeded, Flag::UpstreamConnectionFailure, Flag::UpstreamRetryLimitExceeded]
            .into_iter()
            .for_each(|flag| flags.set(flag));
        let names: Vec<_> = flags.iter().map(Flag::short).collect();
        assert_eq!(names, ["URX", "UF"]);
    }
}
