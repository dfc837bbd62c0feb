//! The key that secrets are sealed with: given, or made once.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;
use selvedge_workflow::{SECRETS_KEY_BYTES, Surroundings as _, System, Vault};

use crate::exit::Failure;

const VARIABLE: &str = "SELVEDGE_SECRETS_KEY";
/// In the data folder, beside the store's own files: a copy of the store alone opens nothing.
const FILE: &str = "secrets.key";
const FILE_BYTES_MAX: u64 = 4096;

/// The vault with the key of the file, of the environment, of the data folder, or with one that nobody keeps.
///
/// # Errors
/// When a key is none, or a file cannot be read or made; and when others may read it.
pub(super) fn vault(file: Option<&Path>, folder: Option<&Path>) -> Result<Vault, Failure> {
    if let Some(file) = file {
        return read(file);
    }
    if let Ok(text) = std::env::var(VARIABLE) {
        return Vault::read(&text).map_err(|error| Failure::Usage(format!("{VARIABLE}: {error}")));
    }
    let Some(folder) = folder else {
        return Ok(Vault::new(&draw()).context("failed to make a key")?);
    };
    let file = folder.join(FILE);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
    match made {
        Ok(mut made) => {
            let hex: String = draw().iter().map(|byte| format!("{byte:02x}")).collect();
            let written = made.write_all(format!("{hex}\n").as_bytes()).and_then(|()| made.sync_all());
            written.with_context(|| format!("failed to write {}", file.display()))?;
            read(&file)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => read(&file),
        Err(error) => {
            Err(anyhow::Error::new(error).context(format!("failed to make {}", file.display())).into())
        }
    }
}

fn read(file: &Path) -> Result<Vault, Failure> {
    let shown = file.display();
    let opened = std::fs::File::open(file).with_context(|| format!("failed to read {shown}"))?;
    let mode = opened.metadata().with_context(|| format!("failed to read {shown}"))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::Usage(format!(
            "{shown} may be read by others than its owner: chmod 600 {shown}"
        )));
    }
    let mut text = String::new();
    opened
        .take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("failed to read {shown}"))?;
    Vault::read(&text).map_err(|error| Failure::Usage(format!("{shown}: {error}")))
}

fn draw() -> [u8; SECRETS_KEY_BYTES] {
    let mut key = [0; SECRETS_KEY_BYTES];
    for part in key.chunks_mut(8) {
        part.copy_from_slice(&System.draw().to_le_bytes());
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = vault(None, Some(folder.path())).expect("a key is made");
        let file = folder.path().join(FILE);
        let mode = std::fs::metadata(&file).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = vault(None, Some(folder.path())).expect("the key is read");
        assert_eq!(format!("{made:?}"), format!("{again:?}"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(vault(None, Some(folder.path())).is_err());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("changed");
        std::fs::write(&file, "no key").expect("written");
        assert!(vault(Some(&file), None).is_err());
    }
}
