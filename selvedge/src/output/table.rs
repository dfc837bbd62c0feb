//! `--output table`: boxes as the AWS command line draws them.

use std::collections::BTreeSet;
use std::io::IsTerminal;

use serde_json::{Map, Value};

use super::{is_scalar, scalar};

/// Width assumed when standard output is not a terminal.
const WIDTH_DEFAULT: usize = 80;
/// Blanks around the text of a cell.
const PADDING: usize = 4;

/// The document as boxes, headed by `title`.
pub(super) fn write(document: &Value, title: &str, color: bool) -> String {
    let mut table = Table { sections: Vec::new() };
    if !table.build(Some(title), document, 0) {
        return String::new();
    }
    table.render(terminal_width(), color)
}

fn terminal_width() -> usize {
    if !std::io::stdout().is_terminal() {
        return WIDTH_DEFAULT;
    }
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(WIDTH_DEFAULT)
}

struct Table {
    sections: Vec<Section>,
}

/// One box: a title, perhaps column headers, and rows; `indent` borders on each side.
struct Section {
    title: String,
    headers: Vec<String>,
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// Adds the sections of `value`; `false` when there is nothing to show.
    fn build(&mut self, title: Option<&str>, value: &Value, indent: usize) -> bool {
        if is_empty(value) {
            return false;
        }
        if let Some(title) = title {
            self.sections.push(Section::titled(title, indent));
        }
        match value {
            Value::Array(elements) if elements[0].is_object() => self.build_records(title, elements, indent),
            Value::Array(elements) => {
                for element in elements {
                    match element {
                        Value::Array(cells) if cells.iter().all(is_scalar) => {
                            self.last().rows.push(cells.iter().map(scalar).collect());
                        }
                        scalar_value if is_scalar(scalar_value) => {
                            self.last().rows.push(vec![scalar(element)])
                        }
                        nested => {
                            self.build(None, nested, 0);
                        }
                    }
                }
            }
            Value::Object(object) => self.build_record(object, indent),
            _ => {}
        }
        true
    }

    fn build_record(&mut self, object: &Map<String, Value>, indent: usize) {
        let (headers, nested) = names(std::iter::once(object));
        match headers.len() {
            0 => {}
            1 => {
                let row =
                    headers.iter().flat_map(|name| [(*name).to_owned(), scalar(&object[*name])]).collect();
                self.last().rows.push(row);
            }
            _ => {
                let section = self.last();
                section.headers = headers.iter().map(|name| (*name).to_owned()).collect();
                section.rows.push(headers.iter().map(|name| scalar(&object[*name])).collect());
            }
        }
        for name in nested {
            self.build(Some(name), &object[name], indent + 1);
        }
    }

    fn build_records(&mut self, title: Option<&str>, elements: &[Value], indent: usize) {
        let objects: Vec<&Map<String, Value>> = elements.iter().filter_map(Value::as_object).collect();
        let (headers, nested) = names(objects.iter().copied());
        let header_row: Vec<String> = headers.iter().map(|name| (*name).to_owned()).collect();
        self.last().headers.clone_from(&header_row);
        for (index, object) in objects.iter().enumerate() {
            if index > 0 && !nested.is_empty() {
                let mut section = Section::titled(title.unwrap_or_default(), indent);
                section.headers.clone_from(&header_row);
                self.sections.push(section);
            }
            let row = headers.iter().map(|name| object.get(*name).map(scalar).unwrap_or_default()).collect();
            self.last().rows.push(row);
            for name in &nested {
                if let Some(value) = object.get(*name) {
                    self.build(Some(name), value, indent + 1);
                }
            }
        }
    }

    fn last(&mut self) -> &mut Section {
        if self.sections.is_empty() {
            self.sections.push(Section::titled("", 0));
        }
        self.sections.last_mut().expect("a section was just added when there was none")
    }

    fn render(mut self, terminal_width: usize, color: bool) -> String {
        if self.width() > terminal_width {
            self.sections.iter_mut().for_each(Section::turn);
        }
        let width = self.width();
        let mut out = format!("{}\n", "-".repeat(width));
        for section in &self.sections {
            section.render(width, color, &mut out);
        }
        out
    }

    fn width(&self) -> usize {
        self.sections.iter().map(Section::width).max().unwrap_or(0)
    }
}

impl Section {
    fn titled(title: &str, indent: usize) -> Self {
        Self { title: title.to_owned(), headers: Vec::new(), rows: Vec::new(), indent }
    }

    /// A single row under headers becomes a row for each header: it fits where the terminal is narrow.
    fn turn(&mut self) {
        if self.rows.len() == 1 && !self.headers.is_empty() {
            let headers = std::mem::take(&mut self.headers);
            let row = self.rows.remove(0);
            self.rows = headers.into_iter().zip(row).map(|(header, cell)| vec![header, cell]).collect();
        }
    }

