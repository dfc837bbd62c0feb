//! Which records a log takes.

use serde::Serialize;
use thiserror::Error;

use crate::matching::HeaderMatch;

/// Filters within filters, at most.
pub const DEPTH_MAX: usize = 8;

/// A condition on a record.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub enum LogFilter {
    Status(Comparison),
    /// The whole duration in milliseconds.
    Duration(Comparison),
    NotHealthCheck,
    /// The request is traced.
    Traceable,
    /// So many of a million, by the request's id unless `independent`; a number set at run time under `key` replaces
    /// the numerator.
    Sampled {
        key: String,
        numerator: u32,
        denominator: u32,
        independent: bool,
    },
    And(Vec<Self>),
    Or(Vec<Self>),
    Header(HeaderMatch),
    /// Any of these response flags; empty is any flag at all.
    Flags(Vec<String>),
    /// The gRPC status, or the one that the HTTP status stands for, is one of these; `exclude`: is none of these.
    GrpcStatus {
        statuses: Vec<u32>,
        exclude: bool,
    },
}

/// A number against a fixed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Comparison {
    pub operator: Operator,
    pub value: u32,
    /// A number set at run time under this name is taken instead.
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Operator {
    Equal,
    AtLeast,
    AtMost,
    NotEqual,
}

/// A filter that cannot be judged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogFilterInvalid {
    #[error("filters are nested more than {DEPTH_MAX} deep")]
    TooDeep,
    #[error("a filter of several needs at least two")]
    TooFew,
    #[error("response flag {0:?} is not known")]
    Flag(String),
}

/// What a filter is told of a record.
pub trait LogFacts {
    fn status(&self) -> u16;
    fn duration_millis(&self) -> u64;
    fn is_traced(&self) -> bool;
    fn is_health_check(&self) -> bool;
    fn header_taken(&self, matcher: &HeaderMatch) -> bool;
    /// Whether the short name of a flag was set; of any, for `None`.
    fn has_flag(&self, flag: Option<&str>) -> bool;
    fn grpc_status(&self) -> u32;
    /// A number below 2^32 that is the same for this request everywhere, if it has an id.
    fn stable_random(&self) -> Option<u32>;
    /// One that is another each time.
    fn random(&self) -> u32;
    /// What was set at run time.
    fn runtime(&self, key: &str) -> Option<u32>;
}

impl LogFilter {
    /// Whether the record is written.
    pub fn takes(&self, facts: &impl LogFacts) -> bool {
        match self {
            Self::Status(comparison) => comparison.holds(u64::from(facts.status()), facts),
            Self::Duration(comparison) => comparison.holds(facts.duration_millis(), facts),
            Self::NotHealthCheck => !facts.is_health_check(),
            Self::Traceable => facts.is_traced(),
            Self::Sampled { key, numerator, denominator, independent } => {
                let numerator = facts.runtime(key).unwrap_or(*numerator);
                let random = match facts.stable_random() {
                    Some(stable) if !independent => stable,
                    _ => facts.random(),
                };
                random % (*denominator).max(1) < numerator
            }
            Self::And(all) => all.iter().all(|filter| filter.takes(facts)),
            Self::Or(any) => any.iter().any(|filter| filter.takes(facts)),
            Self::Header(matcher) => facts.header_taken(matcher),
            Self::Flags(flags) if flags.is_empty() => facts.has_flag(None),
            Self::Flags(flags) => flags.iter().any(|flag| facts.has_flag(Some(flag))),
            Self::GrpcStatus { statuses, exclude } => statuses.contains(&facts.grpc_status()) != *exclude,
        }
    }

    /// Checks what the types cannot say; `is_flag` knows the short names of response flags.
    ///
    /// # Errors
    /// See [`LogFilterInvalid`].
    pub fn validate(&self, is_flag: impl Fn(&str) -> bool + Copy) -> Result<(), LogFilterInvalid> {
        self.validate_at(0, is_flag)
    }

