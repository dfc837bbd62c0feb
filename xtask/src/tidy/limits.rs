//! The page of limits says what the code says, and leaves none out.

use std::path::Path;

use anyhow::{Context, Result};

use super::Problem;
use super::source::SourceFile;

/// Where the limits are told.
const PAGE: &str = "docs/guide/limits.md";
/// The rooms whose public limits must stand on the page: those that a stranger's bytes reach.
const ROOMS: &[&str] = &[
    "core/aws",
    "core/dns",
    "core/guard",
    "core/http",
    "core/identity",
    "core/model",
    "core/registry",
    "core/site",
    "core/traffic",
    "core/xds",
    "io",
    "services",
];

/// A row of the page.
#[derive(Debug, PartialEq)]
struct Row<'a> {
    line: usize,
    value: &'a str,
    file: &'a str,
    name: &'a str,
}

/// Compares the page with the constants.
///
/// # Errors
/// When the page cannot be read.
pub(super) fn check(root: &Path, files: &[SourceFile]) -> Result<Vec<Problem>> {
    let page = std::fs::read_to_string(root.join(PAGE)).with_context(|| format!("failed to read {PAGE}"))?;
    let rows: Vec<Row<'_>> =
        page.lines().enumerate().filter_map(|(index, line)| row(index + 1, line)).collect();
    let mut problems = Vec::new();
    for row in &rows {
        let file = files.iter().find(|file| file.path == Path::new(row.file));
        let declared = file.and_then(|file| declared(&file.text, row.name));
        let message = match declared {
            None => format!("{} does not declare {}", row.file, row.name),
            Some(code) if of_code(code) != of_page(row.value) => {
                format!("{} is {code} in the code and {} here", row.name, row.value)
            }
            Some(_) => continue,
        };
        problems.push(Problem::error(PAGE, row.line, message));
    }
    for file in files.iter().filter(|file| ROOMS.iter().any(|room| file.path.starts_with(room))) {
        for (index, name) in public_limits(&file.text) {
            if !rows.iter().any(|row| row.name == name && file.path == Path::new(row.file)) {
                let message = format!("the limit {name} does not stand in {PAGE}");
                problems.push(Problem::error(&file.path, index, message));
            }
        }
    }
    Ok(problems)
}

/// `| what | limit | beyond | `file` `NAME` |`.
fn row(line: usize, text: &str) -> Option<Row<'_>> {
    let mut cells = text.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
    let (_, value, _, place) = (cells.next()?, cells.next()?, cells.next()?, cells.next()?);
    let mut quoted = place.split('`').skip(1).step_by(2);
    Some(Row { line, value, file: quoted.next()?, name: quoted.next()? })
}

/// The expression of a constant.
fn declared<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (_, rest) = line.split_once("const ")?;
        let rest = rest.strip_prefix(name)?.strip_prefix(':')?;
        rest.split_once('=')?.1.trim().strip_suffix(';')
    })
}

fn public_limits(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().filter_map(|(index, line)| {
        let name = line.strip_prefix("pub const ")?.split(':').next()?;
        (name.ends_with("_MAX") || name == "BACKLOG").then_some((index + 1, name))
    })
}

/// The value of `60 * 1024`, `1 << 20` or `Duration::from_secs(30)`.
fn of_code(expression: &str) -> Option<u64> {
    let expression =
        expression.strip_prefix("Duration::from_secs(").map_or(expression, |rest| rest.trim_end_matches(')'));
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    match expression.split_once("<<") {
        Some((value, shift)) => number(value)?.checked_shl(u32::try_from(number(shift)?).ok()?),
        None => {
            expression.split('*').map(number).try_fold(1u64, |product, factor| product.checked_mul(factor?))
        }
    }
}

/// The value of `60 KiB`, `16,384`, `512 bytes` or `30 s`.
fn of_page(cell: &str) -> Option<u64> {
    let (number, unit) = cell.split_once(' ').unwrap_or((cell, ""));
    let unit = match unit {
        "" | "bytes" | "s" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.replace(',', "").parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_reads_the_same_in_code_and_in_prose() {
        for (code, page) in [
            ("60 * 1024", "60 KiB"),
            ("1 << 20", "1 MiB"),
            ("16_384", "16,384"),
            ("Duration::from_secs(30)", "30 s"),
            ("512", "512 bytes"),
            ("16 << 30", "16 GiB"),
        ] {
            assert!(of_code(code).is_some(), "{code}");
            assert_eq!(of_code(code), of_page(page), "{code}");
        }
        assert_ne!(of_code("1 << 20"), of_page("2 MiB"));
    }

    #[test]
    fn a_row_names_its_constant() {
        let found = row(7, "| a body | 1 MiB | 413 | `core/a.rs` `BODY_BYTES_MAX` |");
        assert_eq!(found, Some(Row { line: 7, value: "1 MiB", file: "core/a.rs", name: "BODY_BYTES_MAX" }));
        assert_eq!(row(1, "|---|---|---|---|"), None);
    }

    #[test]
    fn a_constant_is_found_by_its_whole_name() {
        let text = "const NAME_MAX_TWO: u8 = 2;\npub const NAME_MAX: usize = 1 << 4;\n";
        assert_eq!(declared(text, "NAME_MAX"), Some("1 << 4"));
        assert_eq!(public_limits(text).collect::<Vec<_>>(), [(2, "NAME_MAX")]);
    }
}
