//! The redirect to HTTPS, in the words in which configurations have it: a listener of the form sends everything there.

use super::matched::Match;
use super::text::plain;
use super::{Document, Values, inherited, values};

/// What finds the whole path and its query in every request, and where its first group begins.
const ALL: [(&str, Group); 14] = [
    ("", Group::None),
    ("^", Group::None),
    (".*", Group::None),
    ("^.*", Group::None),
    ("^.*$", Group::None),
    ("^/.*", Group::None),
    ("(.*)", Group::All),
    ("^(.*)", Group::All),
    ("^(.*)$", Group::All),
    ("^(/.*)$", Group::All),
    ("^/(.*)", Group::BehindSlash),
    ("^/(.*)$", Group::BehindSlash),
    ("^/?(.*)", Group::BehindSlash),
    ("^/?(.*)$", Group::BehindSlash),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    None,
    All,
    BehindSlash,
}

/// A block that sends everything that comes in without TLS to HTTPS.
pub(super) struct ToHttps {
    pub(super) block: usize,
    /// The address of its listener; all that have no TLS otherwise.
    pub(super) listen: Option<String>,
    pub(super) status: String,
}

/// Such blocks, of those in the order in which they count. One over which another redirect counts stays a route.
pub(super) fn redirects(document: &Document, blocks: &[usize], usual: u16) -> Vec<ToHttps> {
    let mut found = Vec::new();
    for &number in blocks {
        let own: Values<'_> = values(document, number).collect();
        let Some(rules) = own.get("url.redirect").and_then(|value| value.as_list()) else { continue };
        let (rule, all) = (Match::of(document, number), inherited(document, number));
        let mut rules = rules.iter();
        let to_https = match (rules.next(), rules.next()) {
            (Some((Some(expression), target)), None) if rule.is_all_plain() => target
                .as_text()
                .and_then(|target| rule.target(target).ok())
                .is_some_and(|target| leads_to_the_same(expression, &target)),
            _ => false,
        };
        // Whatever comes behind counts less.
        if !to_https {
            break;
        }
        let status = all.get("url.redirect-code").map_or_else(|| usual.to_string(), |code| plain(code));
        found.push(ToHttps { block: number, listen: rule.listen, status });
    }
    found
}

/// Whether a redirect leads to the same host, path and query by HTTPS.
fn leads_to_the_same(expression: &str, target: &str) -> bool {
    let Some((_, group)) = ALL.iter().find(|(all, _)| *all == expression) else { return false };
    let Some(rest) = target.strip_prefix("https://") else { return false };
    let hosts = ["${url.authority.noport}", "${url.authority}"];
    let Some(path) = hosts.iter().find_map(|host| rest.strip_prefix(host)) else { return false };
    match path {
        "${url.path}${qsa}" => true,
        "$0" => {
            expression.ends_with('*')
                || expression.ends_with("*$")
                || expression.ends_with(')')
                || expression.ends_with(")$")
        }
        "$1" => *group == Group::All,
        "/$1" => *group == Group::BehindSlash,
        _ => false,
    }
}
