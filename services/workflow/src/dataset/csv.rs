//! Comma-separated values (RFC 4180), one item a row: an object of its columns, each a text.

use std::io::{BufRead, BufReader, Read};

use serde_json::{Map, Value};

use super::{Dataset, DatasetError, ITEM_BYTES_MAX, Item};

/// The most columns of a row.
const COLUMNS_MAX: usize = 10_000;

/// How the rows are written.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    /// The columns' names; none is the first row's.
    pub(super) headers: Option<Vec<String>>,
    pub(super) delimiter: u8,
}

impl Shape {
    pub(super) fn read(config: &Value) -> Result<Self, DatasetError> {
        let refused = |message: String| Err(DatasetError::Configuration(message));
        let delimiter = match config["CSVDelimiter"].as_str() {
            None | Some("COMMA") => b',',
            Some("PIPE") => b'|',
            Some("SEMICOLON") => b';',
            Some("SPACE") => b' ',
            Some("TAB") => b'\t',
            Some(other) => {
                return refused(format!(
                    "CSVDelimiter is COMMA, PIPE, SEMICOLON, SPACE or TAB, and not '{other}'"
                ));
            }
        };
        let headers = match config["CSVHeaderLocation"].as_str() {
            None | Some("FIRST_ROW") => None,
            Some("GIVEN") => {
                let given = config["CSVHeaders"].as_array();
                let names: Option<Vec<String>> = given
                    .and_then(|given| given.iter().map(|name| name.as_str().map(str::to_owned)).collect());
                match names {
                    Some(names) if !names.is_empty() => Some(names),
                    _ => {
                        return refused("CSVHeaderLocation is GIVEN, so CSVHeaders names the columns".into());
                    }
                }
            }
            Some(other) => {
                return refused(format!("CSVHeaderLocation is FIRST_ROW or GIVEN, and not '{other}'"));
            }
        };
        Ok(Self { headers, delimiter })
    }
}

pub(super) struct Rows {
    bytes: BufReader<Box<dyn Read + Send>>,
    headers: Vec<String>,
    delimiter: u8,
    row: u64,
}

impl Rows {
    pub(super) fn open(bytes: Box<dyn Read + Send>, shape: &Shape) -> Result<Self, DatasetError> {
        let bytes = BufReader::with_capacity(1 << 16, bytes);
        let mut rows = Self { bytes, headers: Vec::new(), delimiter: shape.delimiter, row: 0 };
        rows.headers = match &shape.headers {
            Some(headers) => headers.clone(),
            None => {
                let mut first = rows.record()?.unwrap_or_default();
                if let Some(name) = first.first_mut() {
                    // A byte order mark is no part of the first column's name.
                    *name = name.trim_start_matches('\u{feff}').to_owned();
                }
                first
            }
        };
        Ok(rows)
    }

    /// The fields of the next row that is not empty.
    fn record(&mut self) -> Result<Option<Vec<String>>, DatasetError> {
        loop {
            let Some(fields) = self.fields()? else { return Ok(None) };
            if fields.len() > 1 || fields.first().is_some_and(|field| !field.is_empty()) {
                return Ok(Some(fields));
            }
        }
    }

    fn fields(&mut self) -> Result<Option<Vec<String>>, DatasetError> {
        self.row += 1;
        let row = self.row;
        let broken = |what: &str| DatasetError::Content(format!("row {row} of the data set {what}"));
        let mut fields: Vec<String> = Vec::new();
        let (mut field, mut bytes, mut any) = (Vec::new(), 0_usize, false);
        // Inside of quotes; after the quote that may end them.
        let (mut in_quotes, mut after_quote) = (false, false);
        loop {
            let Some(byte) = self.bytes.fill_buf()?.first().copied() else {
                if in_quotes && !after_quote {
                    return Err(broken("has a quote without its end"));
                }
                if !any {
                    return Ok(None);
                }
                fields.push(text(field).ok_or_else(|| broken("is no UTF-8"))?);
                return Ok(Some(fields));
            };
            self.bytes.consume(1);
            any = true;
            bytes += 1;
            if bytes > ITEM_BYTES_MAX {
                return Err(broken(&format!("has more than {ITEM_BYTES_MAX} bytes")));
            }
            if in_quotes && !after_quote {
                if byte == b'"' {
                    after_quote = true;
                } else {
                    field.push(byte);
                }
                continue;
            }
            match byte {
                b'"' if after_quote => {
                    field.push(b'"');
                    after_quote = false;
                }
                b'"' if field.is_empty() && !in_quotes => in_quotes = true,
                b'\r' => {}
                b'\n' => {
                    fields.push(text(field).ok_or_else(|| broken("is no UTF-8"))?);
                    return Ok(Some(fields));
                }
                byte if byte == self.delimiter => {
                    fields.push(text(std::mem::take(&mut field)).ok_or_else(|| broken("is no UTF-8"))?);
                    (in_quotes, after_quote) = (false, false);
                    if fields.len() >= COLUMNS_MAX {
                        return Err(broken(&format!("has more than {COLUMNS_MAX} columns")));
                    }
                }
                byte => field.push(byte),
            }
        }
    }
}

fn text(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

impl Dataset for Rows {
    /// A column that the row lacks is an empty text; what it has beyond the header is left out.
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        let Some(fields) = self.record()? else { return Ok(None) };
        let mut fields = fields.into_iter();
        let members: Map<String, Value> = self
            .headers
            .iter()
            .map(|name| (name.clone(), Value::from(fields.next().unwrap_or_default())))
            .collect();
        Ok(Some(Item::plain(Value::Object(members))))
    }
}
