//! Parquet, one item a row.
//!
//! The format is read from its end, so the object is put into a temporary file first. A thread of its own decodes row by
//! row; a few rows wait at a time.

use std::io::Read;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parquet::file::reader::{FileReader as _, SerializedFileReader};
use serde_json::Value;

use super::{Dataset, DatasetError, Item};

/// Rows that wait to be taken.
const ROWS_AHEAD: usize = 64;

/// A row, or none after the last: a thread that ends without it has failed.
type Row = Result<Option<Value>, String>;

pub(super) struct Rows(Receiver<Row>);

impl Rows {
    pub(super) fn open(mut bytes: Box<dyn Read + Send>) -> Result<Self, DatasetError> {
        let mut file = tempfile::tempfile()?;
        std::io::copy(&mut bytes, &mut file)?;
        let reader = SerializedFileReader::new(file)
            .map_err(|error| DatasetError::Content(format!("the data set is no Parquet: {error}")))?;
        let (sender, receiver) = sync_channel(ROWS_AHEAD);
        std::thread::Builder::new()
            .name("workflow-parquet".into())
            .spawn(move || decode(&reader, &sender))?;
        Ok(Self(receiver))
    }
}

/// Ends when nobody takes rows any more.
fn decode(reader: &SerializedFileReader<std::fs::File>, sender: &SyncSender<Row>) {
    let rows = match reader.get_row_iter(None) {
        Ok(rows) => rows,
        Err(error) => {
            // Nobody to tell is fine: the run is over.
            let _ = sender.send(Err(error.to_string()));
            return;
        }
    };
    for row in rows {
        let row = row.map(|row| Some(row.to_json_value())).map_err(|error| error.to_string());
        let is_end = row.is_err();
        if sender.send(row).is_err() || is_end {
            return;
        }
    }
    let _ = sender.send(Ok(None));
}

impl Dataset for Rows {
    fn next(&mut self) -> Result<Option<Item>, DatasetError> {
        match self.0.recv() {
            Ok(Ok(value)) => Ok(value.map(Item::plain)),
            Ok(Err(error)) => {
                Err(DatasetError::Content(format!("a row of the data set cannot be read: {error}")))
            }
            Err(_) => Err(DatasetError::Content("the data set is damaged".to_owned())),
        }
    }
}
