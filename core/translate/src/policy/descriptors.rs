//! What of a request is counted.

use selvedge_model::policy::{Counted, DescriptorEntry, DescriptorName, SeparateLimit};
use selvedge_traffic::RateLimit;
use selvedge_traffic::filter::LocalDescriptor;
use selvedge_traffic::matching::header::PatternInvalid;
use selvedge_traffic::rate_limit::{RateLimitAction, TokenBucket};

use super::filters::header;

/// The stage of what a service counts: the local filter looks at stage 0.
pub(super) const GLOBAL_STAGE: u32 = 1;

/// # Errors
/// When an expression cannot be used; the API refuses such a policy.
pub(super) fn all(descriptors: &[Counted]) -> Result<Vec<RateLimit>, PatternInvalid> {
    let one = |counted: &Counted| made(&counted.entries, GLOBAL_STAGE);
    descriptors.iter().map(one).collect()
}

/// How requests are described, and which descriptions have a bucket of their own.
///
/// # Errors
/// When an expression cannot be used; the API refuses such a policy.
pub(super) fn separate(
    limits: &[SeparateLimit],
) -> Result<(Vec<RateLimit>, Vec<LocalDescriptor>), PatternInvalid> {
    let described = limits.iter().map(|limit| made(&limit.by, 0)).collect::<Result<Vec<_>, _>>()?;
    let bucket = |limit: &SeparateLimit| LocalDescriptor {
        entries: limit.by.iter().map(|entry| (entry.key().to_owned(), value(entry))).collect(),
        bucket: TokenBucket {
            tokens_max: limit.burst.unwrap_or(limit.requests),
            tokens_per_fill: limit.requests,
            fill_interval: limit.per.0,
        },
    };
    // Requests may be alike in the same in two limits, as with `only`: they are described once.
    let mut distinct: Vec<RateLimit> = Vec::with_capacity(described.len());
    for one in described {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    Ok((distinct, limits.iter().map(bucket).collect()))
}

/// The value that has the bucket; empty is each by itself.
fn value(entry: &DescriptorEntry) -> String {
    match entry {
        DescriptorEntry::Header(one) | DescriptorEntry::QueryParameter(one) => {
            one.only.clone().unwrap_or_default()
        }
        DescriptorEntry::ClientAddress(_) => String::new(),
        DescriptorEntry::Fixed(one) => one.value.clone(),
        DescriptorEntry::Matching(one) => one.value.clone(),
    }
}

fn made(entries: &[DescriptorEntry], stage: u32) -> Result<RateLimit, PatternInvalid> {
    Ok(RateLimit { stage, actions: entries.iter().map(action).collect::<Result<_, _>>()? })
}

fn action(entry: &DescriptorEntry) -> Result<RateLimitAction, PatternInvalid> {
    let key = entry.key().to_owned();
    let skip = |one: &DescriptorName| one.optional.unwrap_or(false);
    Ok(match entry {
        DescriptorEntry::Header(one) => RateLimitAction::RequestHeader {
            header: one.name.to_ascii_lowercase(),
            key,
            skip_if_absent: skip(one),
        },
        DescriptorEntry::QueryParameter(one) => {
            RateLimitAction::QueryParameter { parameter: one.name.clone(), key, skip_if_absent: skip(one) }
        }
        DescriptorEntry::ClientAddress(one) if one.is_whole() => RateLimitAction::RemoteAddress,
        DescriptorEntry::ClientAddress(one) => RateLimitAction::MaskedRemoteAddress {
            v4_prefix_len: one.v4_prefix_length.unwrap_or(32),
            v6_prefix_len: one.v6_prefix_length.unwrap_or(128),
        },
        DescriptorEntry::Fixed(one) => RateLimitAction::GenericKey { key, value: one.value.clone() },
        DescriptorEntry::Matching(one) => RateLimitAction::HeaderValueMatch {
            key,
            value: one.value.clone(),
            expect: true,
            headers: one.headers.iter().map(header).collect::<Result<_, _>>()?,
        },
    })
}
