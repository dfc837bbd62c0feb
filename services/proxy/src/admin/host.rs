//! Which Host headers are answered.

use std::net::IpAddr;

/// Addresses and `localhost` are fine; any other name might be a stranger's that was made to point here.
pub(super) fn is_trusted(host: Option<&str>) -> bool {
    let Some(host) = host else { return true };
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(name, _)| name),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_name_is_not_answered() {
        for (host, trusted) in [
            (None, true),
            (Some("localhost:9901"), true),
            (Some("LOCALHOST"), true),
            (Some("127.0.0.1:9901"), true),
            (Some("[::1]:9901"), true),
            (Some("10.0.0.7"), true),
            (Some("evil.example:9901"), false),
            (Some("localhost.evil.example"), false),
            (Some("127.0.0.1.evil.example"), false),
            (Some(""), false),
        ] {
            assert_eq!(is_trusted(host), trusted, "{host:?}");
        }
    }
}
