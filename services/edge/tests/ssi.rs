//! Pages with server-side includes: what one of them may not become.

mod server;

use server::{edge, get};

#[test]
fn a_page_that_grows_without_end_is_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let include = |path: &str| format!("<!--#include virtual=\"{path}\" -->");
    let pages = [
        ("fits.shtml", include("/a.txt").repeat(1000)),
        ("many.shtml", include("/a.txt").repeat(1001)),
        // Each includes the next one forty times: 64,000 files, were it not for the bound.
        ("tree.shtml", include("/tree1.shtml").repeat(40)),
        ("tree1.shtml", include("/tree2.shtml").repeat(40)),
        ("tree2.shtml", include("/a.txt").repeat(40)),
        ("long.shtml", "x".repeat(4 * 1024 * 1024 + 1)),
        ("sets.shtml", (0..1001).map(|one| format!("<!--#set var=\"v{one}\" value=\"1\" -->")).collect()),
        ("prints.shtml", "<!--#printenv -->".repeat(100_000)),
        ("large.shtml", include("/large")),
        ("a.txt", "a".to_owned()),
        ("large", "0123456789".repeat(2_000_000)),
    ];
    for (name, text) in &pages {
        std::fs::write(root.join(name), text).unwrap();
    }
    let text = format!(
        "server.document-root = \"{}\"\nserver.modules = ( \"mod_ssi\" )\nssi.extension = ( \".shtml\" )\nssi.recursion-max = 5\n",
        root.display()
    );
    let edge = edge(&text);
    for (name, code, len) in [
        ("fits.shtml", 200, Some(1000)),
        ("many.shtml", 500, None),
        ("tree.shtml", 500, None),
        ("long.shtml", 500, None),
        ("sets.shtml", 500, None),
        ("prints.shtml", 500, None),
        // What is included as it is, is sent as it is.
        ("large.shtml", 200, Some(20_000_000)),
    ] {
        let answer = get(edge, &format!("GET /{name} HTTP/1.0\r\n\r\n"));
        assert_eq!(answer.code(), code, "{name}");
        if let Some(len) = len {
            assert_eq!(answer.body.len(), len, "{name}");
        }
    }
}