    /// The widest text of each column.
    fn columns(&self) -> Vec<usize> {
        let lines =
            || self.rows.iter().chain(std::iter::once(&self.headers).filter(|headers| !headers.is_empty()));
        let count = lines().map(Vec::len).max().unwrap_or(0);
        (0..count)
            .map(|column| {
                lines().filter_map(|line| line.get(column)).map(|cell| length(cell)).max().unwrap_or(0)
            })
            .collect()
    }

    fn width(&self) -> usize {
        let cells: usize = self.columns().iter().map(|width| width + PADDING).sum();
        let borders = 2 + 2 * self.indent;
        (length(&self.title) + borders).max(cells + borders)
    }

    /// Column widths, borders included, stretched or squeezed so that together they fill `width`.
    fn fitted(&self, width: usize) -> Vec<usize> {
        let natural: Vec<usize> = self.columns().iter().map(|column| column + PADDING).collect();
        let total: usize = natural.iter().sum();
        if total == 0 {
            return natural;
        }
        let factor = width as f64 / total as f64;
        let mut fitted: Vec<usize> =
            natural.iter().map(|column| (factor * *column as f64).round_ties_even() as usize).collect();
        // Rounding leaves a few too many or too few: take from the left, give to the right, one each, in turns.
        loop {
            let sum: usize = fitted.iter().sum();
            let count = fitted.len();
            match sum.cmp(&width) {
                std::cmp::Ordering::Equal => return fitted,
                std::cmp::Ordering::Greater => {
                    fitted.iter_mut().take(sum - width).for_each(|column| *column = column.saturating_sub(1))
                }
                std::cmp::Ordering::Less => {
                    fitted.iter_mut().rev().take((width - sum).min(count)).for_each(|column| *column += 1)
                }
            }
        }
    }

    fn render(&self, width: usize, color: bool, out: &mut String) {
        let width = width.saturating_sub(2 * self.indent);
        let border =
            if color { "\x1b[2m\x1b[33m|\x1b[0m".repeat(self.indent) } else { "|".repeat(self.indent) };
        let mut line = |text: &str| {
            out.push_str(&border);
            out.push_str(text);
            out.push_str(&border);
            out.push('\n');
        };
        if !self.title.is_empty() {
            line(&centered(&self.title, width, "|"));
            if self.headers.is_empty() && self.rows.is_empty() {
                line(&format!("+{}+", "-".repeat(width.saturating_sub(2))));
            }
        }
        let widths = self.fitted(width);
        let rule = rule(&widths);
        if !self.headers.is_empty() {
            line(&rule);
            line(&cells(&self.headers, &widths, centered));
        }
        if !self.rows.is_empty() && !widths.is_empty() {
            line(&rule);
            for row in &self.rows {
                line(&cells(row, &widths, |text, width, left| left_aligned(text, width, left, color)));
            }
            line(&rule);
        }
    }
}

fn cells(texts: &[String], widths: &[usize], draw: impl Fn(&str, usize, &str) -> String) -> String {
    let blank = String::new();
    let texts = texts.iter().chain(std::iter::repeat(&blank));
    widths
        .iter()
        .zip(texts)
        .enumerate()
        .map(|(i, (width, text))| draw(text, *width, if i == 0 { "|" } else { "" }))
        .collect()
}

fn rule(widths: &[usize]) -> String {
    let dashes = |(i, width): (usize, &usize)| match i {
        0 => format!("+{}+", "-".repeat(width.saturating_sub(2))),
        _ => format!("{}+", "-".repeat(width.saturating_sub(1))),
    };
    widths.iter().enumerate().map(dashes).collect()
}

fn centered(text: &str, width: usize, left: &str) -> String {
    let before = (width / 2).saturating_sub(length(text) / 2 + 1);
    let after = width.saturating_sub(1 + left.len() + before + length(text));
    format!("{left}{}{text}{}|", " ".repeat(before), " ".repeat(after))
}

fn left_aligned(text: &str, width: usize, left: &str, color: bool) -> String {
    let before = if width > length(text) + 2 + left.len() { 2 } else { 0 };
    let after = width.saturating_sub(left.len() + before + length(text) + 1);
    let styled = if color { format!("\x1b[1m\x1b[34m{text}\x1b[0m") } else { text.to_owned() };
    format!("{left}{}{styled}{}|", " ".repeat(before), " ".repeat(after))
}

/// The names of scalar members and of nested ones, each sorted.
fn names<'a>(objects: impl Iterator<Item = &'a Map<String, Value>>) -> (Vec<&'a str>, Vec<&'a str>) {
    let (mut scalars, mut nested) = (BTreeSet::new(), BTreeSet::new());
    for (key, value) in objects.flatten() {
        if is_scalar(value) {
            scalars.insert(key.as_str())
        } else {
            nested.insert(key.as_str())
        };
    }
    (scalars.into_iter().collect(), nested.into_iter().collect())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(elements) => elements.is_empty(),
        Value::Object(object) => object.is_empty(),
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}
