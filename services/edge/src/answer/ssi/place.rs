//! From what a statement names to a file.

use selvedge_http::target::{self, DotSegments, Options, Slash};
use selvedge_site::ssi::Place;

use super::Page;
use crate::request::{Exchange, join};

/// Names in pages are brought into the one form in which nothing leads up, whatever is configured for requests.
const FORM: Options = Options {
    normalize: true,
    required: false,
    reject_controls: true,
    reject_invalid_utf8: true,
    slash: Slash::Decode,
    dot_segments: DotSegments::Remove,
    backslash: false,
    query_space_plus: false,
};

/// The root beneath which to open it, and the file with its path on the server.
///
/// # Errors
/// What is wrong with the name.
pub(super) fn find(x: &Exchange<'_>, page: &Page, place: &Place<'_>) -> Result<(String, Page), String> {
    let found = match place {
        Place::File(name) => {
            let name = simple(&format!("/{name}"))?;
            let folder = |path: &str| path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            Page { path: join(&folder(&page.path), &name), uri: join(&folder(&page.uri), &name) }
        }
        Place::Virtual(name) => {
            let uri = match name.starts_with('/') {
                true => simple(name)?,
                false => {
                    let (folder, _) = page.uri.rsplit_once('/').unwrap_or_default();
                    simple(&format!("{folder}/{name}"))?
                }
            };
            let uri = x.case().of_file(&uri);
            Page { path: file_of(x, page, &uri), uri }
        }
    };
    let physical = &x.physical;
    let own = found.path.starts_with(&physical.root);
    let root = if own { physical.root.clone() } else { document_root(x) };
    Ok((root, found))
}

/// A page may have been found by an alias, or in a home: what has its folder in common with it is found there too.
fn file_of(x: &Exchange<'_>, page: &Page, uri: &str) -> String {
    let common = page.uri.bytes().zip(uri.bytes()).take_while(|(left, right)| left == right).count();
    let folder = page.uri.as_bytes()[..common].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let (own_rest, rest) = (page.uri.get(folder..), uri.get(folder..));
    let start = own_rest.and_then(|own_rest| page.path.strip_suffix(own_rest));
    match (start, rest) {
        (Some(start), Some(rest)) => join(start, rest),
        _ => join(&document_root(x), uri),
    }
}

fn document_root(x: &Exchange<'_>) -> String {
    x.conf.server.document_root.as_deref().unwrap_or("/nonexistent").to_owned()
}

/// A path without escapes and dot segments. A question mark is part of a name: pages include files, not requests.
fn simple(path: &str) -> Result<String, String> {
    let literal = path.replace('?', "%3F").replace('#', "%23");
    target::normalize(&literal, FORM).map(|target| target.path).map_err(|error| format!("{path}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::simple;

    #[test]
    fn names_lead_nowhere_up() {
        for (name, expected) in [
            ("/a.txt", "/a.txt"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/%2e%2e/%2E%2E/etc/passwd", "/etc/passwd"),
            ("/a/..%2f..%2fb", "/b"),
            ("/a?b#c", "/a?b#c"),
        ] {
            assert_eq!(simple(name).as_deref(), Ok(expected), "{name}");
        }
        assert!(simple("/a%00b").is_err() && simple("/a%ff").is_err());
    }
}
