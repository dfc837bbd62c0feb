//! Commands of `include_shell` that are done without a shell: Debian's helper scripts, and `cat`.

use std::collections::BTreeMap;

use super::files::{FileError, Files};

/// What the command prints, if it is one that is known.
pub(super) fn run(command: &str, folder: &str, files: &mut dyn Files) -> Option<Result<Vec<u8>, FileError>> {
    if command.contains(['|', '&', ';', '<', '>', '$', '`', '"', '\'', '(', ')', '\\', '\n']) {
        return None;
    }
    let words: Vec<&str> = command.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
    let (program, arguments) = words.split_first()?;
    let program = program.rsplit('/').next()?;
    match (program, arguments) {
        ("cat", [_, ..]) if !arguments.iter().any(|word| word.starts_with('-')) => {
            Some(cat(arguments, folder, files))
        }
        ("include-conf-enabled.pl", []) => Some(Ok(include_enabled("/etc/lighttpd/", files))),
        ("include-conf-enabled.pl", [folder]) => Some(Ok(include_enabled(folder, files))),
        ("use-ipv6.pl", []) => Some(Ok(use_ipv6(80, files))),
        ("use-ipv6.pl", [port]) => {
            Some(Ok(use_ipv6(port.parse().ok().filter(|port| *port != 0).unwrap_or(80), files)))
        }
        ("create-mime.conf.pl" | "create-mime.assign.pl", [] | ["-v"]) => {
            Some(files.read("/etc/mime.types").map(|types| mime_types(&String::from_utf8_lossy(&types))))
        }
        _ => None,
    }
}

fn cat(names: &[&str], folder: &str, files: &mut dyn Files) -> Result<Vec<u8>, FileError> {
    let mut out = Vec::new();
    for name in names {
        let path = if name.starts_with('/') { (*name).to_owned() } else { format!("{folder}{name}") };
        let found = files.glob(&path);
        if found.is_empty() {
            return Err(FileError(format!("cat: {name}: No such file or directory")));
        }
        for path in found {
            out.extend(files.read(&path)?);
        }
    }
    Ok(out)
}

fn include_enabled(folder: &str, files: &mut dyn Files) -> Vec<u8> {
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    let found = files.glob(&format!("{folder}/conf-enabled/*.conf"));
    let mut out = String::new();
    for path in found {
        let name = path.rsplit('/').next().unwrap_or(&path);
        out.push_str(&format!("include \"conf-enabled/{name}\"\n"));
    }
    out.into_bytes()
}

fn use_ipv6(port: u16, files: &dyn Files) -> Vec<u8> {
    if !files.has_ipv6() {
        return Vec::new();
    }
    let inside = if port == 443 { "\nssl.engine = \"enable\"\n" } else { " " };
    format!("$SERVER[\"socket\"] == \"[::]:{port}\" {{{inside}}}\n").into_bytes()
}

/// Kinds of text that are sent as UTF-8.
const UTF8: &[&str] = &[
    "css",
    "csv",
    "markdown",
    "plain",
    "x-bibtex",
    "x-boo",
    "x-c++hdr",
    "x-c++src",
    "x-chdr",
    "x-csh",
    "x-csrc",
    "x-dsrc",
    "x-diff",
    "x-haskell",
    "x-java",
    "x-lilypond",
    "x-literate-haskell",
    "x-makefile",
    "x-moc",
    "x-pascal",
    "x-perl",
    "x-python",
    "x-scala",
    "x-sh",
    "x-tcl",
    "x-tex",
];

/// What a suffix's type becomes where `/etc/mime.types` has several.
const RESOLVED: &[(&str, &str, &str)] = &[
    (".ra", "audio/x-pn-realaudio", "audio/x-realaudio"),
    (".otf", "application/font-sfnt", "font/ttf"),
    (".otf", "font/sfnt", "font/ttf"),
    (".ttf", "application/font-sfnt", "font/ttf"),
    (".ttf", "font/otf", "font/ttf"),
    (".ttf", "font/sfnt", "font/ttf"),
    (".woff", "application/font-woff", "font/woff"),
    (".asn", "chemical/x-ncbi-asn1-spec", UNSETTLED),
    (".ent", "chemical/x-ncbi-asn1-ascii", UNSETTLED),
];