    fn validate_at(
        &self,
        depth: usize,
        is_flag: impl Fn(&str) -> bool + Copy,
    ) -> Result<(), LogFilterInvalid> {
        if depth > DEPTH_MAX {
            return Err(LogFilterInvalid::TooDeep);
        }
        match self {
            Self::And(filters) | Self::Or(filters) if filters.len() < 2 => Err(LogFilterInvalid::TooFew),
            Self::And(filters) | Self::Or(filters) => {
                filters.iter().try_for_each(|filter| filter.validate_at(depth + 1, is_flag))
            }
            Self::Flags(flags) => match flags.iter().find(|flag| !is_flag(flag)) {
                Some(unknown) => Err(LogFilterInvalid::Flag(unknown.clone())),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

impl Comparison {
    fn holds(&self, value: u64, facts: &impl LogFacts) -> bool {
        let runtime = if self.key.is_empty() { None } else { facts.runtime(&self.key) };
        let bound = u64::from(runtime.unwrap_or(self.value));
        match self.operator {
            Operator::Equal => value == bound,
            Operator::AtLeast => value >= bound,
            Operator::AtMost => value <= bound,
            Operator::NotEqual => value != bound,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matching::{HeaderCondition, PlainRequest};

    struct Facts {
        status: u16,
        flags: &'static [&'static str],
        stable: Option<u32>,
        runtime: Option<u32>,
        request: PlainRequest,
    }

    impl LogFacts for Facts {
        fn status(&self) -> u16 {
            self.status
        }
        fn duration_millis(&self) -> u64 {
            250
        }
        fn is_traced(&self) -> bool {
            false
        }
        fn is_health_check(&self) -> bool {
            true
        }
        fn header_taken(&self, matcher: &HeaderMatch) -> bool {
            matcher.takes(&self.request)
        }
        fn has_flag(&self, flag: Option<&str>) -> bool {
            flag.map_or(!self.flags.is_empty(), |flag| self.flags.contains(&flag))
        }
        fn grpc_status(&self) -> u32 {
            14
        }
        fn stable_random(&self) -> Option<u32> {
            self.stable
        }
        fn random(&self) -> u32 {
            999_999
        }
        fn runtime(&self, key: &str) -> Option<u32> {
            self.runtime.filter(|_| key == "k")
        }
    }

    fn facts() -> Facts {
        Facts {
            status: 503,
            flags: &["UF"],
            stable: Some(1_000_010),
            runtime: None,
            request: PlainRequest::new("GET", "a", "/").with_header("x-log", "1"),
        }
    }

    fn compare(operator: Operator, value: u32) -> Comparison {
        Comparison { operator, value, key: String::new() }
    }

    #[test]
    fn each_filter_judges_its_own_fact() {
        let sampled = |numerator, independent| LogFilter::Sampled {
            key: "k".to_owned(),
            numerator,
            denominator: 1_000_000,
            independent,
        };
        let header = HeaderMatch {
            name: "x-log".to_owned(),
            condition: HeaderCondition::Exact("1".to_owned()),
            invert: false,
        };
        let rows = [
            (LogFilter::Status(compare(Operator::AtLeast, 500)), true),
            (LogFilter::Status(compare(Operator::NotEqual, 503)), false),
            (LogFilter::Duration(compare(Operator::AtMost, 249)), false),
            (LogFilter::Duration(compare(Operator::Equal, 250)), true),
            (LogFilter::NotHealthCheck, false),
            (LogFilter::Traceable, false),
            (sampled(11, false), true),
            (sampled(10, false), false),
            (sampled(999_999, true), false),
            (LogFilter::Header(header), true),
            (LogFilter::Flags(Vec::new()), true),
            (LogFilter::Flags(vec!["UH".to_owned()]), false),
            (LogFilter::Flags(vec!["UH".to_owned(), "UF".to_owned()]), true),
            (LogFilter::GrpcStatus { statuses: vec![14], exclude: false }, true),
            (LogFilter::GrpcStatus { statuses: vec![14], exclude: true }, false),
        ];
        for (filter, expected) in rows {
            assert_eq!(filter.takes(&facts()), expected, "{filter:?}");
        }
    }

    #[test]
    fn filters_combine_and_follow_what_is_set_at_run_time() {
        let late = LogFilter::Duration(compare(Operator::AtLeast, 1000));
        let failed = LogFilter::Status(compare(Operator::AtLeast, 500));
        assert!(LogFilter::Or(vec![late.clone(), failed.clone()]).takes(&facts()));
        assert!(!LogFilter::And(vec![late, failed]).takes(&facts()));
        let bound = Comparison { operator: Operator::AtLeast, value: 1000, key: "k".to_owned() };
        let filter = LogFilter::Duration(bound);
        assert!(!filter.takes(&facts()));
        assert!(filter.takes(&Facts { runtime: Some(200), ..facts() }));
    }

    #[test]
    fn what_cannot_be_judged_is_refused() {
        let flag = |name: &str| name == "UF";
        assert_eq!(LogFilter::Flags(vec!["UF".to_owned()]).validate(flag), Ok(()));
        let unknown = LogFilter::Flags(vec!["XX".to_owned()]);
        assert_eq!(unknown.validate(flag), Err(LogFilterInvalid::Flag("XX".to_owned())));
        assert_eq!(LogFilter::And(vec![LogFilter::Traceable]).validate(flag), Err(LogFilterInvalid::TooFew));
        let nest = |inner: LogFilter| LogFilter::Or(vec![inner, LogFilter::Traceable]);
        let deep = (0..=DEPTH_MAX).fold(LogFilter::Traceable, |inner, _| nest(inner));
        assert_eq!(deep.validate(flag), Err(LogFilterInvalid::TooDeep));
    }
}
