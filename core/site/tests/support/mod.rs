//! A world of files in memory.

use std::collections::BTreeMap;

use selvedge_site::lighttpd::{FileError, Files, glob};

/// Files and variables by name.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) environment: BTreeMap<String, String>,
    pub(crate) shells: Vec<String>,
}

impl Memory {
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Self { files, ..Self::default() }
    }
}

impl Files for Memory {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, FileError> {
        let found = self.files.get(path).map(|text| text.clone().into_bytes());
        found.ok_or_else(|| FileError("No such file or directory".into()))
    }

    fn glob(&mut self, pattern: &str) -> Vec<String> {
        let patterns = glob::without_braces(pattern);
        let fits = |path: &&String| {
            patterns.iter().any(|pattern| {
                let (left, right) = (pattern.split('/'), path.split('/'));
                left.clone().count() == right.clone().count()
                    && left.zip(right).all(|(left, right)| glob::fits(left, right))
            })
        };
        self.files.keys().filter(fits).cloned().collect()
    }

    fn shell(&mut self, command: &str, _: &str) -> Result<Vec<u8>, FileError> {
        self.shells.push(command.to_owned());
        Ok(b"server.tag = \"shell\"\n".to_vec())
    }

    fn environment(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }

    fn working_directory(&self) -> Option<String> {
        Some("/work".into())
    }

    fn process_id(&self) -> u32 {
        7
    }

    fn has_ipv6(&self) -> bool {
        true
    }
}
