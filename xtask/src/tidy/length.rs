//! How long a file may grow before somebody asks which second noun moved in.

use super::Problem;
use super::source::SourceFile;

/// Around this length a file usually holds two nouns.
const LINES_BEFORE_WARNING: usize = 500;
/// Past this length it does.
const LINES_MAX: usize = 900;

pub(super) fn check(file: &SourceFile) -> Option<Problem> {
    if file.is_generated() {
        return None;
    }
    let lines = file.text.lines().count();
    let message = format!("{lines} lines: which second noun moved in?");
    if lines > LINES_MAX {
        return Some(Problem::error(&file.path, 0, message));
    }
    (lines > LINES_BEFORE_WARNING).then(|| Problem::warning(&file.path, 0, message))
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    #[test]
    fn a_long_file_is_warned_of_and_a_very_long_one_refused() {
        let severity = |path: &str, lines: usize| {
            check(&SourceFile::new(path, "x\n".repeat(lines))).map(|problem| problem.severity)
        };
        assert_eq!(severity("io/a/src/a.rs", LINES_BEFORE_WARNING), None);
        assert_eq!(severity("io/a/src/a.rs", LINES_BEFORE_WARNING + 1), Some(Severity::Warning));
        assert_eq!(severity("io/a/src/a.rs", LINES_MAX + 1), Some(Severity::Error));
        assert_eq!(severity("core/xds/proto/src/envoy.rs", LINES_MAX + 1), None);
    }
}
