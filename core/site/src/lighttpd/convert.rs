//! From `lighttpd.conf` to `edge.toml`. Blocks become routes, those that count over others first; what has no equal is kept
//! as a comment, so that nothing is lost from sight.

mod answer;
mod before;
mod block;
mod expression;
mod global;
mod https;
mod matched;
mod mesh;
mod order;
mod reason;
mod route;
mod scripts;
mod text;

use indexmap::IndexMap;

use super::block::Document;
use super::module;
use crate::Compat;
use crate::value::Value;
use order::{answers, guarded, is_guarded, precedence, redirects_late, refuses};
use text::shown;

/// The configuration in our own form, with a comment for whatever has no equal.
pub fn to_edge_toml(document: &Document, compat: Compat) -> String {
    let mut out = Out {
        redirect_code: if compat == Compat::V1_4_69 { 301 } else { 308 },
        lines: lines(document, 0),
        dress: Vec::new(),
        guarded: guarded(document),
        https: Vec::new(),
        only_1_3: compat == Compat::V1_4_85,
        text: String::from("# Made of lighttpd.conf. Read the comments: what has no equal stands there.\n"),
    };
    let global: Values<'_> = values(document, 0).collect();
    let mut blocks: Vec<usize> =
        (0..document.blocks.len()).filter(|block| *block > 0 || answers(&global)).collect();
    blocks.sort_by_key(|block| std::cmp::Reverse(precedence(document, *block)));
    out.https = https::redirects(document, &blocks, out.redirect_code);
    out.edge(&global);
    out.listeners(document, &global);
    out.trust(&global);
    out.limits(&global);
    out.types(&global);
    out.mesh(&global);
    out.rest(&global);
    let to_https = std::mem::take(&mut out.https);
    to_https.iter().for_each(|to_https| out.sent_to_https(document, to_https));
    // Blocks add up in lighttpd and routes do not: what leads elsewhere, and what refuses or asks who it is, stands before
    // what answers; in which order is for that of the modules to say.
    let own = |block: usize| values(document, block).collect::<Values<'_>>();
    let guards = |block: &usize| {
        refuses(&own(*block)) || own(*block).contains_key("auth.require") || is_guarded(document, *block)
    };
    let (guarding, redirecting): (Vec<usize>, Vec<usize>) = (
        blocks.iter().copied().filter(guards).collect(),
        blocks
            .iter()
            .copied()
            .filter(|block| own(*block).contains_key("url.redirect"))
            .filter(|block| !to_https.iter().any(|known| known.block == *block))
            .collect(),
    );
    let mut parts = [(Part::Redirects, redirecting), (Part::Guards, guarding)];
    if redirects_late(&global) {
        parts.reverse();
    }
    for (part, blocks) in parts {
        blocks.into_iter().for_each(|block| out.block(document, block, part));
    }
    blocks.retain(|block| !refuses(&own(*block)) && !is_guarded(document, *block));
    // What only leads elsewhere answers nothing of its own.
    blocks.retain(|block| *block == 0 || !own(*block).keys().all(|key| key.starts_with("url.redirect")));
    blocks.into_iter().for_each(|block| out.block(document, block, Part::Answers));
    out.text
}

fn lines(document: &Document, block: usize) -> IndexMap<String, String> {
    let values = document.blocks[block].values.iter();
    values.map(|(key, (_, place))| (key.to_string(), document.sources.shown_line(*place))).collect()
}

type Values<'d> = IndexMap<&'d str, &'d Value>;

fn values(document: &Document, block: usize) -> impl Iterator<Item = (&str, &Value)> {
    document.blocks[block].values.iter().map(|(key, (value, _))| (&**key, value))
}

/// Everything that holds where a block does: its own values, and those of the blocks that it stands in.
fn inherited(document: &Document, number: usize) -> Values<'_> {
    let mut all = Values::new();
    let mut at = Some(number);
    while let Some(block) = at {
        for (key, value) in values(document, block) {
            all.entry(key).or_insert(value);
        }
        // The global block is around all others.
        at = document.blocks[block].parent;
    }
    all
}

struct Out {
    text: String,
    /// Where the directives of the block that is written stand.
    lines: IndexMap<String, String>,
    /// What every route of the block that is written is given.
    dress: Vec<String>,
    /// What paths begin with that not everybody may ask for.
    guarded: Vec<String>,
    /// TLS 1.2 is not spoken where nothing says so.
    only_1_3: bool,
    /// Blocks that the listeners do.
    https: Vec<https::ToHttps>,
    /// The status of a redirect that names none.
    redirect_code: u16,
}

/// What of a block is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Who may not ask, or has to sign in.
    Guards,
    Redirects,
    Answers,
}

impl Out {
    /// A comment for what the form does not have: where it stood, and why.
    fn no_equal(&mut self, indent: &str, key: &str, value: Option<&Value>, why: &str) {
        let place = self.lines.get(key).map_or("?", String::as_str);
        let value = value.map(shown).unwrap_or_default();
        let line = format!("{indent}# no equal here: {key} = {value}  ({place}; {why})").replace('\n', " ");
        self.line(&line);
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}
