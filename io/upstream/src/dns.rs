//! Names to addresses, for clusters whose hosts are names.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use selvedge_traffic::DnsLookupFamily;
use thiserror::Error;

/// No name contributes more hosts than this.
pub const ADDRESSES_MAX: usize = 1024;

/// One lookup must be over within this, all tries and search domains included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a name has no addresses.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DnsError {
    /// The name server says that the name, or an address of the wanted family, does not exist.
    #[error("name {0} does not exist")]
    NotFound(String),
    /// Nobody knows: no answer, a refusal, a broken answer.
    #[error("name {name} cannot be looked up: {reason}")]
    Failed { name: String, reason: String },
}

/// Addresses of a name, and for how long they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub addresses: Vec<IpAddr>,
    pub ttl: Duration,
}

/// The resolver that all clusters of a process share: `/etc/hosts`, then the system's name servers. It caches nothing,
/// for clusters look up at their own pace. Every cluster has one: a pointer.
#[derive(Clone)]
pub struct Resolver {
    inner: Option<Arc<TokioResolver>>,
}

impl Resolver {
    /// By the system's configuration; without one, names are not found but addresses still are.
    pub fn from_system() -> Self {
        let built = TokioResolver::builder_tokio().map(|mut builder| {
            tune(builder.options_mut());
            builder.build()
        });
        match built {
            Ok(Ok(resolver)) => Self { inner: Some(Arc::new(resolver)) },
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, "failed to read the system's DNS configuration");
                Self { inner: None }
            }
        }
    }

    /// By one name server.
    ///
    /// # Errors
    /// The resolver cannot be built.
    pub fn with_server(ip: IpAddr, port: u16) -> Result<Self, NetError> {
        let mut server = NameServerConfig::udp(ip);
        server.connections.iter_mut().for_each(|connection| connection.port = port);
        let config = ResolverConfig::from_name_servers(vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        tune(builder.options_mut());
        Ok(Self { inner: Some(Arc::new(builder.build()?)) })
    }

    /// Looks `name` up; an address in text is its own answer.
    ///
    /// # Errors
    /// The name does not exist, or nobody can say.
    pub async fn lookup(&self, name: &str, family: DnsLookupFamily) -> Result<Answer, DnsError> {
        if let Ok(address) = name.trim_start_matches('[').trim_end_matches(']').parse() {
            return Ok(Answer { addresses: vec![address], ttl: Duration::MAX });
        }
        let failed = |reason: &str| DnsError::Failed { name: name.to_owned(), reason: reason.to_owned() };
        let resolver = self.inner.as_ref().ok_or_else(|| failed("no name server is configured"))?;
        tokio::time::timeout(LOOKUP_TIMEOUT, by_family(resolver, name, family))
            .await
            .map_err(|_| failed("no answer in time"))?
    }
}

fn tune(options: &mut ResolverOpts) {
    options.cache_size = 0;
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
}

async fn by_family(
    resolver: &TokioResolver,
    name: &str,
    family: DnsLookupFamily,
) -> Result<Answer, DnsError> {
    let v4 = async || answer(name, resolver.ipv4_lookup(name).await);
    let v6 = async || answer(name, resolver.ipv6_lookup(name).await);
    match family {
        DnsLookupFamily::V4Only => v4().await,
        DnsLookupFamily::V6Only => v6().await,
        DnsLookupFamily::Auto => match v6().await {
            Ok(answer) => Ok(answer),
            Err(_) => v4().await,
        },
        DnsLookupFamily::V4Preferred => match v4().await {
            Ok(answer) => Ok(answer),
            Err(_) => v6().await,
        },
        DnsLookupFamily::All => match (v4().await, v6().await) {
            (Ok(mut v4), Ok(v6)) => {
                v4.addresses.extend(v6.addresses);
                Ok(Answer { ttl: v4.ttl.min(v6.ttl), ..v4 })
            }
            // One family without an answer does not take the other's away.
            (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
            (Err(failure @ DnsError::Failed { .. }), Err(_)) | (Err(_), Err(failure)) => Err(failure),
        },
    }
}

fn answer(name: &str, lookup: Result<Lookup, NetError>) -> Result<Answer, DnsError> {
    let lookup = lookup.map_err(|error| {
        if error.is_nx_domain() || error.is_no_records_found() {
            DnsError::NotFound(name.to_owned())
        } else {
            DnsError::Failed { name: name.to_owned(), reason: error.to_string() }
        }
    })?;
    let addresses: Vec<IpAddr> =
        lookup.answers().iter().filter_map(|record| record.data.ip_addr()).take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(DnsError::NotFound(name.to_owned()));
    }
    Ok(Answer { addresses, ttl: lookup.valid_until().saturating_duration_since(Instant::now()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_its_own_answer_without_a_name_server() {
        let resolver = Resolver { inner: None };
        for (text, address) in [("10.0.0.1", "10.0.0.1"), ("::1", "::1"), ("[::1]", "::1")] {
            let answer = resolver.lookup(text, DnsLookupFamily::V4Only).await.expect("an address");
            assert_eq!(answer.addresses, [address.parse::<IpAddr>().expect("an address")]);
        }
        let error = resolver.lookup("user.local", DnsLookupFamily::Auto).await.expect_err("no server");
        assert!(matches!(error, DnsError::Failed { .. }));
    }
}
