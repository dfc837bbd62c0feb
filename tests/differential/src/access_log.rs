//! The access log of a sidecar: the format that the harness asks for, and its lines.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

/// What a line says: all that is decided by the scenario, nothing that is decided by the clock.
const FIELDS: &[(&str, &str)] = &[
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("protocol", "%PROTOCOL%"),
    ("status", "%RESPONSE_CODE%"),
    ("flags", "%RESPONSE_FLAGS%"),
    ("details", "%RESPONSE_CODE_DETAILS%"),
    ("received", "%BYTES_RECEIVED%"),
    ("sent", "%BYTES_SENT%"),
    ("cluster", "%UPSTREAM_CLUSTER%"),
    ("host", "%UPSTREAM_HOST%"),
    ("attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
];

/// The `logging` member of a virtual node or gateway that writes [`FIELDS`] to `path`.
pub fn logging(path: &Path) -> Value {
    let pairs: Vec<Value> = FIELDS.iter().map(|(key, value)| json!({"key": key, "value": value})).collect();
    json!({"accessLog": {"file": {"path": path, "format": {"json": pairs}}}})
}

/// A log file and how much of it was read.
#[derive(Debug, Default)]
pub struct Reader {
    read: usize,
}

// === impl Reader ===

impl Reader {
    /// The lines that were written since the last call. Waits until `at_least` have come and no more follow, or a
    /// second is over.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub async fn lines(&mut self, path: &Path, at_least: usize) -> Result<Vec<String>> {
        let mut lines = self.rest(path)?;
        for _ in 0..25 {
            sleep(Duration::from_millis(40)).await;
            let more = self.rest(path)?;
            let settled = more.len() == lines.len() && more.len() >= at_least;
            lines = more;
            if settled {
                break;
            }
        }
        self.read += lines.iter().map(|line| line.len() + 1).sum::<usize>();
        Ok(lines)
    }

    fn rest(&self, path: &Path) -> Result<Vec<String>> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let bytes = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        let text = String::from_utf8_lossy(bytes.get(self.read..).unwrap_or_default()).into_owned();
        let end = text.rfind('\n').map_or(0, |end| end + 1);
        Ok(text[..end].lines().map(str::to_owned).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_new_and_whole_lines_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut reader = Reader::default();
        assert_eq!(reader.lines(&path, 0).await.unwrap(), Vec::<String>::new());
        std::fs::write(&path, "a\nbb\nhalf").unwrap();
        assert_eq!(reader.lines(&path, 2).await.unwrap(), ["a", "bb"]);
        std::fs::write(&path, "a\nbb\nhalf\n").unwrap();
        assert_eq!(reader.lines(&path, 1).await.unwrap(), ["half"]);
    }
}
