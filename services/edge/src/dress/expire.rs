//! `Cache-Control` and `Expires` by path and type.

use std::time::{Duration, UNIX_EPOCH};

use selvedge_http::date;
use selvedge_http::head::Version;
use selvedge_http::known::HeaderId;
use selvedge_site::directive::{Expire, ExpireBase};

use crate::request::{Exchange, Response};

/// Says how long an answer may be kept.
pub(super) fn set(x: &Exchange<'_>, response: &mut Response) {
    let conf = &x.conf.expire;
    let fields = &response.head.fields;
    let unfit = !matches!(response.head.status, 200 | 206 | 304);
    if unfit || conf.url.is_empty() && conf.mimetypes.is_empty() || fields.named("cache-control").is_some() {
        return;
    }
    let by_path = conf.url.iter().find(|(prefix, _)| x.path().starts_with(&**prefix));
    // The first that the type begins with: `text/` is for all texts, and nothing at all for whatever is left.
    let by_type = || {
        let kind = fields.get_str(HeaderId::ContentType).unwrap_or_default();
        conf.mimetypes.iter().find(|(wanted, _)| kind.starts_with(wanted.strip_suffix('*').unwrap_or(wanted)))
    };
    let Some((_, expire)) = by_path.or_else(by_type) else { return };
    let now = x.begun_at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let Some(age) = age(*expire, now, response.modified) else { return };
    // Caches of HTTP/1.0 know dates, later ones ages.
    match x.head.version {
        Version::Http10 => response.head.fields.set("expires", &date::imf_fixdate(now + age)),
        _ => response.head.fields.set("cache-control", format!("max-age={age}").as_bytes()),
    }
}

/// Seconds from now; `None` where it is counted from a change and there is no file.
fn age(expire: Expire, now: u64, modified: Option<u64>) -> Option<u64> {
    match expire.base {
        ExpireBase::Access => Some(expire.seconds),
        ExpireBase::Modification => Some((modified? + expire.seconds).saturating_sub(now)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_from_access_or_change() {
        let of = |base| Expire { base, seconds: 60 };
        assert_eq!(age(of(ExpireBase::Access), 1000, None), Some(60));
        assert_eq!(age(of(ExpireBase::Modification), 1000, Some(990)), Some(50));
        assert_eq!(age(of(ExpireBase::Modification), 1000, Some(0)), Some(0));
        assert_eq!(age(of(ExpireBase::Modification), 1000, None), None);
    }
}
