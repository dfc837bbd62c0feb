//! What the mesh itself keeps about a resource.

use std::fmt;

use serde_json::{Map, Value, json};

/// What is kept about a resource beside its spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The full ARN.
    pub arn: String,
    pub created_at: Timestamp,
    pub last_updated_at: Timestamp,
    /// The account that owns the mesh.
    pub mesh_owner: String,
    /// The account that owns the resource.
    pub resource_owner: String,
    /// A UUID; another resource of the same name later has another.
    pub uid: String,
    /// 1 at first, and one more with each update.
    pub version: u64,
}

/// A moment: milliseconds since the Unix epoch. On the wire, seconds with a millisecond fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

/// The condition of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Active,
    /// It exists, but cannot do its work yet.
    Inactive,
    Deleted,
}

// === impl Metadata ===

impl Metadata {
    /// The `metadata` member of a resource.
    pub fn to_wire(&self) -> Value {
        json!({
            "arn": self.arn,
            "createdAt": self.created_at.to_wire(),
            "lastUpdatedAt": self.last_updated_at.to_wire(),
            "meshOwner": self.mesh_owner,
            "resourceOwner": self.resource_owner,
            "uid": self.uid,
            "version": self.version,
        })
    }

    /// Reads what [`Metadata::to_wire`] wrote.
    pub fn from_wire(value: &Value) -> Option<Self> {
        let object: &Map<String, Value> = value.as_object()?;
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(String::from);
        Some(Self {
            arn: text("arn")?,
            created_at: Timestamp::from_wire(object.get("createdAt")?)?,
            last_updated_at: Timestamp::from_wire(object.get("lastUpdatedAt")?)?,
            mesh_owner: text("meshOwner")?,
            resource_owner: text("resourceOwner")?,
            uid: text("uid")?,
            version: object.get("version")?.as_u64()?,
        })
    }
}

// === impl Timestamp ===

impl Timestamp {
    /// Seconds since the epoch as a JSON number with three decimals at most, as in `1563809909.282`.
    pub fn to_wire(self) -> Value {
        let text = self.to_string();
        text.parse().map_or(Value::Null, Value::Number)
    }

    /// Reads what [`Timestamp::to_wire`] wrote.
    pub fn from_wire(value: &Value) -> Option<Self> {
        let text = value.as_number()?.to_string();
        let (seconds, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis).map(Self)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

// === impl Status ===

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Deleted => "DELETED",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_seconds_with_milliseconds() {
        for (millis, text) in [(1_563_809_909_282, "1563809909.282"), (1_000, "1.000"), (7, "0.007")] {
            let wire = Timestamp(millis).to_wire();
            assert_eq!(wire.to_string(), text);
            assert_eq!(Timestamp::from_wire(&wire), Some(Timestamp(millis)));
        }
    }
}
