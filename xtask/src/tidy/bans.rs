//! What must not be written, line by line, each ban with what to write instead.

use std::path::Path;

use super::Problem;
use super::source::{Line, SourceFile};

/// A piece of text that some lines must not hold.
struct Ban {
    text: &'static str,
    /// Which files the ban binds.
    binds: fn(&SourceFile) -> bool,
    /// Whether lines that only tests see are bound as well.
    tests_too: bool,
    instead: &'static str,
}

/// The nouns of the App Mesh API: they end at `translate`.
const API_NOUNS: &[&str] = &[
    "VirtualNode",
    "VirtualRouter",
    "VirtualService",
    "VirtualGateway",
    "GatewayRoute",
    "virtual_node",
    "virtual_router",
    "virtual_service",
    "virtual_gateway",
    "gateway_route",
];

/// Rooms that know traffic and nothing of the API it was asked for with.
const ROOMS_WITHOUT_API_NOUNS: &[&str] =
    &["core/traffic", "core/xds", "core/http", "io/wire", "io/upstream", "io/telemetry", "services/proxy"];

/// The one door in those rooms: it reads the variables that AWS's image reads, and what they name.
const DOOR_OF_API_NOUNS: &str = "services/proxy/src/bootstrap";

/// File names that say nothing about what the file holds.
const EMPTY_NAMES: &[&str] =
    &["mod", "util", "utils", "common", "helper", "helpers", "misc", "types", "prelude", "errors"];

const BANS: &[Ban] = &[
    Ban {
        text: concat!("todo", "!("),
        binds: everywhere,
        tests_too: true,
        instead: "finish it or leave it out",
    },
    Ban {
        text: concat!("unimplemented", "!("),
        binds: everywhere,
        tests_too: true,
        instead: "finish it or leave it out",
    },
    Ban {
        text: concat!("dbg", "!("),
        binds: everywhere,
        tests_too: true,
        instead: "use tracing, or delete it",
    },
    Ban {
        text: concat!("#[", "ignore]"),
        binds: everywhere,
        tests_too: true,
        instead: "give the reason: #[ignore = \"why\"]",
    },
    Ban {
        text: concat!("unsafe", " {"),
        binds: everywhere,
        tests_too: true,
        instead: "the workspace forbids unsafe code",
    },
    Ban {
        text: concat!("unsafe", " fn"),
        binds: everywhere,
        tests_too: true,
        instead: "the workspace forbids unsafe code",
    },
    Ban {
        text: concat!(".unwrap", "()"),
        binds: is_product,
        tests_too: false,
        instead: "return the error, or expect(\"why this holds\") for an invariant that is provable here",
    },
    Ban {
        text: concat!("sleep", "("),
        binds: is_core,
        tests_too: true,
        instead: "time is an argument in core: pass a later `now`",
    },
    Ban {
        text: concat!("/ro", "ot/"),
        binds: everywhere,
        tests_too: true,
        instead: "a path of one machine: resolve it from CARGO_MANIFEST_DIR",
    },
    Ban {
        text: concat!("/wo", "rk/"),
        binds: everywhere,
        tests_too: true,
        instead: "a path of one machine: resolve it from CARGO_MANIFEST_DIR",
    },
    Ban {
        text: concat!("pypi", ".org"),
        binds: everywhere,
        tests_too: true,
        instead: "name the package, not a host",
    },
    Ban {
        text: concat!("FIX", "ME"),
        binds: everywhere,
        tests_too: true,
        instead: "fix it, or open an issue",
    },
];

pub(super) fn check(file: &SourceFile) -> Vec<Problem> {
    if file.is_generated() {
        return Vec::new();
    }
    let mut problems: Vec<Problem> =
        name_problem(&file.path).into_iter().chain(opening_problem(file)).collect();
    let banned: Vec<&Ban> = BANS.iter().filter(|ban| (ban.binds)(file)).collect();
    let nouns_banned =
        ROOMS_WITHOUT_API_NOUNS.iter().any(|room| file.under(room)) && !file.under(DOOR_OF_API_NOUNS);
    for line in file.lines() {
        for ban in
            banned.iter().filter(|ban| line.code.contains(ban.text) && (ban.tests_too || !line.in_test))
        {
            let message = format!("`{}` is banned here: {}", ban.text, ban.instead);
            problems.push(Problem::error(&file.path, line.number, message));
        }
        if nouns_banned && !line.in_test {
            problems.extend(noun_problem(file, &line));
        }
    }
    problems
}

