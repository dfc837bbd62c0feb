//! Which filter chain takes a connection.
//!
//! Envoy's order: destination port, server name, transport, application protocol, the other end of the socket, the
//! client. At each step those chains stay that say the most specific thing that fits – or, if none does, those that say
//! nothing – and a choice is never taken back.

use std::net::IpAddr;

use crate::ChainMatch;
use crate::listener::DetectedTransport;
use crate::matching::Cidr;

/// What is known of a connection when its chain is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    pub destination_port: u16,
    /// In lower case.
    pub server_name: Option<&'a str>,
    pub transport: DetectedTransport,
    pub application_protocols: &'a [Vec<u8>],
    /// The other end of the socket.
    pub direct_source: IpAddr,
    /// The client, as PROXY protocol may tell it.
    pub source: IpAddr,
}

/// The position of the chain that takes a connection. Allocates nothing.
pub fn select<'a>(
    chains: impl Iterator<Item = &'a ChainMatch> + Clone,
    incoming: &Incoming<'_>,
) -> Option<usize> {
    let port = |chain: &ChainMatch| chain.destination_port == Some(incoming.destination_port);
    let by_port = chains.clone().any(port);
    let of_port =
        move |chain: &ChainMatch| if by_port { port(chain) } else { chain.destination_port.is_none() };

    let ranks = chains.clone().filter(|chain| of_port(chain)).filter_map(|chain| rank(chain, incoming));
    let best = ranks.max()?;
    let of_name = move |chain: &ChainMatch| of_port(chain) && rank(chain, incoming) == Some(best);

    let transport = |chain: &ChainMatch| chain.transport == Some(incoming.transport);
    let by_transport = chains.clone().any(|chain| of_name(chain) && transport(chain));
    let of_transport = move |chain: &ChainMatch| {
        of_name(chain) && if by_transport { transport(chain) } else { chain.transport.is_none() }
    };

    let protocols = incoming.application_protocols.iter();
    let offered = protocols
        .filter(|protocol| chains.clone().any(|chain| of_transport(chain) && names(chain, protocol)))
        .map(Vec::as_slice)
        .next();
    let of_protocol = move |chain: &ChainMatch| {
        of_transport(chain)
            && match offered {
                Some(protocol) => names(chain, protocol),
                None => chain.application_protocols.is_empty(),
            }
    };

    let direct = |chain: &ChainMatch| narrowest(&chain.direct_sources, incoming.direct_source);
    let best = chains.clone().filter(|chain| of_protocol(chain)).filter_map(direct).max()?;
    let of_direct = |chain: &ChainMatch| of_protocol(chain) && direct(chain) == Some(best);

    let source = |chain: &ChainMatch| narrowest(&chain.sources, incoming.source);
    let best = chains.clone().filter(|chain| of_direct(chain)).filter_map(source).max()?;
    chains.clone().position(|chain| of_direct(chain) && source(chain) == Some(best))
}

/// How narrow the narrowest block is that holds the address: 0 if nothing is said, `None` if others are.
fn narrowest(blocks: &[Cidr], address: IpAddr) -> Option<u32> {
    if blocks.is_empty() {
        return Some(0);
    }
    blocks.iter().filter(|block| block.contains(address)).map(|block| 1 + u32::from(block.prefix_len())).max()
}

fn names(chain: &ChainMatch, protocol: &[u8]) -> bool {
    chain.application_protocols.iter().any(|name| name.as_bytes() == protocol)
}

