//! When a block of directives holds: conditions on a request, numbered, with what they depend on.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::facts::{RequestFacts, host_name};
use crate::pattern::{Groups, Pattern, PatternExhausted};
use crate::place::Place;

/// A condition's number: its index in [`crate::Program::conditions`]. lighttpd's block numbers are one higher, because
/// theirs count the global block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConditionId(pub u16);

/// What has to hold for a block.
#[derive(Clone, Debug)]
pub struct Condition {
    /// The block that this one stands in.
    pub parent: Option<ConditionId>,
    /// The block before, of which this one is the `else`.
    pub previous: Option<ConditionId>,
    /// What is compared; `None` for a plain `else`.
    pub test: Option<Test>,
    /// As `lighttpd -p` prints it: `$HTTP["host"] == "example.org"`.
    pub text: Arc<str>,
    /// Where it was written first.
    pub place: Place,
}

/// A comparison of one field of a request.
#[derive(Clone, Debug)]
pub struct Test {
    /// What of the request is looked at.
    pub field: Field,
    /// What it is held to.
    pub operation: Operation,
}

/// What of a request a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    /// `$HTTP["host"]`: the authority, lower-case.
    Host,
    /// The authority without its port and without a dot at its end, for expressions of our own form.
    HostName,
    /// `$HTTP["url"]`: the path, decoded and normalised.
    Url,
    /// `$HTTP["querystring"]`.
    QueryString,
    /// `$HTTP["scheme"]`.
    Scheme,
    /// `$HTTP["request-method"]`.
    RequestMethod,
    /// `$HTTP["remoteip"]`.
    RemoteIp,
    /// `$SERVER["socket"]`: the listener's token.
    Socket,
    /// `$REQUEST_HEADER["…"]`, and lighttpd's older names for some: `referer`, `cookie`, `useragent`, `language`.
    Header(Arc<str>),
}

/// How a field is compared.
#[derive(Clone, Debug)]
pub enum Operation {
    /// `==`, `!=` and their operand.
    Equal {
        /// What it is compared with.
        operand: Operand,
        /// `!=`.
        not: bool,
    },
    /// `=^`.
    Prefix(Arc<str>),
    /// `=$`.
    Suffix(Arc<str>),
    /// `=~`, `!~`.
    Matches {
        /// The expression.
        pattern: Pattern,
        /// `!~`.
        not: bool,
    },
}

/// What `==` compares with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Text that has to be the same.
    Text(Arc<str>),
    /// A network, which an address has to be in.
    Network(Network),
}

/// An address with the bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The network's address.
    pub address: IpAddr,
    /// How many of its leading bits count.
    pub bits: u8,
}

/// What is known of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// The request is not far enough read.
    Unknown,
    /// It was not asked, because the block around it does not hold or the one before it does.
    Skipped,
    /// It does not hold.
    False,
    /// It holds.
    True,
}

/// What is known of every condition, by number.
pub type Truths = SmallVec<[Truth; 32]>;

/// Judges all conditions.
///
/// # Errors
/// [`PatternExhausted`] when an expression takes too long on what the request brought.
pub(crate) fn judge(conditions: &[Condition], facts: &RequestFacts<'_>) -> Result<Truths, PatternExhausted> {
    let mut truths = Truths::with_capacity(conditions.len());
    for condition in conditions {
        let truth = condition.judge(&truths, facts)?;
        truths.push(truth);
    }
    Ok(truths)
}

// === impl Condition ===

impl Condition {
    /// Both the block around and the block before have lower numbers, so that they are judged already.
    fn judge(&self, before: &Truths, facts: &RequestFacts<'_>) -> Result<Truth, PatternExhausted> {
        let of = |id: ConditionId| before.get(usize::from(id.0)).copied().unwrap_or(Truth::Unknown);
        match self.parent.map(of) {
            None | Some(Truth::True) => {}
            Some(Truth::Unknown) => return Ok(Truth::Unknown),
            Some(Truth::False | Truth::Skipped) => return Ok(Truth::Skipped),
        }
        match self.previous.map(of) {
            None | Some(Truth::False) => {}
            Some(Truth::Unknown) => return Ok(Truth::Unknown),
            Some(Truth::True | Truth::Skipped) => return Ok(Truth::Skipped),
        }
        let Some(test) = &self.test else { return Ok(Truth::True) };
        Ok(match test.holds(facts)? {
            None => Truth::Unknown,
            Some(true) => Truth::True,
            Some(false) => Truth::False,
        })
    }

    /// What the groups of this condition's expression match in the request, for `%1` and its siblings, with the text that
    /// they were matched in; `None` when the condition has none or does not hold.
    ///
    /// # Errors
    /// [`PatternExhausted`].
    pub fn groups<'a>(
        &self,
        facts: &RequestFacts<'a>,
    ) -> Result<Option<(Cow<'a, str>, Groups)>, PatternExhausted> {
        let Some(test) = &self.test else { return Ok(None) };
        let Some(text) = test.field.of(facts) else { return Ok(None) };
        let whole = |range| Groups::whole(range);
        let groups = match &test.operation {
            Operation::Matches { pattern, not: false } => pattern.groups(&text)?,
            Operation::Equal { not: false, .. } => Some(whole(0..text.len())),
            Operation::Prefix(prefix) => text.starts_with(&**prefix).then(|| whole(0..prefix.len())),
            Operation::Suffix(suffix) => {
                text.ends_with(&**suffix).then(|| whole(text.len() - suffix.len()..text.len()))
            }
            Operation::Matches { not: true, .. } | Operation::Equal { not: true, .. } => None,
        };
        Ok(groups.map(|groups| (text, groups)))
    }
}

