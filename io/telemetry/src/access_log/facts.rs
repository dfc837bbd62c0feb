//! A record as the filters of a log see it.

use selvedge_traffic::access_log::filter::LogFacts;
use selvedge_traffic::matching::{HeaderMatch, RequestView};

use super::record::{HeaderSource, Record};
use crate::runtime::Runtime;
use crate::{Flag, grpc};

/// A record, and what was set at run time.
pub(super) struct Facts<'a, 'r> {
    pub(super) record: &'a Record<'r>,
    pub(super) runtime: &'a Runtime,
}

impl LogFacts for Facts<'_, '_> {
    fn status(&self) -> u16 {
        self.record.status
    }

    fn duration_millis(&self) -> u64 {
        self.record.duration.map_or(0, |duration| duration.as_millis() as u64)
    }

    fn is_traced(&self) -> bool {
        self.record.traced
    }

    fn is_health_check(&self) -> bool {
        self.record.health_check
    }

    fn header_taken(&self, matcher: &HeaderMatch) -> bool {
        self.record.request.is_some_and(|request| matcher.takes(&Request(request)))
    }

    fn has_flag(&self, flag: Option<&str>) -> bool {
        match flag {
            None => !self.record.flags.is_empty(),
            Some(name) => Flag::of(name).is_some_and(|flag| self.record.flags.contains(flag)),
        }
    }

    fn grpc_status(&self) -> u32 {
        self.record.grpc_status.unwrap_or_else(|| match self.record.status {
            200 => 0,
            status => grpc::from_http(status),
        })
    }

    fn stable_random(&self) -> Option<u32> {
        u32::from_str_radix(std::str::from_utf8(self.record.stream_id?.get(..8)?).ok()?, 16).ok()
    }

    fn random(&self) -> u32 {
        self.record.random
    }

    fn runtime(&self, key: &str) -> Option<u32> {
        self.runtime.number(key).map(|number| number as u32)
    }
}

struct Request<'a>(&'a dyn HeaderSource);

impl Request<'_> {
    fn text(&self, name: &str) -> &str {
        self.0.header(name).and_then(|value| std::str::from_utf8(value).ok()).unwrap_or_default()
    }
}

impl RequestView for Request<'_> {
    fn method(&self) -> &str {
        self.text(":method")
    }

    fn path(&self) -> &str {
        self.text(":path")
    }

    fn authority(&self) -> &str {
        self.text(":authority")
    }

    fn scheme(&self) -> &str {
        self.text(":scheme")
    }

    fn any_value(&self, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> Option<bool> {
        self.0.any_value(name, &mut test)
    }

    fn first_value(&self, name: &str) -> Option<&str> {
        self.0.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}
