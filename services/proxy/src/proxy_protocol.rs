//! What load balancers say of the connections that they pass on.

use selvedge_telemetry::{FilterStats, Owner, Registry};
use selvedge_traffic::{ProxyProtocol, ProxyProtocolVersion};
use selvedge_wire::io::Io;
use selvedge_wire::proxy_protocol::{self, Parsed, Version};

use crate::connection::{Asked, first_words};
use crate::opening::{Client, INSPECTION_TIMEOUT_DEFAULT};
use crate::serve::compile::CompiledListener;
use crate::serve::worker::{Place, Worker};

const NAMES: &[&str] = &[
    "not_found_disallowed",
    "not_found_allowed",
    "versions.v1.found",
    "versions.v1.disallowed",
    "versions.v1.error",
    "versions.v2.found",
    "versions.v2.disallowed",
    "versions.v2.error",
];
const DISALLOWED: usize = 0;
const ALLOWED: usize = 1;
/// Those of version 1; version 2's are three further.
const FOUND: usize = 2;
const REFUSED: usize = 3;
const ERROR: usize = 4;

/// A listener's PROXY protocol, ready to be read.
#[derive(Debug)]
pub(crate) struct Words {
    config: ProxyProtocol,
    stats: FilterStats,
}

impl Words {
    pub(crate) fn new(config: &ProxyProtocol, registry: &Registry) -> Self {
        let prefix = match config.stat_prefix.as_str() {
            "" => "proxy_proto.".to_owned(),
            prefix => format!("proxy_proto.{prefix}."),
        };
        let stats = registry.filter(Owner::Network(prefix), "", NAMES);
        Self { config: config.clone(), stats }
    }

    /// Reads the word, and takes the client's ends from it. `None` if the connection goes no further.
    pub(crate) async fn read(
        &self,
        worker: &Worker,
        place: &Place,
        listener: &CompiledListener,
        client: &mut Client,
        io: &mut Io,
    ) -> Option<()> {
        let timeout = listener.config.inspection.timeout.unwrap_or(INSPECTION_TIMEOUT_DEFAULT);
        let timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        let stats = &listener.stats;
        stats.downstream_pre_cx_active.inc();
        let said = first_words(
            worker,
            place,
            Asked::Opening { inbound: listener.inbound, limit: timeout },
            proxy_protocol::read(io),
        )
        .await;
        stats.downstream_pre_cx_active.dec();
        match said {
            Some(Ok(Some(parsed))) => self.take(parsed, client, io),
            Some(Ok(None)) => {
                stats.downstream_listener_filter_remote_close.inc();
                None
            }
            Some(Err(error)) => {
                if error.kind() == std::io::ErrorKind::InvalidData {
                    let first = io.unread().starts_with(b"PROXY");
                    let version = if first { ProxyProtocolVersion::V1 } else { ProxyProtocolVersion::V2 };
                    if !self.config.takes(version) {
                        return self.refuse(version);
                    }
                    self.stats.inc(ERROR + second(version));
                    tracing::debug!(%error, peer = %client.direct, "a PROXY protocol that is none");
                }
                stats.downstream_listener_filter_error.inc();
                None
            }
            None => {
                stats.downstream_pre_cx_timeout.inc();
                // Whoever has said nothing has not said that it is somebody else.
                (self.config.optional && listener.config.inspection.continue_on_timeout).then_some(())
            }
        }
    }

    fn take(&self, parsed: Parsed, client: &mut Client, io: &mut Io) -> Option<()> {
        let Parsed::Word { version, ends, len } = parsed else {
            self.stats.inc(if self.config.optional { ALLOWED } else { DISALLOWED });
            return self.config.optional.then_some(());
        };
        let version = match version {
            Version::V1 => ProxyProtocolVersion::V1,
            Version::V2 => ProxyProtocolVersion::V2,
        };
        if !self.config.takes(version) {
            return self.refuse(version);
        }
        self.stats.inc(FOUND + second(version));
        io.consume(len);
        if let Some(ends) = ends {
            client.remote = ends.source;
            client.original_dst = Some(ends.destination);
        }
        Some(())
    }

    /// A version that is not taken counts as the client's own words, where there need be no word.
    fn refuse(&self, version: ProxyProtocolVersion) -> Option<()> {
        // As Envoy counts it.
        self.stats.inc(if self.config.optional { ALLOWED } else { REFUSED + second(version) });
        self.config.optional.then_some(())
    }
}

/// How far the names of a version's statistics stand behind those of the first.
fn second(version: ProxyProtocolVersion) -> usize {
    match version {
        ProxyProtocolVersion::V1 => 0,
        ProxyProtocolVersion::V2 => 3,
    }
}
