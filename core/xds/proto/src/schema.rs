//! What Envoy's messages are made of: every field of every message that ours lead to, those that we do not speak included.

mod tables;

use tables::{ENUMS, FIELDS, MESSAGES, NAMES, VALUES};

/// A place in the text of all names, and a length.
type Place = (u32, u8);
/// Name, first field, count of fields.
type MessageRow = (Place, u16, u8);
/// Number, name, type, index of the message or enumeration, flags.
type FieldRow = (u32, Place, u8, u16, u8);
/// First value, count of values.
type EnumRow = (u16, u8);
/// Number, name.
type ValueRow = (i32, Place);

const REPEATED: u8 = 1;
const MAP: u8 = 2;
const SENSITIVE: u8 = 4;
const SPOKEN: u8 = 8;

fn text((at, length): Place) -> &'static str {
    let at = at as usize;
    NAMES.get(at..at + usize::from(length)).unwrap_or_default()
}

/// A message of Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message(u16);

/// A field of a message.
#[derive(Clone, Copy, Debug)]
pub struct Field(&'static FieldRow);

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Double,
    Float,
    Int64,
    Uint64,
    Int32,
    Fixed64,
    Fixed32,
    Bool,
    String,
    Message(Message),
    Bytes,
    Uint32,
    Enum(Enum),
    Sfixed32,
    Sfixed64,
    Sint32,
    Sint64,
}

/// An enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enum(u16);

impl Message {
    /// By its full name, such as `envoy.config.cluster.v3.Cluster`.
    pub fn named(name: &str) -> Option<Self> {
        let at = MESSAGES.binary_search_by(|row| text(row.0).cmp(name)).ok()?;
        u16::try_from(at).ok().map(Self)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..MESSAGES.len()).filter_map(|at| u16::try_from(at).ok().map(Self))
    }

    pub fn name(self) -> &'static str {
        MESSAGES.get(usize::from(self.0)).map_or("", |row| text(row.0))
    }

    /// By their numbers.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        self.rows().iter().map(Field)
    }

    pub fn field(self, number: u32) -> Option<Field> {
        let rows = self.rows();
        rows.binary_search_by_key(&number, |row| row.0).ok().and_then(|at| rows.get(at)).map(Field)
    }

    fn rows(self) -> &'static [FieldRow] {
        let Some((_, first, count)) = MESSAGES.get(usize::from(self.0)) else { return &[] };
        let first = usize::from(*first);
        FIELDS.get(first..first + usize::from(*count)).unwrap_or_default()
    }
}

impl Field {
    pub fn number(self) -> u32 {
        self.0.0
    }

    pub fn name(self) -> &'static str {
        text(self.0.1)
    }

    /// `None` of a group, which proto3 does not have.
    pub fn kind(self) -> Option<Kind> {
        Some(match self.0.2 {
            1 => Kind::Double,
            2 => Kind::Float,
            3 => Kind::Int64,
            4 => Kind::Uint64,
            5 => Kind::Int32,
            6 => Kind::Fixed64,
            7 => Kind::Fixed32,
            8 => Kind::Bool,
            9 => Kind::String,
            11 => Kind::Message(Message(self.0.3)),
            12 => Kind::Bytes,
            13 => Kind::Uint32,
            14 => Kind::Enum(Enum(self.0.3)),
            15 => Kind::Sfixed32,
            16 => Kind::Sfixed64,
            17 => Kind::Sint32,
            18 => Kind::Sint64,
            _ => return None,
        })
    }

    /// The message that it holds, if it holds one.
    pub fn message(self) -> Option<Message> {
        match self.kind() {
            Some(Kind::Message(message)) => Some(message),
            _ => None,
        }
    }

    pub fn is_repeated(self) -> bool {
        self.0.4 & REPEATED != 0
    }

    /// Its messages have a key and a value.
    pub fn is_map(self) -> bool {
        self.0.4 & MAP != 0
    }

    /// Its content is not for showing.
    pub fn is_sensitive(self) -> bool {
        self.0.4 & SENSITIVE != 0
    }

    /// The message as Selvedge has it has this field; others are not read.
    pub fn is_spoken(self) -> bool {
        self.0.4 & SPOKEN != 0
    }
}

impl Enum {
    /// What a value is called.
    pub fn name_of(self, number: i32) -> Option<&'static str> {
        self.rows().iter().find(|row| row.0 == number).map(|row| text(row.1))
    }

    /// The numbers that have names.
    pub fn numbers(self) -> impl Iterator<Item = i32> {
        self.rows().iter().map(|row| row.0)
    }

    fn rows(self) -> &'static [ValueRow] {
        let Some((first, count)) = ENUMS.get(usize::from(self.0)) else { return &[] };
        let first = usize::from(*first);
        VALUES.get(first..first + usize::from(*count)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_number() {
        let cluster = Message::named("envoy.config.cluster.v3.Cluster").expect("known");
        assert_eq!(cluster.name(), "envoy.config.cluster.v3.Cluster");
        let connect_timeout = cluster.field(4).expect("known");
        assert_eq!((connect_timeout.name(), connect_timeout.is_spoken()), ("connect_timeout", true));
        assert_eq!(connect_timeout.message().map(Message::name), Some("google.protobuf.Duration"));
        let alt_stat_name = cluster.field(28).expect("known");
        assert_eq!((alt_stat_name.name(), alt_stat_name.is_spoken()), ("alt_stat_name", false));
        assert!(cluster.field(36).expect("known").is_map());
        assert!(cluster.field(9999).is_none());
        assert!(Message::named("envoy.config.cluster.v3.Clusters").is_none());
    }

    #[test]
    fn a_value_has_its_name() {
        let cluster = Message::named("envoy.config.cluster.v3.Cluster").expect("known");
        let Some(Kind::Enum(policies)) = cluster.field(6).and_then(Field::kind) else {
            panic!("an enumeration")
        };
        assert_eq!(policies.name_of(5), Some("MAGLEV"));
        assert_eq!(policies.name_of(4), None);
    }

    #[test]
    fn a_key_is_not_for_showing() {
        let certificate =
            Message::named("envoy.extensions.transport_sockets.tls.v3.TlsCertificate").expect("known");
        let sensitive: Vec<&str> =
            certificate.fields().filter(|field| field.is_sensitive()).map(Field::name).collect();
        assert!(
            sensitive.contains(&"private_key") && !sensitive.contains(&"certificate_chain"),
            "{sensitive:?}"
        );
    }

    #[test]
    fn fields_are_in_order() {
        for message in Message::all() {
            let numbers: Vec<u32> = message.fields().map(Field::number).collect();
            assert!(numbers.is_sorted(), "{}", message.name());
            assert!(message.fields().all(|field| field.kind().is_some()), "{}", message.name());
        }
    }
}
