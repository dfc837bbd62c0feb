//! Responses that become smaller on their way.

use std::sync::Arc;

use selvedge_http::known::HeaderId;
use selvedge_http::negotiate::{Choice, choose};
use selvedge_telemetry::{FilterStats, Owner};
use selvedge_traffic::RouteFilter;
use selvedge_traffic::filter::{self, CompressorRoute};
use smallvec::SmallVec;

use super::{Filter, FilterId, Kept, Scope};
use crate::request::coding::{Encoder, Stage};
use crate::request::exchange::Exchange;

const NAMES: &[&str] = &["compressed", "not_compressed", "content_length_too_small"];
const COMPRESSED: usize = 0;
const NOT_COMPRESSED: usize = 1;
const TOO_SMALL: usize = 2;

#[derive(Debug)]
pub(crate) struct Compressor {
    config: Arc<filter::Compressor>,
    disabled: bool,
    id: FilterId,
    stats: FilterStats,
}

impl Compressor {
    pub(super) fn new(config: &filter::Compressor, scope: Scope<'_>) -> Self {
        let owner = Owner::Http(scope.stat_prefix.to_owned());
        let word = match config.coding {
            filter::Coding::Brotli { .. } => "brotli",
            coding => coding.word(),
        };
        let part = format!("compressor.{word}.{word}.response.");
        let stats = scope.telemetry.registry.filter(owner, &part, NAMES);
        Self { config: Arc::new(config.clone()), disabled: false, id: FilterId::next(), stats }
    }

    pub(super) fn for_route(&self, configs: &[&RouteFilter]) -> Self {
        let disabled =
            configs.iter().any(|config| matches!(config, RouteFilter::Compressor(CompressorRoute::Disabled)));
        Self { config: Arc::clone(&self.config), disabled, id: self.id, stats: self.stats.clone() }
    }

    /// Remembers what the client accepts: the request's header may not live to see the response.
    pub(super) fn request(&self, x: &mut Exchange<'_>) {
        if self.disabled {
            return;
        }
        let fields = &mut x.heads.request.fields;
        let accepted: Vec<&[u8]> = fields.all_named("accept-encoding").collect();
        if accepted.is_empty() {
            return;
        }
        if !x.kept.iter().any(|(_, kept)| matches!(kept, Kept::Accepts(_))) {
            x.kept.push((self.id, Kept::Accepts(accepted.join(&b","[..]))));
        }
        if self.config.remove_accept_encoding {
            fields.remove_named("accept-encoding");
        }
    }

    pub(super) fn response(&self, x: &mut Exchange<'_>) {
        if self.disabled {
            return;
        }
        let compressible = self.is_compressible(x);
        let chosen = compressible && x.response_has_body && self.is_chosen(x);
        let encoder = if chosen { Encoder::new(self.config.coding) } else { None };
        match encoder {
            None => self.stats.inc(NOT_COMPRESSED),
            Some(encoder) => {
                self.stats.inc(COMPRESSED);
                let fields = &mut x.heads.response.fields;
                if fields.named("etag").is_some_and(|tag| !tag.starts_with(b"W/") && !tag.starts_with(b"w/"))
                {
                    fields.remove_named("etag");
                }
                fields.remove(HeaderId::ContentLength);
                fields.set("content-encoding", self.config.coding.word().as_bytes());
                x.recode(Stage::Encode(encoder));
            }
        }
        if compressible {
            vary(x);
        }
    }

    fn is_compressible(&self, x: &Exchange<'_>) -> bool {
        let head = &x.heads.response;
        let fields = &head.fields;
        let length = fields.get_str(HeaderId::ContentLength).and_then(|length| length.parse::<u64>().ok());
        if length.is_some_and(|length| length < u64::from(self.config.length_min)) {
            self.stats.inc(TOO_SMALL);
            return false;
        }
        let text = |name: &str| fields.named(name).and_then(|value| std::str::from_utf8(value).ok());
        let untouchable = text("cache-control")
            .is_some_and(|control| control.to_ascii_lowercase().contains("no-transform"));
        head.status != 101
            && !self.config.not_for_statuses.contains(&head.status)
            && self.config.takes(text("content-type"))
            && !untouchable
            && !(self.config.not_with_etag && fields.named("etag").is_some())
            && fields.named("content-encoding").is_none()
    }

    /// Whether, of all codings that this response could have, the client likes this one best.
    fn is_chosen(&self, x: &Exchange<'_>) -> bool {
        let accepted = x.kept.iter().find_map(|(_, kept)| match kept {
            Kept::Accepts(accepted) => std::str::from_utf8(accepted).ok(),
            _ => None,
        });
        let Some(accepted) = accepted else { return false };
        let content_type = x.heads.response.fields.get_str(HeaderId::ContentType);
        let mut codings: SmallVec<[&str; 4]> = SmallVec::new();
        let mut first = None;
        for filter in x.chain {
            let Filter::Compressor(other) = &**filter else { continue };
            if !other.disabled && other.config.takes(content_type) {
                if other.config.choose_first && first.is_none() {
                    first = Some(codings.len());
                }
                codings.push(other.config.coding.word());
            }
        }
        match choose(accepted, &codings, first) {
            Choice::Identity => false,
            Choice::Coding(place) => codings[place] == self.config.coding.word(),
        }
    }
}

/// A cache must know that others may be given other bytes.
fn vary(x: &mut Exchange<'_>) {
    let fields = &mut x.heads.response.fields;
    let value = match fields.named("vary") {
        None => b"Accept-Encoding".to_vec(),
        Some(vary) if contains_accept_encoding(vary) => return,
        Some(vary) => [vary, b", Accept-Encoding"].concat(),
    };
    fields.set("vary", &value);
}

fn contains_accept_encoding(vary: &[u8]) -> bool {
    vary.split(|byte| *byte == b',').any(|name| name.trim_ascii() == b"Accept-Encoding")
}
