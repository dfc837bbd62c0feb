//! How names of files, and what the configuration says of them, are compared.

/// Whether one case is as good as the other (`server.force-lowercase-filenames`): of ASCII's letters, as with lighttpd, so that no
/// name becomes longer or shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) lower: bool,
}

impl Case {
    /// A path as files are named by it.
    pub(crate) fn of_file(self, path: &str) -> String {
        if self.lower { path.to_ascii_lowercase() } else { path.to_owned() }
    }

    pub(crate) fn same(self, one: &str, other: &str) -> bool {
        if self.lower { one.eq_ignore_ascii_case(other) } else { one == other }
    }

    pub(crate) fn begins(self, path: &str, prefix: &str) -> bool {
        path.get(..prefix.len()).is_some_and(|start| self.same(start, prefix))
    }

    pub(crate) fn ends(self, path: &str, suffix: &str) -> bool {
        let at = path.len().checked_sub(suffix.len());
        at.and_then(|at| path.get(at..)).is_some_and(|end| self.same(end, suffix))
    }
}

#[cfg(test)]
mod tests {
    use super::Case;

    #[test]
    fn one_case_is_as_good_as_the_other_where_that_is_said() {
        for (lower, path, text, same, begins, ends) in [
            (true, "/a/B", "/A/b", true, true, true),
            (false, "/a/B", "/A/b", false, false, false),
            (false, "/a/b", "/a", false, true, false),
            (true, "/a/b", "/A", false, true, false),
            (true, "/a.INC", ".inc", false, false, true),
            (true, "/\u{e9}", "/\u{c9}", false, false, false),
            (true, "/\u{e9}", "/x", false, false, false),
            (true, "x", "longer", false, false, false),
            (true, "x", "", false, true, true),
        ] {
            let case = Case { lower };
            let found = (case.same(path, text), case.begins(path, text), case.ends(path, text));
            assert_eq!(found, (same, begins, ends), "{lower} {path} {text}");
            assert_eq!(case.of_file(path).len(), path.len());
        }
    }
}
