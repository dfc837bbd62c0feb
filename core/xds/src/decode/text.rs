//! Conditions on texts, addresses and metadata, and shares.

use std::net::IpAddr;

use selvedge_traffic::fraction::Denominator;
use selvedge_traffic::matching::{Cidr, TextCondition, TextMatch};
use selvedge_traffic::{Fraction, MetadataMatch, ValueMatch};
use selvedge_xds_proto::envoy::config::core::v3::{CidrRange, RuntimeFractionalPercent};
use selvedge_xds_proto::envoy::r#type::matcher::v3 as proto;
use selvedge_xds_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use selvedge_xds_proto::envoy::r#type::matcher::v3::value_matcher::MatchPattern as ValuePattern;
use selvedge_xds_proto::envoy::r#type::matcher::v3::{double_matcher, list_matcher, metadata_matcher};
use selvedge_xds_proto::envoy::r#type::v3::fractional_percent::DenominatorType;

use super::Reason;
use super::bounds::{known, not_empty};
use super::matching::{pattern, some_part};

/// How deep conditions on values may nest.
const NESTING_MAX: usize = 8;

pub(super) fn text(field: &'static str, message: proto::StringMatcher) -> Result<TextMatch, Reason> {
    let condition = match some_part(field, message.match_pattern)? {
        MatchPattern::Exact(text) => TextCondition::Exact(text),
        MatchPattern::Prefix(text) => TextCondition::Prefix(text),
        MatchPattern::Suffix(text) => TextCondition::Suffix(text),
        MatchPattern::Contains(text) => TextCondition::Contains(text),
        MatchPattern::SafeRegex(regex) => TextCondition::Regex(pattern(field, &regex)?),
    };
    Ok(TextMatch { condition, ignore_case: message.ignore_case })
}

pub(super) fn texts(
    field: &'static str,
    message: Option<proto::ListStringMatcher>,
) -> Result<Vec<TextMatch>, Reason> {
    let patterns = message.map(|list| list.patterns).unwrap_or_default();
    patterns.into_iter().map(|pattern| text(field, pattern)).collect()
}

pub(super) fn path(field: &'static str, message: proto::PathMatcher) -> Result<TextMatch, Reason> {
    let proto::path_matcher::Rule::Path(path) = message.rule.ok_or(Reason::Missing(field))?;
    text(field, path)
}

pub(super) fn cidr(field: &'static str, message: &CidrRange) -> Result<Cidr, Reason> {
    let invalid = || Reason::Invalid {
        field,
        value: format!("{}/{}", message.address_prefix, message.prefix_len.unwrap_or_default()),
        expected: "is no block of addresses",
    };
    let address: IpAddr = message.address_prefix.parse().map_err(|_| invalid())?;
    let len = u8::try_from(message.prefix_len.unwrap_or_default()).map_err(|_| invalid())?;
    Cidr::new(address, len).ok_or_else(invalid)
}

pub(super) fn metadata(
    field: &'static str,
    message: proto::MetadataMatcher,
) -> Result<MetadataMatch, Reason> {
    let keys: Vec<String> = message
        .path
        .into_iter()
        .map(|segment| {
            let metadata_matcher::path_segment::Segment::Key(key) =
                segment.segment.ok_or(Reason::Missing(field))?;
            not_empty(field, key)
        })
        .collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Err(Reason::Missing(field));
    }
    Ok(MetadataMatch {
        namespace: not_empty(field, message.filter)?,
        path: keys,
        value: value(field, message.value.ok_or(Reason::Missing(field))?, NESTING_MAX)?,
        invert: message.invert,
    })
}

fn value(field: &'static str, message: proto::ValueMatcher, depth: usize) -> Result<ValueMatch, Reason> {
    let deeper = depth.checked_sub(1).ok_or_else(|| Reason::Invalid {
        field,
        value: "a condition".to_owned(),
        expected: "nests too deep",
    })?;
    Ok(match message.match_pattern.ok_or(Reason::Missing(field))? {
        ValuePattern::NullMatch(_) => ValueMatch::Null,
        ValuePattern::DoubleMatch(number) => match number.match_pattern.ok_or(Reason::Missing(field))? {
            double_matcher::MatchPattern::Range(range) => {
                ValueMatch::Range { start: range.start, end: range.end }
            }
            double_matcher::MatchPattern::Exact(exact) => ValueMatch::Number(exact),
        },
        ValuePattern::StringMatch(matcher) => ValueMatch::Text(text(field, matcher)?),
        ValuePattern::BoolMatch(exact) => ValueMatch::Bool(exact),
        ValuePattern::PresentMatch(present) => ValueMatch::Present(present),
        ValuePattern::ListMatch(list) => {
            let list_matcher::MatchPattern::OneOf(one) = list.match_pattern.ok_or(Reason::Missing(field))?;
            ValueMatch::OneOf(Box::new(value(field, *one, deeper)?))
        }
        ValuePattern::OrMatch(or) => {
            let many = or.value_matchers.into_iter().map(|one| value(field, one, deeper));
            ValueMatch::Any(many.collect::<Result<_, _>>()?)
        }
    })
}

/// The key of the runtime is passed over: there is none.
pub(super) fn fraction(field: &'static str, message: RuntimeFractionalPercent) -> Result<Fraction, Reason> {
    let percent = message.default_value.ok_or(Reason::Missing(field))?;
    let denominator = match known(field, percent.denominator)? {
        DenominatorType::Hundred => Denominator::Hundred,
        DenominatorType::TenThousand => Denominator::TenThousand,
        DenominatorType::Million => Denominator::Million,
    };
    Ok(Fraction { numerator: percent.numerator, denominator })
}
