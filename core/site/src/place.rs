//! Where something stands in a configuration's files.

use std::sync::Arc;

/// A configuration's files, in the order in which they were read: what a [`Place`] points into.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    files: Vec<Source>,
}

/// One file that was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name as the configuration gives it, or the command whose output it is.
    pub name: Arc<str>,
    /// What it holds.
    pub text: Arc<str>,
}

/// A point in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// Which file: an index into [`Sources`].
    pub file: u32,
    /// Bytes from its beginning.
    pub offset: u32,
}

// === impl Sources ===

impl Sources {
    /// Adds a file and answers its number.
    pub(crate) fn add(&mut self, name: &str, text: Arc<str>) -> u32 {
        self.files.push(Source { name: name.into(), text });
        u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX)
    }

    /// The file that `place` is in.
    pub fn source(&self, place: Place) -> Option<&Source> {
        self.files.get(place.file as usize)
    }

    /// All files.
    pub fn files(&self) -> &[Source] {
        &self.files
    }

    /// Line and column of `place`, counted from 1; the column counts characters.
    pub fn line_and_column(&self, place: Place) -> (usize, usize) {
        let Some(source) = self.source(place) else { return (0, 0) };
        let mut end = (place.offset as usize).min(source.text.len());
        while !source.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = &source.text[..end];
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
    }

    /// `file:line:column`.
    pub fn shown(&self, place: Place) -> String {
        let (line, column) = self.line_and_column(place);
        let name = self.source(place).map_or("?", |source| &*source.name);
        format!("{name}:{line}:{column}")
    }

    /// `file:line`.
    pub fn shown_line(&self, place: Place) -> String {
        let name = self.source(place).map_or("?", |source| &*source.name);
        format!("{name}:{}", self.line_and_column(place).0)
    }
}
