//! Conditions on texts, addresses and metadata, and shares.

use selvedge_traffic::fraction::Denominator;
use selvedge_traffic::matching::{Cidr, TextCondition, TextMatch};
use selvedge_traffic::{Fraction, MetadataMatch, ValueMatch};
use selvedge_xds_proto::envoy::config::core::v3::{CidrRange, RuntimeFractionalPercent};
use selvedge_xds_proto::envoy::r#type::matcher::v3 as proto;
use selvedge_xds_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use selvedge_xds_proto::envoy::r#type::matcher::v3::value_matcher::MatchPattern as ValuePattern;
use selvedge_xds_proto::envoy::r#type::matcher::v3::{double_matcher, list_matcher, metadata_matcher};
use selvedge_xds_proto::envoy::r#type::v3::fractional_percent::DenominatorType;
use selvedge_xds_proto::envoy::r#type::v3::{DoubleRange, FractionalPercent};

pub(super) fn text(matches: &TextMatch) -> proto::StringMatcher {
    proto::StringMatcher {
        ignore_case: matches.ignore_case,
        match_pattern: Some(match &matches.condition {
            TextCondition::Exact(text) => MatchPattern::Exact(text.clone()),
            TextCondition::Prefix(text) => MatchPattern::Prefix(text.clone()),
            TextCondition::Suffix(text) => MatchPattern::Suffix(text.clone()),
            TextCondition::Contains(text) => MatchPattern::Contains(text.clone()),
            TextCondition::Regex(pattern) => {
                MatchPattern::SafeRegex(proto::RegexMatcher { regex: pattern.as_str().to_owned() })
            }
        }),
    }
}

pub(super) fn texts(matches: &[TextMatch]) -> Option<proto::ListStringMatcher> {
    (!matches.is_empty()).then(|| proto::ListStringMatcher { patterns: matches.iter().map(text).collect() })
}

pub(super) fn path(matches: &TextMatch) -> proto::PathMatcher {
    proto::PathMatcher { rule: Some(proto::path_matcher::Rule::Path(text(matches))) }
}

pub(super) fn cidr(block: &Cidr) -> CidrRange {
    CidrRange { address_prefix: block.address().to_string(), prefix_len: Some(block.prefix_len().into()) }
}

pub(super) fn metadata(matches: &MetadataMatch) -> proto::MetadataMatcher {
    let segment = |key: &String| metadata_matcher::PathSegment {
        segment: Some(metadata_matcher::path_segment::Segment::Key(key.clone())),
    };
    proto::MetadataMatcher {
        filter: matches.namespace.clone(),
        path: matches.path.iter().map(segment).collect(),
        value: Some(value(&matches.value)),
        invert: matches.invert,
    }
}

fn value(matches: &ValueMatch) -> proto::ValueMatcher {
    let number = |pattern| proto::DoubleMatcher { match_pattern: Some(pattern) };
    let pattern = match matches {
        ValueMatch::Null => ValuePattern::NullMatch(proto::value_matcher::NullMatch {}),
        ValueMatch::Range { start, end } => {
            let range = DoubleRange { start: *start, end: *end };
            ValuePattern::DoubleMatch(number(double_matcher::MatchPattern::Range(range)))
        }
        ValueMatch::Number(exact) => {
            ValuePattern::DoubleMatch(number(double_matcher::MatchPattern::Exact(*exact)))
        }
        ValueMatch::Text(matches) => ValuePattern::StringMatch(text(matches)),
        ValueMatch::Bool(exact) => ValuePattern::BoolMatch(*exact),
        ValueMatch::Present(present) => ValuePattern::PresentMatch(*present),
        ValueMatch::OneOf(one) => {
            let one = list_matcher::MatchPattern::OneOf(Box::new(value(one)));
            ValuePattern::ListMatch(Box::new(proto::ListMatcher { match_pattern: Some(one) }))
        }
        ValueMatch::Any(many) => {
            ValuePattern::OrMatch(proto::OrMatcher { value_matchers: many.iter().map(value).collect() })
        }
    };
    proto::ValueMatcher { match_pattern: Some(pattern) }
}

pub(super) fn fraction(fraction: Fraction) -> RuntimeFractionalPercent {
    let denominator = match fraction.denominator {
        Denominator::Hundred => DenominatorType::Hundred,
        Denominator::TenThousand => DenominatorType::TenThousand,
        Denominator::Million => DenominatorType::Million,
    };
    RuntimeFractionalPercent {
        default_value: Some(FractionalPercent {
            numerator: fraction.numerator,
            denominator: denominator.into(),
        }),
        runtime_key: String::new(),
    }
}
