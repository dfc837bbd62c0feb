//! From a file to a program.

use std::path::Path;

use selvedge_site::lighttpd::{Level, Options, compile, parse};
use selvedge_site::{Compat, Diagnostic, Program, Sources, has_errors};

use super::disk::Disk;

/// How a configuration is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) compat: Compat,
    pub(crate) allow_shell: bool,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// `None` when something is wrong, and when only its syntax was asked about.
    pub(crate) program: Option<Program>,
    /// As `lighttpd -p` prints it, when it parses.
    pub(crate) normal_form: Option<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    pub(crate) sources: Sources,
}

/// Reads, checks and compiles a file.
pub(crate) fn load(file: &Path, form: Form, level: Level) -> Loaded {
    let name = file.display().to_string();
    let options = Options { compat: form.compat, allow_shell: form.allow_shell };
    match parse(&name, &mut Disk, options) {
        Err((diagnostics, sources)) => Loaded { program: None, normal_form: None, diagnostics, sources },
        Ok(document) => {
            let compiled = compile(&document, form.compat, level);
            // lighttpd prints nothing of a configuration that it refuses.
            let normal_form = (!has_errors(&compiled.diagnostics)).then(|| document.normal_form());
            Loaded {
                program: compiled.program,
                normal_form,
                diagnostics: compiled.diagnostics,
                sources: document.sources,
            }
        }
    }
}

impl Loaded {
    /// Whether something keeps the server from starting.
    pub(crate) fn failed(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    /// Every finding at its place.
    pub(crate) fn report(&self) -> String {
        self.diagnostics.iter().map(|found| found.shown(&self.sources)).collect()
    }
}