/// How specifically a chain names the server: 0 not at all, the largest number exactly; `None` if it names others.
fn rank(chain: &ChainMatch, incoming: &Incoming<'_>) -> Option<usize> {
    if chain.server_names.is_empty() {
        return Some(0);
    }
    let wanted = incoming.server_name?;
    let ranks = chain.server_names.iter().filter_map(|name| match name.strip_prefix('*') {
        Some(suffix) => {
            let fits = suffix.starts_with('.')
                && wanted.len() > suffix.len()
                && wanted.as_bytes()[wanted.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes());
            fits.then_some(suffix.len())
        }
        None => name.eq_ignore_ascii_case(wanted).then_some(usize::MAX),
    });
    ranks.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(
        port: Option<u16>,
        names: &[&str],
        transport: Option<DetectedTransport>,
        alpn: &[&str],
    ) -> ChainMatch {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ChainMatch {
            destination_port: port,
            server_names: owned(names),
            transport,
            application_protocols: owned(alpn),
            ..ChainMatch::default()
        }
    }

    #[test]
    fn the_most_specific_chain_takes_a_connection_and_a_choice_is_not_taken_back() {
        use DetectedTransport::{Plain, Tls};
        let chains = [
            chain(None, &[], None, &[]),
            chain(None, &["*.b.c"], Some(Tls), &[]),
            chain(None, &["a.b.c"], Some(Tls), &[]),
            chain(None, &["*.c"], Some(Tls), &["h2"]),
            chain(None, &["*.c"], Some(Tls), &[]),
            chain(Some(443), &["x.y"], Some(Tls), &[]),
            chain(Some(80), &[], Some(Plain), &[]),
            chain(Some(80), &[], Some(Tls), &[]),
        ];
        type Row<'a> = (u16, Option<&'a str>, DetectedTransport, &'a [&'a str], Option<usize>);
        let rows: &[Row<'_>] = &[
            (1, None, Plain, &[], Some(0)),
            (1, Some("q.z"), Tls, &[], Some(0)),
            (1, Some("a.b.c"), Tls, &[], Some(2)),
            (1, Some("d.b.c"), Tls, &[], Some(1)),
            (1, Some("e.d.b.c"), Tls, &[], Some(1)),
            (1, Some("b.c"), Tls, &["http/1.1"], Some(4)),
            (1, Some("b.c"), Tls, &["http/1.1", "h2"], Some(3)),
            (1, Some("c"), Tls, &[], Some(0)),
            (443, Some("x.y"), Tls, &[], Some(5)),
            (443, Some("X.y"), Tls, &[], Some(5)),
            (443, Some("a.b.c"), Tls, &[], None),
            (80, None, Plain, &[], Some(6)),
            (80, None, Tls, &[], Some(7)),
            // A name without TLS: the chain that was chosen by it wants TLS.
            (1, Some("a.b.c"), Plain, &[], None),
        ];
        for (port, name, transport, alpn, expected) in rows {
            let alpn: Vec<Vec<u8>> = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
            let incoming = Incoming {
                destination_port: *port,
                server_name: *name,
                transport: *transport,
                application_protocols: &alpn,
                direct_source: IpAddr::from([127, 0, 0, 1]),
                source: IpAddr::from([127, 0, 0, 1]),
            };
            assert_eq!(select(chains.iter(), &incoming), *expected, "{port} {name:?} {transport:?}");
        }
    }

    #[test]
    fn the_narrowest_block_decides_who_may_speak_for_a_client() {
        let blocks = |blocks: &[([u8; 4], u8)]| -> Vec<Cidr> {
            blocks.iter().map(|(address, len)| Cidr::new(IpAddr::from(*address), *len).unwrap()).collect()
        };
        let chain = |direct: &[([u8; 4], u8)], sources: &[([u8; 4], u8)]| ChainMatch {
            direct_sources: blocks(direct),
            sources: blocks(sources),
            ..ChainMatch::default()
        };
        let all = [
            chain(&[([10, 0, 0, 0], 8)], &[]),
            chain(&[([10, 1, 0, 0], 16), ([11, 0, 0, 0], 8)], &[]),
            chain(&[([10, 1, 0, 0], 16)], &[([192, 0, 2, 0], 24)]),
        ];
        let rows = [
            ([10, 9, 9, 9], [1, 1, 1, 1], Some(0)),
            ([11, 9, 9, 9], [192, 0, 2, 1], Some(1)),
            ([10, 1, 9, 9], [1, 1, 1, 1], Some(1)),
            ([10, 1, 9, 9], [192, 0, 2, 1], Some(2)),
            ([12, 1, 9, 9], [192, 0, 2, 1], None),
        ];
        for (direct, source, expected) in rows {
            let incoming = Incoming {
                destination_port: 1,
                server_name: None,
                transport: DetectedTransport::Plain,
                application_protocols: &[],
                direct_source: IpAddr::from(direct),
                source: IpAddr::from(source),
            };
            assert_eq!(select(all.iter(), &incoming), expected, "{direct:?} for {source:?}");
        }
    }
}