/// The type of a suffix of which no type is better than another.
const UNSETTLED: &str = "application/octet-stream";

/// Types that are added.
const ADDED: &[(&str, &str)] =
    &[(".dtd", "application/xml-dtd"), (".js", "text/javascript"), (".mjs", "text/javascript")];

/// Types that are added where the file has none.
const USEFUL: &[(&str, &str)] = &[
    (".tar.gz", "application/x-gtar-compressed"),
    (".gz", "application/x-gzip"),
    (".tbz", "application/x-gtar-compressed"),
    (".tar.bz2", "application/x-gtar-compressed"),
    (".bz2", "application/x-bzip"),
    (".log", "text/plain"),
    (".conf", "text/plain"),
    (".spec", "text/plain"),
    ("README", "text/plain"),
    ("Makefile", "text/x-makefile"),
];

/// `mimetype.assign` from the system's list of types.
fn mime_types(list: &str) -> Vec<u8> {
    let mut types = Types::default();
    for line in list.lines() {
        let line = line.split('#').next().unwrap_or("");
        let mut words = line.split_ascii_whitespace();
        let Some(kind) = words.next().filter(|kind| kind.contains('/')) else { continue };
        for suffix in words {
            types.add(&format!(".{suffix}"), kind);
        }
    }
    for (suffix, kind) in ADDED {
        types.add(suffix, kind);
    }
    for (suffix, kind) in USEFUL {
        if !types.known.contains_key(&suffix.to_ascii_lowercase()) {
            types.add(suffix, kind);
        }
    }
    let mut out = String::from("mimetype.assign = (\n");
    for (suffix, kind) in types.known.into_values() {
        let utf8 = kind.strip_prefix("text/").is_some_and(|rest| UTF8.contains(&rest));
        let charset = if utf8 { ";charset=utf-8" } else { "" };
        out.push_str(&format!("\t\"{suffix}\" => \"{kind}{charset}\",\n"));
    }
    out.push_str("\t\"\" => \"application/octet-stream\",\n)\n");
    out.into_bytes()
}

/// Suffixes and types; under the suffix in lower case, since case does not count.
#[derive(Default)]
struct Types {
    known: BTreeMap<String, (String, String)>,
}

impl Types {
    fn add(&mut self, suffix: &str, kind: &str) {
        let resolved = RESOLVED.iter().find(|(of, from, _)| *of == suffix && *from == kind);
        let kind = resolved.map_or(kind, |(_, _, to)| to);
        let entry = self.known.entry(suffix.to_ascii_lowercase());
        let (_, have) = entry.or_insert_with(|| (suffix.to_owned(), kind.to_owned()));
        if have != kind && have != UNSETTLED {
            match better(have, kind) {
                Some(false) => {}
                Some(true) => *have = kind.to_owned(),
                None => *have = UNSETTLED.to_owned(),
            }
        }
    }
}

/// Whether `new` is better than `old`; `None` when neither is.
fn better(old: &str, new: &str) -> Option<bool> {
    let parts =
        |kind: &str| kind.split_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap_or_default();
    let ((old_type, old_sub), (new_type, new_sub)) = (parts(old), parts(new));
    let experimental = |kind: &str, sub: &str| kind.starts_with("x-") || sub.starts_with("x-");
    let (old_x, new_x) = (experimental(&old_type, &old_sub), experimental(&new_type, &new_sub));
    if old_x != new_x {
        return Some(old_x);
    }
    if old_sub == new_sub {
        match (&*old_type, &*new_type) {
            ("application", "text") => return Some(true),
            ("text", "application") => return Some(false),
            _ => {}
        }
    }
    let (old_vendor, new_vendor) = (old_sub.starts_with("vnd."), new_sub.starts_with("vnd."));
    (old_vendor != new_vendor).then_some(old_vendor)
}
