//! The edge's configuration: whoever may write it may still not crash the edge or keep it busy.

use selvedge_site::lighttpd::{FileError, Files, Level, Options, compile, parse, to_edge_toml};
use selvedge_site::{Compat, RequestFacts, edge_toml, gateway};

/// One file, and nothing else in the world.
struct One<'a>(&'a [u8]);

impl Files for One<'_> {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, FileError> {
        // The file may include itself, a bounded number of times.
        if path == "/f" { Ok(self.0.to_vec()) } else { Err(FileError("not there".into())) }
    }

    fn glob(&mut self, pattern: &str) -> Vec<String> {
        if pattern == "/f" { vec!["/f".into()] } else { Vec::new() }
    }

    fn shell(&mut self, _: &str, _: &str) -> Result<Vec<u8>, FileError> {
        Err(FileError("no shell".into()))
    }

    fn environment(&self, _: &str) -> Option<String> {
        None
    }

    fn working_directory(&self) -> Option<String> {
        None
    }

    fn process_id(&self) -> u32 {
        1
    }

    fn has_ipv6(&self) -> bool {
        true
    }
}

/// `lighttpd.conf`: read, compiled, asked, converted.
pub(crate) fn lighttpd(bytes: &[u8]) {
    let mut files = One(bytes);
    let document = match parse("/f", &mut files, Options::default()) {
        Ok(document) => document,
        Err((found, sources)) => {
            found.iter().for_each(|one| drop(one.shown(&sources)));
            return;
        }
    };
    drop(document.normal_form());
    let converted = to_edge_toml(&document, Compat::V1_4_69);
    if let Err((found, _)) = edge_toml::parse("edge.toml", &converted) {
        // What the converter writes is TOML, though a value may be none that the form takes.
        assert!(found.iter().all(|one| one.place.is_some() || !one.message.contains("TOML")), "{found:?}");
    }
    let compiled = compile(&document, Compat::V1_4_69, Level::Modules);
    if let Some(program) = compiled.program {
        for path in ["/", "/a/b.php", "/index.html"] {
            let facts = RequestFacts {
                host: Some("www.example.org"),
                path: Some(path),
                query: Some("a=b"),
                method: Some("GET"),
                scheme: Some("https"),
                ..RequestFacts::default()
            };
            let _ = program.resolve(&facts);
        }
        drop(gateway::published(&program));
    }
}

/// `edge.toml`: read, held to the form, compiled, asked.
pub(crate) fn toml(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(document) = edge_toml::parse("edge.toml", text) else { return };
    let Ok((program, _)) = edge_toml::compile(&document) else { return };
    let facts = RequestFacts { host: Some("a.example"), path: Some("/a/1"), ..RequestFacts::default() };
    let _ = program.resolve(&facts);
    drop(gateway::published(&program));
}
