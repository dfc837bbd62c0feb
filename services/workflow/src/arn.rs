//! ARNs of the `states` service.

use std::fmt;

/// One of the ARNs that the API speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn {
    /// `aws`, `aws-cn`, …
    pub partition: Box<str>,
    /// Where.
    pub region: Box<str>,
    /// Whose.
    pub account: Box<str>,
    /// What.
    pub resource: Resource,
}

/// What an ARN names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `stateMachine:N`, with `:version`, `:alias` or `/label`
    Machine {
        /// The machine's name.
        name: Box<str>,
        /// A version's number or an alias' name.
        qualifier: Option<Box<str>>,
    },
    /// `execution:N:E`
    Execution {
        /// The machine's name, with a label for children of a map run.
        machine: Box<str>,
        /// The execution's.
        name: Box<str>,
    },
    /// `express:N:E:uuid`
    Express {
        /// The machine's name.
        machine: Box<str>,
        /// The execution's, with its uuid.
        name: Box<str>,
    },
    /// `activity:N`
    Activity(Box<str>),
    /// `mapRun:N/label:uuid`
    MapRun {
        /// The machine's name and the label.
        machine: Box<str>,
        /// The uuid.
        name: Box<str>,
    },
}

/// The text is no ARN of this service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid Arn: '{0}'")]
pub struct InvalidArn(pub String);

impl Arn {
    /// Reads an ARN.
    ///
    /// # Errors
    /// For any other text.
    pub fn parse(text: &str) -> Result<Self, InvalidArn> {
        let invalid =
            || InvalidArn(format!("Invalid Arn Format: {}", text.chars().take(200).collect::<String>()));
        let mut parts = text.splitn(6, ':');
        let mut part = || parts.next().ok_or_else(invalid);
        let (scheme, partition, service) = (part()?, part()?, part()?);
        let (region, account, rest) = (part()?, part()?, part()?);
        if scheme != "arn" || service != "states" || !partition.starts_with("aws") {
            return Err(invalid());
        }
        let words: Vec<&str> = rest.split(':').collect();
        if words.iter().any(|word| word.is_empty()) {
            return Err(invalid());
        }
        let resource = match words[..] {
            ["stateMachine", name] => Resource::Machine { name: name.into(), qualifier: None },
            ["stateMachine", name, qualifier] => {
                Resource::Machine { name: name.into(), qualifier: Some(qualifier.into()) }
            }
            ["execution", machine, name] => {
                Resource::Execution { machine: machine.into(), name: name.into() }
            }
            ["express", machine, name, uuid] => {
                Resource::Express { machine: machine.into(), name: format!("{name}:{uuid}").into() }
            }
            ["activity", name] => Resource::Activity(name.into()),
            ["mapRun", machine, name] => Resource::MapRun { machine: machine.into(), name: name.into() },
            _ => return Err(invalid()),
        };
        Ok(Self { partition: partition.into(), region: region.into(), account: account.into(), resource })
    }

    /// Another resource of the same place.
    #[must_use]
    pub fn sibling(&self, resource: Resource) -> Self {
        Self { resource, ..self.clone() }
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arn:{}:states:{}:{}:", self.partition, self.region, self.account)?;
        match &self.resource {
            Resource::Machine { name, qualifier: None } => write!(f, "stateMachine:{name}"),
            Resource::Machine { name, qualifier: Some(qualifier) } => {
                write!(f, "stateMachine:{name}:{qualifier}")
            }
            Resource::Execution { machine, name } => write!(f, "execution:{machine}:{name}"),
            Resource::Express { machine, name } => write!(f, "express:{machine}:{name}"),
            Resource::Activity(name) => write!(f, "activity:{name}"),
            Resource::MapRun { machine, name } => write!(f, "mapRun:{machine}:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_read_and_written() {
        for text in [
            "arn:aws:states:us-east-1:123456789012:stateMachine:M",
            "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:M:live",
            "arn:aws:states:us-east-1:123456789012:execution:M:e",
            "arn:aws:states:us-east-1:123456789012:express:M:e:u",
            "arn:aws:states:us-east-1:123456789012:activity:a",
            "arn:aws:states:us-east-1:123456789012:mapRun:M/L:u",
        ] {
            assert_eq!(Arn::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "arn",
            "arn:aws:states:r:1:",
            "arn:aws:states:r:1:stateMachine:",
            "arn:aws:s3:r:1:stateMachine:M",
            "arn:aws:states:r:1:other:M",
        ] {
            assert!(Arn::parse(text).is_err(), "{text}");
        }
    }
}
