//! In which order blocks become routes: what counts over others first.

use super::matched::Match;
use super::{Document, Values, mesh, values};

/// Whether a block, or one that it stands in, says who passes. What holds everywhere is with every route already.
pub(super) fn is_guarded(document: &Document, block: usize) -> bool {
    let mut at = Some(block).filter(|block| *block > 0);
    while let Some(number) = at {
        if values(document, number).any(|(key, _)| mesh::GUARDS.contains(&key)) {
            return true;
        }
        at = document.blocks[number].parent.filter(|parent| *parent > 0);
    }
    false
}

/// Whether a block makes something be answered.
pub(super) fn answers(values: &Values<'_>) -> bool {
    ANSWERS.iter().any(|key| values.contains_key(key))
}

const ANSWERS: &[&str] = &[
    "auth.require",
    "server.document-root",
    "mesh.service",
    "mesh.workflow",
    "proxy.server",
    "url.redirect",
    "alias.url",
    "fastcgi.server",
];

/// Whether redirects come after what refuses, as the modules are listed.
pub(super) fn redirects_late(global: &Values<'_>) -> bool {
    let Some(list) = global.get("server.modules").and_then(|value| value.as_list()) else { return false };
    let place =
        |name: &str| list.iter().position(|(_, value)| value.as_text().is_some_and(|it| **it == *name));
    let redirect = place("mod_redirect");
    ["mod_access", "mod_auth"].iter().any(|name| place(name).is_some_and(|other| redirect > Some(other)))
}

/// The later block first, the inner one before the outer one, and of an `else` chain the earlier one.
pub(super) fn precedence(document: &Document, block: usize) -> Vec<(usize, std::cmp::Reverse<usize>)> {
    let mut path = Vec::new();
    let mut at = Some(block).filter(|block| *block > 0);
    while let Some(number) = at {
        let mut head = number;
        while let Some(previous) = document.blocks[head].previous {
            head = previous;
        }
        path.push((head, std::cmp::Reverse(number)));
        at = document.blocks[number].parent.filter(|parent| *parent > 0);
    }
    path.reverse();
    path
}

/// Whether everything is refused.
pub(super) fn refuses(values: &Values<'_>) -> bool {
    let list = values.get("url.access-deny").and_then(|value| value.as_list());
    list.is_some_and(|list| list.iter().any(|(_, value)| value.as_text().is_some_and(|text| text.is_empty())))
}

/// What paths begin with whose callers are asked or refused: a rewrite must not lead there from another route.
pub(super) fn guarded(document: &Document) -> Vec<String> {
    let mut found = Vec::new();
    for number in 0..document.blocks.len() {
        let own: Values<'_> = values(document, number).collect();
        let rule = Match::of(document, number);
        let list = own.get("auth.require").and_then(|value| value.as_list());
        let prefixes = list.into_iter().flat_map(|list| list.iter()).filter_map(|(prefix, _)| prefix);
        found.extend(prefixes.filter(|prefix| !prefix.is_empty()).map(|prefix| prefix.to_string()));
        let asks =
            refuses(&own) || own.keys().any(|key| mesh::GUARDS.contains(key) || *key == "auth.require");
        if asks && rule.has_path {
            found.push(rule.path_begins.unwrap_or_default());
        }
    }
    found
}
