//! Directories: the file that stands for one, or the list of what is in it.

use std::fmt::Write as _;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;

use selvedge_http::date;
use selvedge_http::target;

use super::root::{self, Found};
use crate::request::{Exchange, Flow, Response, join};

/// Entries that a list has at most; a directory with more is cut, and the list says so.
pub(crate) const ENTRIES_MAX: usize = 10_000;
/// The longest header or readme file that a list shows.
pub(crate) const NOTE_BYTES_MAX: u64 = 64 * 1024;

/// Puts the file that stands for a directory in its place.
pub(crate) fn index(x: &mut Exchange<'_>) -> Flow {
    if !x.path().ends_with('/') || !x.physical.info.is_empty() {
        return ControlFlow::Continue(());
    }
    let conf = x.conf.clone();
    for name in conf.index_file.names.iter() {
        let absolute = name.starts_with('/');
        let path = match absolute {
            true => join(&x.physical.root, name),
            false => format!("{}{name}", x.physical.path),
        };
        match root::look(&x.physical.root, &path, conf.server.follow_symlink) {
            Found::Here(facts) if facts.is_file() => {
                x.physical.facts = Some(facts);
                x.physical.path = path;
                if absolute {
                    x.target.path = name.to_string();
                } else {
                    x.target.path.push_str(name);
                }
                return ControlFlow::Continue(());
            }
            Found::Forbidden => return ControlFlow::Break(Response::status(403)),
            _ => {}
        }
    }
    ControlFlow::Continue(())
}

struct Entry {
    name: String,
    folder: bool,
    size: u64,
    modified: u64,
}

/// Lists a directory.
pub(crate) fn list(x: &mut Exchange<'_>) -> Flow {
    let conf = &x.conf.dir_listing;
    let is_folder = x.physical.facts.as_ref().is_some_and(std::fs::Metadata::is_dir);
    if !conf.activate || !is_folder || !matches!(x.head.method(), "GET" | "HEAD") {
        return ControlFlow::Continue(());
    }
    let Ok((mut entries, cut)) = read(x) else { return ControlFlow::Break(Response::status(403)) };
    if conf.sort {
        entries.sort_by(|a, b| b.folder.cmp(&a.folder).then_with(|| a.name.cmp(&b.name)));
    }
    let wants_json = x.header("accept").is_some_and(|accept| {
        accept.split(',').next().is_some_and(|first| first.trim().eq_ignore_ascii_case("application/json"))
    });
    if wants_json {
        return ControlFlow::Break(Response::with(200, "application/json", json(&entries)));
    }
    let encoding = conf.encoding.as_deref().unwrap_or("utf-8");
    let page = page(x, &entries, cut);
    ControlFlow::Break(Response::with(200, &format!("text/html;charset={encoding}"), page))
}

fn read(x: &Exchange<'_>) -> std::io::Result<(Vec<Entry>, bool)> {
    let conf = &x.conf.dir_listing;
    let shown = |name: &str| {
        !(conf.hide_dotfiles && name.starts_with('.')
            || conf.hide_header_file && conf.show_header.as_deref() == Some(name)
            || conf.hide_readme_file && conf.show_readme.as_deref() == Some(name)
            || conf.exclude.iter().any(|pattern| pattern.matches(name).unwrap_or(true)))
    };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(&x.physical.path)? {
        let Ok(entry) = entry else { continue };
        let Ok(name) = entry.file_name().into_string() else { continue };
        if !shown(&name) {
            continue;
        }
        if entries.len() == ENTRIES_MAX {
            return Ok((entries, true));
        }
        // Of what a link leads to, where links are followed; else links are not shown.
        let facts = match x.conf.server.follow_symlink {
            true => std::fs::metadata(entry.path()),
            false => entry.metadata(),
        };
        let Ok(facts) = facts else { continue };
        if facts.is_symlink() {
            continue;
        }
        entries.push(Entry {
            name,
            folder: facts.is_dir(),
            size: facts.size(),
            modified: u64::try_from(facts.mtime()).unwrap_or(0),
        });
    }
    Ok((entries, false))
}

fn json(entries: &[Entry]) -> String {
    let list: Vec<serde_json::Value> = entries
        .iter()
        .map(|entry| {
            let modified = String::from_utf8_lossy(&date::imf_fixdate(entry.modified)).into_owned();
            match entry.folder {
                true => serde_json::json!({"name": entry.name, "type": "directory", "modified": modified}),
                false => serde_json::json!({
                    "name": entry.name, "type": "file", "size": entry.size, "modified": modified,
                }),
            }
        })
        .collect();
    serde_json::Value::Array(list).to_string()
}