// === impl Test ===

impl Test {
    /// Whether it holds; `None` while the field is not known.
    fn holds(&self, facts: &RequestFacts<'_>) -> Result<Option<bool>, PatternExhausted> {
        if let (Field::RemoteIp, Operation::Equal { operand: Operand::Network(network), not }) =
            (&self.field, &self.operation)
        {
            return Ok(facts.remote.map(|remote| network.contains(remote) != *not));
        }
        let Some(text) = self.field.of(facts) else { return Ok(None) };
        Ok(Some(match &self.operation {
            Operation::Equal { operand: Operand::Text(operand), not } => {
                let same =
                    if self.field == Field::Host { same_host(&text, operand) } else { *text == **operand };
                same != *not
            }
            Operation::Equal { operand: Operand::Network(_), not } => *not,
            Operation::Prefix(prefix) => text.starts_with(&**prefix),
            Operation::Suffix(suffix) => text.ends_with(&**suffix),
            Operation::Matches { pattern, not } => pattern.matches(&text)? != *not,
        }))
    }
}

/// Whether two hosts are the same when only one of them has a port: the port counts when both have one.
fn same_host(requested: &str, configured: &str) -> bool {
    let with_port = |long: &str, short: &str| {
        long.strip_prefix(short).is_some_and(|port| port.starts_with(':') && port.len() <= 6)
    };
    if requested.is_empty() || requested.len() == configured.len() || configured.starts_with('/') {
        requested == configured
    } else if requested.len() > configured.len() {
        with_port(requested, configured)
    } else {
        with_port(configured, requested)
    }
}

// === impl Field ===

impl Field {
    /// The field's text; `None` while it is not known. A header that the request lacks is empty text.
    fn of<'a>(&self, facts: &RequestFacts<'a>) -> Option<Cow<'a, str>> {
        match self {
            Self::Host => facts.host.map(Cow::Borrowed),
            Self::HostName => facts.host.map(host_name).map(Cow::Borrowed),
            Self::Url => facts.path.map(Cow::Borrowed),
            Self::QueryString => facts.query.map(Cow::Borrowed),
            Self::Scheme => facts.scheme.map(Cow::Borrowed),
            Self::RequestMethod => facts.method.map(Cow::Borrowed),
            Self::RemoteIp => facts.remote.map(|address| Cow::Owned(address.to_canonical().to_string())),
            Self::Socket => facts.socket.map(Cow::Borrowed),
            Self::Header(name) => facts.headers.map(|headers| headers.header(name).unwrap_or_default()),
        }
    }
}

// === impl Network ===

impl Network {
    /// `10.0.0.0/8`, `2001:db8::/32`, or a single address.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        let address: IpAddr = address.parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { address, bits })
    }

    /// Whether `address` is in it. An IPv4 address inside IPv6 counts as what it stands for; `::/0` is of IPv6 alone.
    pub fn contains(&self, address: IpAddr) -> bool {
        let same = |left: &[u8], right: &[u8]| {
            let (whole, rest) = (usize::from(self.bits / 8), self.bits % 8);
            left[..whole] == right[..whole] && (rest == 0 || (left[whole] ^ right[whole]) >> (8 - rest) == 0)
        };
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => same(&own.octets(), &other.octets()),
            (IpAddr::V6(own), IpAddr::V6(other)) => same(&own.octets(), &other.octets()),
            (IpAddr::V6(own), IpAddr::V4(other)) => {
                let is_mapped = own.to_ipv4_mapped().is_some() && self.bits >= 96;
                is_mapped && same(&own.octets(), &other.to_ipv6_mapped().octets())
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_counts_when_both_hosts_have_one() {
        let rows = [
            ("a.example", "a.example", true),
            ("a.example:8080", "a.example", true),
            ("a.example", "a.example:8080", true),
            ("a.example:8081", "a.example:8080", false),
            ("a.example:80", "a.example:8080", false),
            ("b.example:80", "a.example", false),
            ("a.examples", "a.example", false),
            ("", "a.example", false),
        ];
        for (requested, configured, same) in rows {
            assert_eq!(same_host(requested, configured), same, "{requested} {configured}");
        }
    }

    #[test]
    fn networks_contain_their_addresses() {
        let rows = [
            ("10.0.0.0/8", "10.1.2.3", true),
            ("10.0.0.0/8", "11.1.2.3", false),
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("192.168.64.0/18", "192.168.127.255", true),
            ("192.168.64.0/18", "192.168.128.0", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("[2001:db8::]/33", "2001:db8:8000::1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "8.8.8.8", false),
            ("::/0", "2001:db8::1", true),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.0.0.0/104", "11.1.2.3", false),
        ];
        for (network, address, inside) in rows {
            let network = Network::parse(network).expect("valid");
            assert_eq!(network.contains(address.parse().expect("valid")), inside, "{network} {address}");
        }
        for wrong in ["10.0.0.0/33", "10.0.0/8", "a", "::/129", "10.0.0.0/", ""] {
            assert_eq!(Network::parse(wrong), None, "{wrong}");
        }
    }
}
