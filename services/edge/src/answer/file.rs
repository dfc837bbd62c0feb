//! A file, as it is.

use std::collections::HashMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;

use selvedge_http::conditional::{self, Conditions, TagParts, Verdict};
use selvedge_http::date;
use selvedge_http::known::HeaderId;
use selvedge_site::directive::{Named, Text};

use super::root;
use crate::request::response::FileBody;
use crate::request::{Body, Exchange, Flow, Response};

/// The type of what has none.
const UNKNOWN: &str = "application/octet-stream";

/// Sends the file that the path leads to.
pub(crate) fn send(x: &mut Exchange<'_>) -> Flow {
    if !matches!(x.head.method(), "GET" | "HEAD" | "POST") {
        return ControlFlow::Continue(());
    }
    let Some(facts) = &x.physical.facts else { return ControlFlow::Continue(()) };
    if facts.is_dir() {
        return ControlFlow::Continue(());
    }
    let conf = &x.conf.static_file;
    if conf.disable_pathinfo && !x.physical.info.is_empty() {
        return ControlFlow::Continue(());
    }
    if conf.exclude_extensions.iter().any(|suffix| x.physical.path.ends_with(&**suffix)) {
        return ControlFlow::Continue(());
    }
    let file = match root::open(&x.physical.root, &x.physical.path, x.conf.server.follow_symlink) {
        Ok(file) => file,
        Err(error) => {
            let status = if error.kind() == std::io::ErrorKind::NotFound { 404 } else { 403 };
            return ControlFlow::Break(Response::status(status));
        }
    };
    let mut response = response(x, file);
    response.is_file = true;
    ControlFlow::Break(response)
}

/// The answer that an open file makes.
pub(crate) fn response(x: &Exchange<'_>, file: File) -> Response {
    let facts = match file.metadata() {
        Ok(facts) if facts.is_file() => facts,
        _ => return Response::status(403),
    };
    let mut response = Response::status(200);
    let known = x.worker.media_type(&x.conf.mimetype.assign, &x.physical.path);
    let media_type = known.as_deref().unwrap_or(UNKNOWN);
    let fields = &mut response.head.fields;
    fields.append_id(HeaderId::ContentType, media_type.as_bytes());
    let mut tag = None;
    let modified = u64::try_from(facts.mtime()).unwrap_or(0);
    // A type that nobody configured may be configured soon: nothing of it should stay in caches.
    if known.is_some() {
        let etag = &x.conf.etag;
        let parts = TagParts { inode: etag.use_inode, size: etag.use_size, mtime: etag.use_mtime };
        if x.conf.static_file.etags {
            let nanoseconds = u64::try_from(facts.mtime_nsec()).unwrap_or(0);
            tag = conditional::file_tag(parts, facts.ino(), facts.size(), (modified, nanoseconds));
        }
        if let Some(tag) = &tag {
            fields.append(b"etag", tag.as_bytes());
        }
        fields.append(b"last-modified", &date::imf_fixdate(modified));
        response.modified = Some(modified);
    }
    match conditional::judge(conditions(x), tag.as_deref(), response.modified) {
        Verdict::Send => response.body = Body::File(FileBody::whole(file, facts.size())),
        Verdict::NotModified => response.head.status = 304,
        Verdict::Failed => return Response::status(412),
    }
    response
}

/// What the request makes its answer depend on.
pub(crate) fn conditions<'a>(x: &'a Exchange<'_>) -> Conditions<'a> {
    Conditions {
        if_none_match: x.header("if-none-match"),
        if_modified_since: x.header("if-modified-since"),
        reading: matches!(x.head.method(), "GET" | "HEAD"),
        range: x.header("range").is_some(),
    }
}

/// The type of a file by the longest suffix of its name, in any case.
pub(crate) fn media_type<'a>(assign: &'a Named<Text>, path: &str) -> Option<&'a str> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let fits = |suffix: &str| {
        name.len()
            .checked_sub(suffix.len())
            .and_then(|at| name.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
    };
    let fitting = assign.iter().filter(|(suffix, _)| fits(suffix));
    fitting.max_by_key(|(suffix, _)| suffix.len()).map(|(_, kind)| &**kind).filter(|kind| !kind.is_empty())
}

/// The types of a configuration, to be found without looking at all of them.
pub(crate) struct MediaTypes {
    /// Suffixes that begin with a dot, in lower case.
    dotted: HashMap<Box<str>, Text>,
    /// All others; there are few.
    others: Named<Text>,
    /// What they were made of; as long as it is held, its address is nobody else's.
    pub(crate) of: Named<Text>,
}

impl MediaTypes {
    pub(crate) fn new(assign: &Named<Text>) -> Self {
        let is_dotted = |suffix: &str| suffix.starts_with('.') && suffix.len() > 1;
        let dotted = assign.iter().filter(|(suffix, _)| is_dotted(suffix));
        Self {
            dotted: dotted.map(|(suffix, kind)| (suffix.to_lowercase().into(), kind.clone())).collect(),
            others: assign.iter().filter(|(suffix, _)| !is_dotted(suffix)).cloned().collect(),
            of: assign.clone(),
        }
    }

    pub(crate) fn find(&self, path: &str) -> Option<Text> {
        let name = path.rsplit('/').next().unwrap_or_default().to_lowercase();
        let dots = name.match_indices('.').map(|(at, _)| at);
        let dotted = dots.filter_map(|at| Some((name.len() - at, self.dotted.get(&name[at..])?))).next();
        let other = media_type_with_length(&self.others, &name);
        let found = match (dotted, other) {
            (Some((length, kind)), Some((longer, _))) if length >= longer => kind.clone(),
            (_, Some((_, kind))) => kind,
            (Some((_, kind)), None) => kind.clone(),
            (None, None) => return None,
        };
        (!found.is_empty()).then_some(found)
    }
}

fn media_type_with_length(assign: &Named<Text>, name: &str) -> Option<(usize, Text)> {
    let fitting = assign.iter().filter(|(suffix, _)| name.ends_with(&suffix.to_lowercase()));
    fitting.max_by_key(|(suffix, _)| suffix.len()).map(|(suffix, kind)| (suffix.len(), kind.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_counts_in_any_case() {
        let assign: Named<Text> = [
            (".gz", "application/x-gzip"),
            (".tar.gz", "application/x-tgz"),
            (".jpg", "image/jpeg"),
            ("README", "text/plain"),
            (".none", ""),
        ]
        .map(|(suffix, kind)| (suffix.into(), kind.into()))
        .into();
        let rest: Named<Text> =
            assign.iter().cloned().chain([("".into(), "text/x-rest".into())]).collect::<Vec<_>>().into();
        for (path, expected) in [
            ("/a/b.tar.gz", Some("application/x-tgz")),
            ("/b.gz", Some("application/x-gzip")),
            ("/a.JPG", Some("image/jpeg")),
            ("/README", Some("text/plain")),
            ("/a.none", None),
            ("/a.tar/b", None),
            ("/a", None),
        ] {
            assert_eq!(media_type(&assign, path), expected, "{path}");
            assert_eq!(MediaTypes::new(&assign).find(path).as_deref(), expected, "{path}");
        }
        assert_eq!(MediaTypes::new(&rest).find("/a").as_deref(), Some("text/x-rest"));
        assert_eq!(MediaTypes::new(&rest).find("/a.jpg").as_deref(), Some("image/jpeg"));
    }
}
