//! The header names that the proxy itself looks at. Naming each once, when it is parsed, makes every later lookup a
//! comparison of one byte.

macro_rules! known {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A header name that some rule of the proxy reads or writes, or [`HeaderId::Other`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum HeaderId {
            $(#[doc = $name] $variant,)+
            /// Any name that no rule of ours reads.
            Other,
        }

        impl HeaderId {
            /// The id of a name in lower case.
            pub fn of(name: &[u8]) -> Self {
                let found = KNOWN[usize::from(TABLE.places[TABLE.place(name)])];
                // At each place stands one name at most: it is this one, or none is.
                if found.name().as_bytes() == name { found } else { Self::Other }
            }

            /// The name in lower case; empty for [`HeaderId::Other`].
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Other => "",
                }
            }

            /// The name with a capital after each hyphen, as web servers write it; empty for [`HeaderId::Other`].
            pub const fn capitalised(self) -> &'static [u8] {
                match self {
                    $(Self::$variant => const { &capitals::<{ $name.len() }>($name) },)+
                    Self::Other => b"",
                }
            }
        }

        /// All of them, behind the one that stands for none.
        const KNOWN: &[HeaderId] = &[HeaderId::Other, $(HeaderId::$variant,)+];

        #[cfg(test)]
        pub(crate) const ALL: &[HeaderId] = &[$(HeaderId::$variant,)+];
    };
}

const fn capitals<const LEN: usize>(name: &str) -> [u8; LEN] {
    let (mut capitalised, mut index) = ([0; LEN], 0);
    while index < LEN {
        let byte = name.as_bytes()[index];
        let begins = index == 0 || name.as_bytes()[index - 1] == b'-';
        capitalised[index] = if begins { byte.to_ascii_uppercase() } else { byte };
        index += 1;
    }
    capitalised
}

/// How many places the names are spread over; a power of two.
const PLACES: usize = 1024;

/// Where the known names are: by their lengths and a few of their bytes, mixed so that no two meet. It is made by the compiler,
/// and asked for every name of every message.
struct Table {
    factor: u32,
    /// Places in [`KNOWN`]; 0 where no name is.
    places: [u8; PLACES],
}

static TABLE: Table = Table::new();

impl Table {
    /// Tries factors until each name has a place of its own.
    const fn new() -> Self {
        let mut table = Self { factor: 0x9e37_79b1, places: [0; PLACES] };
        'factor: loop {
            table.places = [0; PLACES];
            let mut index = 1;
            while index < KNOWN.len() {
                let place = table.place(KNOWN[index].name().as_bytes());
                if table.places[place] != 0 {
                    table.factor = table.factor.wrapping_add(2);
                    continue 'factor;
                }
                table.places[place] = index as u8;
                index += 1;
            }
            return table;
        }
    }

    const fn place(&self, name: &[u8]) -> usize {
        let [.., last] = name else { return 0 };
        let len = name.len();
        let bytes = u32::from_le_bytes([name[0], name[len / 2], name[len * 3 / 4], *last]);
        (bytes ^ (len as u32) << 13).wrapping_mul(self.factor) as usize >> 22
    }
}

const _: () = assert!(PLACES == 1 << (u32::BITS - 22) && KNOWN.len() <= u8::MAX as usize);

known! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    ContentType = "content-type",
    TransferEncoding = "transfer-encoding",
    Upgrade = "upgrade",
    Te = "te",
    Trailer = "trailer",
    KeepAlive = "keep-alive",
    ProxyConnection = "proxy-connection",
    Http2Settings = "http2-settings",
    Expect = "expect",
    Date = "date",
    Server = "server",
    UserAgent = "user-agent",
    Location = "location",
    RetryAfter = "retry-after",
    GrpcStatus = "grpc-status",
    GrpcMessage = "grpc-message",
    GrpcTimeout = "grpc-timeout",
    XForwardedFor = "x-forwarded-for",
    XForwardedProto = "x-forwarded-proto",
    XForwardedHost = "x-forwarded-host",
    XForwardedClientCert = "x-forwarded-client-cert",
    XRequestId = "x-request-id",
    XEnvoyAttemptCount = "x-envoy-attempt-count",
    XEnvoyDecoratorOperation = "x-envoy-decorator-operation",
    XEnvoyDownstreamServiceCluster = "x-envoy-downstream-service-cluster",
    XEnvoyDownstreamServiceNode = "x-envoy-downstream-service-node",
    XEnvoyExpectedRqTimeoutMs = "x-envoy-expected-rq-timeout-ms",
    XEnvoyExternalAddress = "x-envoy-external-address",
    XEnvoyForceTrace = "x-envoy-force-trace",
    XEnvoyHedgeOnPerTryTimeout = "x-envoy-hedge-on-per-try-timeout",
    XEnvoyImmediateHealthCheckFail = "x-envoy-immediate-health-check-fail",
    XEnvoyInternal = "x-envoy-internal",
    XEnvoyIpTags = "x-envoy-ip-tags",
    XEnvoyMaxRetries = "x-envoy-max-retries",
    XEnvoyOriginalHost = "x-envoy-original-host",
    XEnvoyOriginalPath = "x-envoy-original-path",
    XEnvoyOriginalUrl = "x-envoy-original-url",
    XEnvoyOverloaded = "x-envoy-overloaded",
    XEnvoyRatelimited = "x-envoy-ratelimited",
    XEnvoyRetriableHeaderNames = "x-envoy-retriable-header-names",
    XEnvoyRetriableStatusCodes = "x-envoy-retriable-status-codes",
    XEnvoyRetryGrpcOn = "x-envoy-retry-grpc-on",
    XEnvoyRetryOn = "x-envoy-retry-on",
    XEnvoyUpstreamRqPerTryTimeoutMs = "x-envoy-upstream-rq-per-try-timeout-ms",
    XEnvoyUpstreamRqTimeoutAltResponse = "x-envoy-upstream-rq-timeout-alt-response",
    XEnvoyUpstreamRqTimeoutMs = "x-envoy-upstream-rq-timeout-ms",
    XEnvoyUpstreamServiceTime = "x-envoy-upstream-service-time",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_again_and_in_lower_case() {
        for &id in ALL {
            assert_eq!(HeaderId::of(id.name().as_bytes()), id);
            assert_eq!(id.name(), id.name().to_ascii_lowercase());
            assert_eq!(id.capitalised().to_ascii_lowercase(), id.name().as_bytes());
        }
        assert_eq!(HeaderId::XForwardedFor.capitalised(), b"X-Forwarded-For");
        for other in ["x-anything", "", "d", "date ", "datf", "Date", "x-request-ie", "\u{fc}ber"] {
            assert_eq!(HeaderId::of(other.as_bytes()), HeaderId::Other, "{other}");
        }
    }
}