fn page(x: &Exchange<'_>, entries: &[Entry], cut: bool) -> String {
    let conf = &x.conf.dir_listing;
    let title = format!("Index of {}", escape(x.path()));
    let mut out = String::with_capacity(1024 + entries.len() * 160);
    if conf.auto_layout {
        out.push_str("<!DOCTYPE html>\n<html>\n<head>\n");
        if let Some(encoding) = &conf.encoding {
            let _ = writeln!(out, "<meta charset=\"{}\">", escape(encoding));
        }
        let _ = writeln!(out, "<title>{title}</title>");
        match &conf.external_css {
            Some(css) => {
                let _ = writeln!(out, "<link rel=\"stylesheet\" type=\"text/css\" href=\"{}\">", escape(css));
            }
            None => out.push_str(STYLE),
        }
        out.push_str("</head>\n<body>\n");
    }
    note(x, conf.show_header.as_deref(), conf.encode_header, "header", &mut out);
    let _ = write!(
        out,
        "<h2>{title}</h2>\n<div class=\"list\">\n<table summary=\"Directory Listing\" cellpadding=\"0\" cellspacing=\"0\">\n\
         <thead><tr><th class=\"n\">Name</th><th class=\"m\">Last Modified</th><th class=\"s\">Size</th>\
         <th class=\"t\">Type</th></tr></thead>\n<tbody>\n"
    );
    if x.path() != "/" {
        out.push_str(
            "<tr class=\"d\"><td class=\"n\"><a href=\"../\">..</a>/</td><td class=\"m\">&nbsp;</td>\
             <td class=\"s\">- &nbsp;</td><td class=\"t\">Directory</td></tr>\n",
        );
    }
    for entry in entries {
        row(x, entry, &mut out);
    }
    out.push_str("</tbody>\n</table>\n</div>\n");
    if cut {
        let _ = writeln!(out, "<p>Only the first {ENTRIES_MAX} entries are shown.</p>");
    }
    note(x, conf.show_readme.as_deref(), conf.encode_readme, "readme", &mut out);
    if conf.auto_layout {
        let footer = conf.set_footer.as_deref().or(x.conf.server.tag.as_deref()).unwrap_or_default();
        let _ = writeln!(out, "<div class=\"foot\">{}</div>", escape(footer));
        if let Some(script) = &conf.external_js {
            let _ = writeln!(out, "<script type=\"text/javascript\" src=\"{}\"></script>", escape(script));
        }
        out.push_str("</body>\n</html>\n");
    }
    out
}

fn row(x: &Exchange<'_>, entry: &Entry, out: &mut String) {
    let slash = if entry.folder { "/" } else { "" };
    let size = if entry.folder { "- &nbsp;".to_owned() } else { human(entry.size) };
    let kind = match entry.folder {
        true => "Directory".to_owned(),
        false => {
            let known = x.worker.media_type(&x.conf.mimetype.assign, &entry.name);
            known.map_or_else(|| "application/octet-stream".to_owned(), |kind| escape(&kind))
        }
    };
    let _ = writeln!(
        out,
        "<tr{}><td class=\"n\"><a href=\"{}{slash}\">{}</a>{slash}</td><td class=\"m\">{}</td>\
         <td class=\"s\">{size}</td><td class=\"t\">{kind}</td></tr>",
        if entry.folder { " class=\"d\"" } else { "" },
        link(&entry.name),
        escape(&entry.name),
        day(entry.modified),
    );
}

/// A name as a relative link: one with a colon would be taken for a scheme.
fn link(name: &str) -> String {
    // In an attribute an ampersand may begin another character's name.
    let encoded = target::encode_path(name).replace('&', "%26");
    if encoded.contains(':') { format!("./{encoded}") } else { encoded }
}

fn note(x: &Exchange<'_>, name: Option<&str>, encode: bool, class: &str, out: &mut String) {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return };
    let path = match name.starts_with('/') {
        true => name.to_owned(),
        false => format!("{}{name}", x.physical.path),
    };
    let small = std::fs::metadata(&path).is_ok_and(|facts| facts.is_file() && facts.len() <= NOTE_BYTES_MAX);
    let Some(text) = small.then(|| std::fs::read_to_string(&path).ok()).flatten() else { return };
    let _ = match encode {
        true => writeln!(out, "<pre class=\"{class}\">{}</pre>", escape(&text)),
        false => writeln!(out, "{text}"),
    };
}

/// `2026-Nov-28 05:08:04`.
fn day(seconds: u64) -> String {
    let text = date::imf_fixdate(seconds);
    let text = String::from_utf8_lossy(&text);
    format!("{}-{}-{} {}", &text[12..16], &text[8..11], &text[5..7], &text[17..25])
}

/// A size as lighttpd writes it: whatever is not empty has a tenth of a K at least.
fn human(size: u64) -> String {
    let mut size = if (1..100).contains(&size) { size + 99 } else { size };
    let mut units = ["K", "M", "G", "T", "P", "E"].into_iter();
    loop {
        let tenths = ((size & 1023) / 100).min(9);
        size >>= 10;
        let unit = units.next().unwrap_or("E");
        match size {
            0..=999 => return format!("{size}.{tenths}{unit}"),
            1000..=1023 => return format!("0.9{}", units.next().unwrap_or("E")),
            _ => {}
        }
    }
}

pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        match char {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            char if char.is_control() && char != '\n' && char != '\t' => {
                let _ = write!(out, "&#x{:x};", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out
}

const STYLE: &str = "<style type=\"text/css\">\n\
body { font: 90% monospace; background-color: #f5f5f5; padding: 1em; }\n\
h2 { margin-bottom: 12px; }\n\
th, td { text-align: left; padding-right: 14px; }\n\
td.s, th.s { text-align: right; }\n\
div.list { background-color: white; border-top: 1px solid #646464; border-bottom: 1px solid #646464; padding: 10px 0 14px; }\n\
div.foot { color: #787878; padding-top: 4px; }\n\
</style>\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_their_cell() {
        assert_eq!(escape("<a href=\"x\">&'"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;");
        assert_eq!(link("javascript:x"), "./javascript:x");
        assert_eq!(link("a b\"<"), "a%20b%22%3C");
        assert_eq!(link("a&lt;b"), "a%26lt;b");
        assert_eq!(day(784_111_777), "1994-Nov-06 08:49:37");
        assert_eq!(
            (human(0), human(2), human(1536), human(5 << 30)),
            ("0.0K".into(), "0.1K".into(), "1.5K".into(), "5.0G".into())
        );
    }
}
