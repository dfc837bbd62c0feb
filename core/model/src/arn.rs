//! Names that are unique in the world: `arn:aws:appmesh:REGION:ACCOUNT:mesh/M/virtualNode/N`.

use std::fmt;
use std::str::FromStr;

use crate::kind::Kind;
use crate::resource::Key;

/// The ARN of a resource. The account is the one that owns the resource, which in a shared mesh need not own the mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// `aws`, `aws-cn`, `aws-us-gov`.
    pub partition: String,
    pub region: String,
    pub account: String,
    pub key: Key,
}

/// Why a text is not the ARN of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    #[error("'{0}' does not have the six parts of an ARN")]
    Parts(String),
    #[error("'{0}' is not an ARN of App Mesh")]
    Service(String),
    #[error("'{0}' does not name a resource of a mesh")]
    Resource(String),
}

impl Arn {
    /// Characters that an ARN may have: the names in it are at most 255 each, and a virtual service's name is bounded by the
    /// length of a request's path.
    pub const LENGTH_MAX: usize = 2048;

    /// Reads the resource part of an ARN, such as `mesh/M/virtualRouter/R/route/X`.
    pub fn parse_key(text: &str) -> Option<Key> {
        let rest = text.strip_prefix("mesh/")?;
        let Some((mesh, rest)) = rest.split_once('/') else {
            return (!rest.is_empty()).then(|| Key::mesh(rest));
        };
        let (segment, rest) = rest.split_once('/')?;
        let kind = Kind::from_segment(segment)?;
        let child = Kind::ALL.into_iter().find(|child| child.parent() == Some(kind));
        let nested = child.and_then(|child| {
            let (parent, rest) = rest.split_once('/')?;
            let name = rest.strip_prefix(child.segment())?.strip_prefix('/')?;
            Some(Key::below(mesh, parent, child, name))
        });
        let key = match nested {
            Some(key) => key,
            None if kind == Kind::Mesh || kind.parent().is_some() => return None,
            None => Key::in_mesh(mesh, kind, rest),
        };
        // Only the name of a virtual service may contain a slash.
        let has_slash = key.kind != Kind::VirtualService && key.name.contains('/');
        (!mesh.is_empty() && !key.name.is_empty() && !has_slash).then_some(key)
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, ArnError> {
        if text.len() > Self::LENGTH_MAX {
            let head: String = text.chars().take(64).collect();
            return Err(ArnError::Parts(format!("{head}…")));
        }
        let mut parts = text.splitn(6, ':');
        let mut next = || parts.next().ok_or_else(|| ArnError::Parts(text.to_owned()));
        let (scheme, partition, service) = (next()?, next()?, next()?);
        let (region, account, resource) = (next()?, next()?, next()?);
        if scheme != "arn" || service != "appmesh" {
            return Err(ArnError::Service(text.to_owned()));
        }
        let key = Self::parse_key(resource).ok_or_else(|| ArnError::Resource(text.to_owned()))?;
        Ok(Self { partition: partition.into(), region: region.into(), account: account.into(), key })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partition, region, account, key } = self;
        write!(f, "arn:{partition}:appmesh:{region}:{account}:{key}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_reads_back_as_it_was_written() {
        for (resource, kind, parent, name) in [
            ("mesh/m", Kind::Mesh, None, "m"),
            ("mesh/m/virtualNode/n", Kind::VirtualNode, None, "n"),
            ("mesh/m/virtualService/a.b/c:80", Kind::VirtualService, None, "a.b/c:80"),
            ("mesh/m/virtualRouter/r", Kind::VirtualRouter, None, "r"),
            ("mesh/m/virtualRouter/r/route/x", Kind::Route, Some("r"), "x"),
            ("mesh/m/virtualGateway/g/gatewayRoute/x", Kind::GatewayRoute, Some("g"), "x"),
        ] {
            let text = format!("arn:aws:appmesh:eu-west-1:123456789012:{resource}");
            let arn: Arn = text.parse().expect("a valid ARN");
            assert_eq!(
                (arn.key.kind, arn.key.parent.as_deref(), arn.key.name.as_str()),
                (kind, parent, name)
            );
            assert_eq!(arn.to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "mesh/m",
            "arn:aws:appmesh:r:a",
            "arn:aws:ecs:r:a:mesh/m",
            "arn:aws:appmesh:r:a:mesh/",
            "arn:aws:appmesh:r:a:mesh/m/virtualNode/",
            "arn:aws:appmesh:r:a:mesh/m/virtualNode/a/b",
            "arn:aws:appmesh:r:a:mesh/m/route/x",
            "arn:aws:appmesh:r:a:mesh/m/virtualRouter/r/gatewayRoute/x",
            "arn:aws:appmesh:r:a:mesh/m/mesh/x",
        ] {
            assert!(text.parse::<Arn>().is_err(), "{text}");
        }
    }
}
