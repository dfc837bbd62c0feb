//! Files of secrets: looked at again and again, as the certificates that a configuration names by their paths are.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use selvedge_telemetry::SecretStats;
use selvedge_traffic::tls::{SecretFile, SecretRef, SecretSource};
use selvedge_wire::tls::FILE_BYTES_MAX;
use selvedge_xds::secret::file;
use tokio::sync::mpsc;

use super::fetch::{Fetched, put_in_force};

/// Between two looks.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One secret's file.
pub(super) struct FileFetch {
    pub(super) name: SecretRef,
    pub(super) updates: mpsc::Sender<Fetched>,
    pub(super) stats: SecretStats,
}

/// What changes when a file is written or replaced, or its folder is.
type Stamp = [Option<(u64, u64, i64, i64)>; 2];

impl FileFetch {
    /// Reads whenever something changed; a file that says nothing leaves in force what is.
    pub(super) async fn run(self) {
        let SecretSource::File(source) = &self.name.source else { return };
        let mut seen: Option<Stamp> = None;
        loop {
            let stamp = stamp(source);
            if seen != Some(stamp) {
                // The stamp before the content: what changes in between is read again with the next look.
                seen = Some(stamp);
                self.stats.asked();
                match read(source, &self.name.name) {
                    Ok(update) => {
                        if put_in_force(&self.updates, &self.name, update).await.is_none() {
                            return;
                        }
                    }
                    Err(reason) => {
                        self.stats.failed();
                        let (secret, path) = (&self.name.name, &source.path);
                        tracing::warn!(
                            secret,
                            path,
                            reason,
                            "no secret from this file; what is in force stays"
                        );
                    }
                }
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }
}

/// Whether it is there, in Envoy's words.
pub(super) fn check(source: &SecretFile) -> Result<(), String> {
    let paths = [Some(&source.path), source.watched.as_ref()];
    match paths.into_iter().flatten().find(|path| std::fs::metadata(path).is_err()) {
        None => Ok(()),
        Some(path) => {
            Err(format!("paths must refer to an existing path in the system: '{path}' does not exist"))
        }
    }
}

fn read(source: &SecretFile, name: &str) -> Result<selvedge_xds::secret::SecretUpdate, String> {
    let length = std::fs::metadata(&source.path).map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    let content = std::fs::read(&source.path).map_err(|error| error.to_string())?;
    file::read(&source.path, &content, name).map_err(|error| error.to_string())
}

fn stamp(source: &SecretFile) -> Stamp {
    [Some(&source.path), source.watched.as_ref()].map(|path| {
        let metadata = std::fs::metadata(path?).ok()?;
        Some((metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec()))
    })
}