fn noun_problem(file: &SourceFile, line: &Line<'_>) -> Option<Problem> {
    let noun = API_NOUNS.iter().find(|noun| line.code.contains(**noun))?;
    let message =
        format!("`{noun}` is a noun of the API: this room knows listeners, routes and clusters only");
    Some(Problem::error(&file.path, line.number, message))
}

fn name_problem(path: &Path) -> Option<Problem> {
    let stem = path.file_stem()?.to_str()?;
    // Cargo takes each file directly under tests/ for a test of its own, so what tests share is `tests/name/mod.rs`.
    if stem == "mod" && path.ancestors().nth(2).is_some_and(|above| above.ends_with("tests")) {
        return None;
    }
    let message = if stem == "mod" {
        "a module with children is `name.rs` beside `name/`".to_owned()
    } else {
        format!("`{stem}` says nothing about what the file holds: name the noun")
    };
    EMPTY_NAMES.contains(&stem).then(|| Problem::error(path, 0, message))
}

fn opening_problem(file: &SourceFile) -> Option<Problem> {
    let message = "a file opens with what it is for: begin with `//! `";
    (!file.text.starts_with("//! ")).then(|| Problem::error(&file.path, 1, message))
}

fn everywhere(_: &SourceFile) -> bool {
    true
}

fn is_core(file: &SourceFile) -> bool {
    file.under("core")
}

/// The rooms that end in the binary: what a stranger sends reaches them.
fn is_product(file: &SourceFile) -> bool {
    ["core", "io", "services", "selvedge"].iter().any(|folder| file.under(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_opens_with_what_it_is_for() {
        assert_eq!(check(&SourceFile::new("io/a/src/a.rs", "//! A noun.\n")), []);
        assert_eq!(check(&SourceFile::new("io/a/src/a.rs", "use a;\n")).len(), 1);
    }

    #[test]
    fn each_ban_finds_its_line_and_spares_the_others() {
        let unwrap = concat!("a.unwrap", "()");
        let rows: &[(&str, String, bool)] = &[
            ("io/a/src/a.rs", format!("{unwrap};"), true),
            ("io/a/src/a.rs", format!("// {unwrap}"), false),
            ("io/a/tests/a.rs", format!("{unwrap};"), false),
            ("io/a/src/a.rs", format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{unwrap};\n}}"), false),
            ("xtask/src/a.rs", format!("{unwrap};"), false),
            ("io/a/src/a.rs", "a.expect(\"why\");".into(), false),
            ("io/a/src/a.rs", concat!("todo", "!()").into(), true),
            ("io/a/tests/a.rs", concat!("#[", "ignore]").into(), true),
            ("io/a/tests/a.rs", "#[ignore = \"needs a network\"]".into(), false),
            ("core/a/tests/a.rs", concat!("std::thread::sleep", "(one)").into(), true),
            ("io/a/tests/a.rs", concat!("std::thread::sleep", "(one)").into(), false),
            ("io/a/src/a.rs", concat!("open(\"/ro", "ot/x\")").into(), true),
            ("io/wire/src/a.rs", "struct VirtualNode;".into(), true),
            ("io/wire/src/a.rs", "/// as a VirtualNode does".into(), false),
            ("core/translate/src/a.rs", "struct VirtualNode;".into(), false),
            ("io/a/src/util.rs", String::new(), true),
            ("io/a/src/a/mod.rs", String::new(), true),
            ("io/a/src/mode.rs", String::new(), false),
            ("io/a/tests/server/mod.rs", String::new(), false),
            ("services/proxy/src/bootstrap/a.rs", "struct VirtualNode;".into(), false),
        ];
        for (path, text, found) in rows {
            let problems = check(&SourceFile::new(*path, format!("//! A.\n{text}")));
            assert_eq!(!problems.is_empty(), *found, "{path}: {text}: {problems:?}");
        }
    }
}
