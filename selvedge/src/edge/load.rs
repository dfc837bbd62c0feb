//! From a file to a program.

use std::path::{Path, PathBuf};

use selvedge_site::lighttpd::{Files as _, Level, Options, compile, parse, to_edge_toml};
use selvedge_site::{Compat, Diagnostic, Place, Program, Sources, edge_toml, has_errors};

use super::disk::Disk;
use super::surroundings;

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

/// Whether a file is an `edge.toml`.
pub(super) fn is_own_form(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "toml")
}

/// Reads, checks and compiles a file.
pub(crate) fn load(file: &Path, form: Form, level: Level) -> Loaded {
    let name = file.display().to_string();
    if is_own_form(file) {
        return own_form(&name);
    }
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

/// A `lighttpd.conf` in our own form; what is wrong with it otherwise.
pub(super) fn converted(file: &Path, form: Form) -> Result<String, String> {
    let options = Options { compat: form.compat, allow_shell: form.allow_shell };
    match parse(&file.display().to_string(), &mut Disk, options) {
        Ok(document) => Ok(to_edge_toml(&document, form.compat)),
        Err((found, sources)) => Err(found.iter().map(|one| one.shown(&sources)).collect()),
    }
}

/// Reads a file of our own form.
fn own_form(name: &str) -> Loaded {
    let refused = |diagnostics, sources| Loaded { program: None, normal_form: None, diagnostics, sources };
    let text = match Disk.read(name).map(String::from_utf8) {
        Ok(Ok(text)) => text,
        Ok(Err(_)) => {
            return refused(vec![Diagnostic::about(format!("{name} is no UTF-8"))], Sources::default());
        }
        Err(error) => {
            let message = format!("opening configfile {name} failed: {error}");
            return refused(vec![Diagnostic::about(message)], Sources::default());
        }
    };
    let document = match edge_toml::parse(name, &text) {
        Ok(document) => document,
        Err((found, sources)) => return refused(found, sources),
    };
    match edge_toml::compile(&document) {
        Ok((program, diagnostics)) => {
            Loaded { program: Some(program), normal_form: Some(text), diagnostics, sources: document.sources }
        }
        Err(found) => refused(found, document.sources),
    }
}

/// Something that changes when one of these files does.
pub(super) fn fingerprint(files: &[PathBuf]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    use std::os::unix::fs::MetadataExt as _;
    let mut hasher = DefaultHasher::new();
    for file in files {
        let facts = std::fs::metadata(file);
        let facts = facts.map(|facts| (facts.ino(), facts.size(), facts.mtime(), facts.mtime_nsec())).ok();
        (file, facts).hash(&mut hasher);
    }
    hasher.finish()
}

/// Where the file is named that is at fault.
fn place_of(error: &selvedge_edge::SiteInvalid, program: &Program) -> Option<Place> {
    let path = error.path()?;
    // A pair is told by both of its files: the chain's place is that of the pair.
    let chain = path.split_once(" with ").map_or(path, |(chain, _)| chain);
    program.mentions().into_iter().find(|one| *one.name == *path || *one.name == *chain).map(|one| one.place)
}

impl Loaded {
    /// Also looks whether certificates and whatever else it names can be used; what cannot is told at its place.
    pub(super) fn with_files_looked_at(self) -> Self {
        self.looked_at(|_, _| false)
    }

    /// The same for an edge that runs: it may have read as root what it may not read any more.
    pub(super) fn with_files_looked_at_again(self) -> Self {
        self.looked_at(|error, program| error.is_out_of_reach(program))
    }

    fn looked_at(mut self, passes: impl Fn(&selvedge_edge::SiteInvalid, &Program) -> bool) -> Self {
        let Some(program) = &self.program else { return self };
        if let Err(error) = selvedge_edge::check(program)
            && !passes(&error, program)
        {
            let place = place_of(&error, program);
            let message = format!("{:#}", anyhow::Error::new(error));
            self.diagnostics.push(Diagnostic::about(message).at(place));
            self.program = None;
        }
        self
    }

    /// Also looks whether this machine has what it counts on. `now` is in seconds since 1970.
    pub(super) fn with_surroundings(mut self, now: i64) -> Self {
        if let Some(program) = &self.program {
            let told = surroundings::findings(program, now);
            // Of one place one finding is enough, and that which keeps it from starting counts.
            let known = |one: &Diagnostic| {
                self.diagnostics.iter().any(|before| one.place.is_some() && before.place == one.place)
            };
            let told: Vec<Diagnostic> = told.into_iter().filter(|one| !known(one)).collect();
            self.diagnostics.extend(told);
        }
        self
    }

    /// Also says what keeps it from starting on this machine: it may be checked elsewhere than it is served.
    pub(super) fn with_start_tried(mut self) -> Self {
        if let Some(program) = &self.program
            && let Err(error) = selvedge_edge::check(program)
        {
            let place = place_of(&error, program);
            let message = format!("here it would not start: {:#}", anyhow::Error::new(error));
            self.diagnostics.push(Diagnostic::warns(message).at(place));
        }
        self
    }

    /// The files that it was read from.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.sources.files().iter().map(|source| PathBuf::from(&*source.name)).collect()
    }

    /// Whether something keeps the server from starting.
    pub(crate) fn failed(&self) -> bool {
        has_errors(&self.diagnostics)
    }

    /// Every finding at its place.
    pub(crate) fn report(&self) -> String {
        self.diagnostics.iter().map(|found| found.shown(&self.sources)).collect()
    }
}
