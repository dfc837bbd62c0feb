//! The last good configuration on disk, for a start without a control plane.
//!
//! ```text
//! SELVEDGE CONFIGURATION 1\n   magic and version of the format
//! 8 bytes                      xxh3 of all that follows, little endian
//! string                       identity of the proxy
//! { u8 kind, string name, string version, string value } …
//! ```
//! where a string is its length as four bytes, little endian, and its bytes.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use selvedge_traffic::ResourceKind;
use selvedge_xds::Encoded;
use thiserror::Error;
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64};

const MAGIC: &[u8] = b"SELVEDGE CONFIGURATION 1\n";
const FILE: &str = "configuration";
/// A larger file is not ours.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Where the configuration of one proxy is kept.
#[derive(Clone, Debug)]
pub struct Store {
    folder: PathBuf,
    identity: String,
}

/// What could not be kept or found again.
#[derive(Debug, Error)]
pub enum Error {
    #[error("the folder {0:?} cannot be made")]
    Folder(PathBuf, #[source] io::Error),
    #[error("the last configuration cannot be written")]
    Write(#[source] io::Error),
    #[error("the last configuration cannot be read")]
    Read(#[source] io::Error),
    #[error("the last configuration is damaged: {0}")]
    Damaged(&'static str),
    #[error("the last configuration belongs to {0:?}")]
    Foreign(String),
}

impl Store {
    /// Keeps files in `folder`, made if it is not there; `identity` must be the same at load.
    ///
    /// # Errors
    /// The folder cannot be made.
    pub fn open(folder: &Path, identity: &str) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|error| Error::Folder(folder.to_owned(), error))?;
        Ok(Self { folder: folder.to_owned(), identity: identity.to_owned() })
    }

    /// Replaces what is kept: a reader sees the old file or the new one, whole, even after a crash.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, resources: impl Iterator<Item = Encoded>) -> Result<(), Error> {
        let temporary = self.folder.join(format!("{FILE}.new"));
        let write = || -> io::Result<()> {
            let mut file = BufWriter::new(File::create(&temporary)?);
            file.write_all(MAGIC)?;
            // The sum of what follows is known when that has been written.
            file.write_all(&[0; size_of::<u64>()])?;
            // One resource at a time: a mesh of thousands never stands in memory as a whole.
            let mut sum = Xxh3Default::new();
            let mut part = Vec::new();
            write_string(self.identity.as_bytes(), &mut part);
            for resource in resources {
                write_resource(&resource, &mut part);
                sum.update(&part);
                file.write_all(&part)?;
                part.clear();
            }
            sum.update(&part);
            file.write_all(&part)?;
            let mut file = file.into_inner()?;
            file.seek(SeekFrom::Start(MAGIC.len() as u64))?;
            file.write_all(&sum.digest().to_le_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, self.folder.join(FILE))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(Error::Write)
    }

    /// What was kept last; `None` if nothing ever was.
    ///
    /// # Errors
    /// The file cannot be read, is damaged, or was another proxy's.
    pub fn load(&self) -> Result<Option<Vec<Encoded>>, Error> {
        let path = self.folder.join(FILE);
        let metadata = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            metadata => metadata.map_err(Error::Read)?,
        };
        if metadata.len() > FILE_BYTES_MAX {
            return Err(Error::Damaged("it is too large"));
        }
        let bytes = fs::read(&path).map_err(Error::Read)?;
        let rest = bytes.strip_prefix(MAGIC).ok_or(Error::Damaged("it does not begin as one"))?;
        let (sum, body) = rest.split_first_chunk().ok_or(Error::Damaged("it is cut off"))?;
        if xxh3_64(body) != u64::from_le_bytes(*sum) {
            return Err(Error::Damaged("its checksum does not match"));
        }
        let (identity, resources) = decode(body).ok_or(Error::Damaged("it cannot be parsed"))?;
        if identity != self.identity {
            return Err(Error::Foreign(identity));
        }
        Ok(Some(resources))
    }
}

fn write_resource(resource: &Encoded, body: &mut Vec<u8>) {
    let kind = ResourceKind::ALL.iter().position(|kind| *kind == resource.kind).unwrap_or_default();
    body.push(kind as u8);
    write_string(resource.name.as_bytes(), body);
    write_string(resource.version.as_bytes(), body);
    write_string(&resource.value, body);
}

fn write_string(bytes: &[u8], body: &mut Vec<u8>) {
    // What xDS carries in one message is bounded far below 4 GiB.
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(bytes);
}

fn decode(body: &[u8]) -> Option<(String, Vec<Encoded>)> {
    let mut rest = body;
    let identity = text(&mut rest)?;
    let mut resources = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        rest = after;
        let kind = *ResourceKind::ALL.get(usize::from(*kind))?;
        let (name, version) = (text(&mut rest)?, text(&mut rest)?);
        let value = Bytes::copy_from_slice(string(&mut rest)?);
        resources.push(Encoded::received(kind, &name, &version, value));
    }
    Some((identity, resources))
}

fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, after) = rest.split_first_chunk()?;
    let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    *rest = after;
    Some(bytes)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    String::from_utf8(string(rest)?.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path) -> Store {
        Store::open(&folder.join("state"), "mesh/m/virtualNode/n").expect("a folder")
    }

    fn resources() -> Vec<Encoded> {
        vec![
            Encoded::received(ResourceKind::Cluster, "a", "v1", Bytes::from_static(b"\x00\xff")),
            Encoded::received(ResourceKind::Routes, "b", "", Bytes::new()),
        ]
    }

    #[test]
    fn what_is_saved_is_loaded_and_replaced_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        assert!(store.load().expect("readable").is_none());
        store.save(resources().into_iter()).expect("saved");
        assert_eq!(store.load().expect("readable"), Some(resources()));
        store.save(std::iter::empty()).expect("saved");
        assert_eq!(store.load().expect("readable"), Some(Vec::new()));
    }

    #[test]
    fn a_damaged_or_foreign_file_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path());
        store.save(resources().into_iter()).expect("saved");
        let path = folder.path().join("state").join(FILE);
        let good = fs::read(&path).expect("readable");
        for (at, reason) in [(0, "magic"), (MAGIC.len(), "checksum"), (good.len() - 1, "body")] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).expect("written");
            assert!(matches!(store.load(), Err(Error::Damaged(_))), "{reason}");
        }
        for length in 0..good.len() {
            fs::write(&path, &good[..length]).expect("written");
            assert!(matches!(store.load(), Err(Error::Damaged(_))), "cut off at {length}");
        }
        fs::write(&path, good).expect("written");
        let other = Store::open(&folder.path().join("state"), "mesh/m/virtualNode/other").expect("a folder");
        assert!(matches!(other.load(), Err(Error::Foreign(_))));
    }
}
