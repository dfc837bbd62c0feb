//! Who does it: the part of a policy that looks at the peer.

use serde::Serialize;

use super::{PeerIdentity, Subject};
use crate::matching::{Cidr, HeaderMatch, RequestView, Target, TextMatch};
use crate::metadata::MetadataMatch;

/// A condition on whoever asks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Principal {
    Any,
    All(Vec<Self>),
    OneOf(Vec<Self>),
    Not(Box<Self>),
    /// A peer with a client certificate; with a condition: one whose URI SANs, else DNS SANs, else subject satisfies it.
    Authenticated(Option<TextMatch>),
    /// The other end of the connection, as PROXY protocol may tell it.
    SourceIp(Cidr),
    /// The other end of the socket.
    DirectRemoteIp(Cidr),
    /// The client, as trusted forwarding headers may tell it.
    RemoteIp(Cidr),
    Header(HeaderMatch),
    UrlPath(TextMatch),
    Metadata(MetadataMatch),
}

impl Principal {
    pub(super) fn takes<R: RequestView>(&self, subject: &Subject<'_, R>) -> bool {
        let request = subject.request.as_ref();
        let connection = &subject.connection;
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.takes(subject)),
            Self::OneOf(any) => any.iter().any(|one| one.takes(subject)),
            Self::Not(one) => !one.takes(subject),
            Self::Authenticated(name) => {
                connection.peer.is_some_and(|peer| name.as_ref().is_none_or(|name| is_called(peer, name)))
            }
            Self::SourceIp(block) => block.contains(connection.source),
            Self::DirectRemoteIp(block) => block.contains(connection.direct_remote),
            Self::RemoteIp(block) => block.contains(connection.remote),
            Self::Header(header) => request.is_some_and(|request| header.takes(request)),
            Self::UrlPath(path) => {
                request.is_some_and(|request| path.takes(Target::parse(request.path()).path))
            }
            Self::Metadata(metadata) => metadata.takes(subject.metadata),
        }
    }
}

fn is_called(peer: PeerIdentity<'_>, name: &TextMatch) -> bool {
    let sans = peer.uri_sans.iter().chain(peer.dns_sans).map(String::as_str);
    sans.chain([peer.subject]).any(|own| name.takes(own))
}
