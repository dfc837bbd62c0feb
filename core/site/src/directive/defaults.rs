//! What counts where nothing is said, by version.

use std::sync::Arc;

use super::{Directives, Named, Text};
use crate::Compat;

/// Types of the web, where none are assigned; the newer versions have a list of their own as well.
const MEDIA_TYPES: &[(&str, &str)] = &[
    (".html", "text/html; charset=utf-8"),
    (".htm", "text/html; charset=utf-8"),
    (".xhtml", "application/xhtml+xml"),
    (".css", "text/css; charset=utf-8"),
    (".js", "text/javascript; charset=utf-8"),
    (".mjs", "text/javascript; charset=utf-8"),
    (".json", "application/json"),
    (".webmanifest", "application/manifest+json"),
    (".map", "application/json"),
    (".xml", "application/xml"),
    (".rss", "application/rss+xml"),
    (".atom", "application/atom+xml"),
    (".txt", "text/plain; charset=utf-8"),
    (".md", "text/markdown; charset=utf-8"),
    (".csv", "text/csv; charset=utf-8"),
    (".ics", "text/calendar; charset=utf-8"),
    (".pdf", "application/pdf"),
    (".wasm", "application/wasm"),
    (".svg", "image/svg+xml"),
    (".png", "image/png"),
    (".jpg", "image/jpeg"),
    (".jpeg", "image/jpeg"),
    (".gif", "image/gif"),
    (".webp", "image/webp"),
    (".avif", "image/avif"),
    (".ico", "image/vnd.microsoft.icon"),
    (".bmp", "image/bmp"),
    (".woff", "font/woff"),
    (".woff2", "font/woff2"),
    (".ttf", "font/ttf"),
    (".otf", "font/otf"),
    (".mp3", "audio/mpeg"),
    (".ogg", "audio/ogg"),
    (".opus", "audio/ogg"),
    (".wav", "audio/wav"),
    (".mp4", "video/mp4"),
    (".webm", "video/webm"),
    (".zip", "application/zip"),
    (".tar", "application/x-tar"),
    (".tar.gz", "application/gzip"),
    (".tgz", "application/gzip"),
    (".gz", "application/gzip"),
    (".zst", "application/zstd"),
];

impl Directives {
    /// The defaults of a version.
    pub(crate) fn of(compat: Compat) -> Self {
        let mut base = Self::default();
        match compat {
            Compat::V1_4_69 => {
                base.url.redirect_code = 301;
                base.server.error_handler_of_403 = true;
            }
            Compat::V1_4_85 => {
                base.url.redirect_code = 308;
                base.mimetype.assign = media_types();
                base.ssl.only_1_3 = true;
                base.static_file.disable_pathinfo = true;
            }
        }
        base
    }
}

/// The types of the web.
pub(crate) fn media_types() -> Named<Text> {
    let types = MEDIA_TYPES.iter().map(|(suffix, kind)| (Text::from(*suffix), Text::from(*kind)));
    Arc::from_iter(types)
}
