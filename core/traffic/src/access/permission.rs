//! What is done: the part of a policy that looks at the request and where it goes.

use serde::Serialize;

use super::Subject;
use crate::matching::{Cidr, HeaderMatch, RequestView, Target, TextMatch};
use crate::metadata::MetadataMatch;

/// A condition on an action. An empty `All` holds, an empty `OneOf` does not; neither can be configured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum Permission {
    Any,
    All(Vec<Self>),
    OneOf(Vec<Self>),
    Not(Box<Self>),
    /// Each line of a repeated header is judged alone.
    Header(HeaderMatch),
    /// Without the query.
    UrlPath(TextMatch),
    DestinationIp(Cidr),
    DestinationPort(u16),
    /// In `[start, end)`.
    DestinationPortRange {
        start: i32,
        end: i32,
    },
    Metadata(MetadataMatch),
    /// The server name of the client's hello; of none, it is empty.
    ServerName(TextMatch),
}

impl Permission {
    pub(super) fn takes<R: RequestView>(&self, subject: &Subject<'_, R>) -> bool {
        let request = subject.request.as_ref();
        let destination = subject.connection.destination;
        match self {
            Self::Any => true,
            Self::All(all) => all.iter().all(|one| one.takes(subject)),
            Self::OneOf(any) => any.iter().any(|one| one.takes(subject)),
            Self::Not(one) => !one.takes(subject),
            Self::Header(header) => request.is_some_and(|request| header.takes(request)),
            Self::UrlPath(path) => {
                request.is_some_and(|request| path.takes(Target::parse(request.path()).path))
            }
            Self::DestinationIp(block) => block.contains(destination.ip()),
            Self::DestinationPort(port) => destination.port() == *port,
            Self::DestinationPortRange { start, end } => {
                (*start..*end).contains(&i32::from(destination.port()))
            }
            Self::Metadata(metadata) => metadata.takes(subject.metadata),
            Self::ServerName(name) => name.takes(subject.connection.server_name.unwrap_or_default()),
        }
    }
}
