//! Buckets as folders below a root, objects as files.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::path::{Component, Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::{LIST_PAGE_MAX, Listed, ObjectError, Objects};

/// How deep a listing goes below its bucket.
const DEPTH_MAX: usize = 32;

/// Objects below a folder that the operator named. Nothing outside of it is read or written, whatever a key says, and
/// symbolic links do not lead out of it.
#[derive(Clone, Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The objects below `root`, which must be there.
    ///
    /// # Errors
    /// When it is not there.
    pub fn new(root: &Path) -> io::Result<Self> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "no folder"));
        }
        Ok(Self { root })
    }

    /// The path of a bucket or of an object in it; every part is a plain name.
    fn path(&self, bucket: &str, key: &str) -> Result<PathBuf, ObjectError> {
        let refused = |name: &str| ObjectError::Name(name.chars().take(200).collect());
        let is_plain = |name: &str| {
            let mut components = Path::new(name).components();
            matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        };
        if !is_plain(bucket) || bucket.contains('\0') {
            return Err(refused(bucket));
        }
        let mut path = self.root.join(bucket);
        for part in key.split('/').filter(|_| !key.is_empty()) {
            if !is_plain(part) || part.contains('\0') {
                return Err(refused(key));
            }
            path.push(part);
        }
        Ok(path)
    }

    /// The same, where it is: links followed, and still below the root.
    fn found(&self, bucket: &str, key: &str) -> Result<PathBuf, ObjectError> {
        let path = self.path(bucket, key)?.canonicalize().map_err(|error| failed(bucket, key, &error))?;
        if !path.starts_with(&self.root) {
            return Err(ObjectError::Name(key.chars().take(200).collect()));
        }
        Ok(path)
    }
}

impl Objects for Folder {
    fn open(&self, bucket: &str, key: &str, _: Option<&str>) -> Result<Box<dyn Read + Send>, ObjectError> {
        let file = File::open(self.found(bucket, key)?).map_err(|error| failed(bucket, key, &error))?;
        match file.metadata() {
            Ok(found) if found.is_file() => Ok(Box::new(file)),
            Ok(_) => Err(ObjectError::Missing { bucket: bucket.to_owned(), key: key.to_owned() }),
            Err(error) => Err(failed(bucket, key, &error)),
        }
    }

    fn list(&self, bucket: &str, prefix: &str, after: Option<&str>) -> Result<Vec<Listed>, ObjectError> {
        let top = self.found(bucket, "")?;
        let mut page = Page { prefix, after, keys: BTreeSet::new() };
        page.walk(&top, String::new(), 0).map_err(|error| failed(bucket, prefix, &error))?;
        let mut listed = Vec::with_capacity(page.keys.len());
        for key in page.keys {
            // One that has gone meanwhile is not there.
            let Ok(found) = self
                .found(bucket, &key)
                .and_then(|path| fs::metadata(path).map_err(|error| failed(bucket, &key, &error)))
            else {
                continue;
            };
            let modified = found.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
            let modified_ms = modified.map_or(0, |at| i64::try_from(at.as_millis()).unwrap_or(i64::MAX));
            let etag = format!("\"{modified_ms:x}-{:x}\"", found.len());
            let storage_class = "STANDARD".to_owned();
            listed.push(Listed { key, size: found.len(), etag, modified_ms, storage_class });
        }
        Ok(listed)
    }

    fn put(&self, bucket: &str, key: &str, bytes: &[u8]) -> Result<(), ObjectError> {
        let path = self.path(bucket, key)?;
        let folder = path.parent().ok_or_else(|| ObjectError::Name(key.to_owned()))?;
        let write = || -> io::Result<()> {
            fs::create_dir_all(folder)?;
            if !folder.canonicalize()?.starts_with(&self.root) {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "it leads out of the objects' folder",
                ));
            }
            // Whole or not at all: a reader never finds a part of it.
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(".part");
            let part = folder.join(name);
            let mut file = File::create(&part)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(|error| failed(bucket, key, &error))
    }
}

/// The first keys of a listing, in order, out of however many there are.
struct Page<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    keys: BTreeSet<String>,
}

impl Page<'_> {
    fn walk(&mut self, folder: &Path, at: String, depth: usize) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Ok(());
        }
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
            let key = if at.is_empty() { name } else { format!("{at}/{name}") };
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let below = format!("{key}/");
                if below.starts_with(self.prefix) || self.prefix.starts_with(&below) {
                    self.walk(&entry.path(), key, depth + 1)?;
                }
            } else if kind.is_file()
                && key.starts_with(self.prefix)
                && self.after.is_none_or(|after| key.as_str() > after)
            {
                self.keys.insert(key);
                if self.keys.len() > LIST_PAGE_MAX {
                    self.keys.pop_last();
                }
            }
        }
        Ok(())
    }
}

fn failed(bucket: &str, key: &str, error: &io::Error) -> ObjectError {
    let (bucket, key) = (bucket.to_owned(), key.to_owned());
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ObjectError::Missing { bucket, key },
        _ => ObjectError::Failed { bucket, key, cause: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, Folder) {
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(outside.path().join("root/b")).unwrap();
        fs::write(outside.path().join("secret"), "s").unwrap();
        let folder = Folder::new(&outside.path().join("root")).unwrap();
        (outside, folder)
    }

    #[test]
    fn what_is_put_is_listed_and_read() {
        let (_outside, folder) = place();
        for key in ["x/2", "x/1", "y"] {
            folder.put("b", key, key.as_bytes()).unwrap();
        }
        let keys = |prefix, after| -> Vec<String> {
            folder.list("b", prefix, after).unwrap().into_iter().map(|found| found.key).collect()
        };
        assert_eq!(keys("", None), ["x/1", "x/2", "y"]);
        assert_eq!(keys("x/", Some("x/1")), ["x/2"]);
        let mut text = String::new();
        folder.open("b", "x/2", None).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x/2");
    }

    #[test]
    fn no_key_leads_out_of_the_folder() {
        let (outside, folder) = place();
        std::os::unix::fs::symlink(outside.path().join("secret"), outside.path().join("root/b/link"))
            .unwrap();
        std::os::unix::fs::symlink(outside.path(), outside.path().join("root/b/up")).unwrap();
        for (bucket, key) in [
            ("b", "../../secret"),
            ("..", "secret"),
            ("b", "/etc/passwd"),
            ("b", "link"),
            ("b", "up/secret"),
            ("b/..", "x"),
            ("b", "./x"),
        ] {
            assert!(folder.open(bucket, key, None).is_err(), "{bucket} {key}");
        }
        for key in ["../x", "up/x", "a/../../x"] {
            assert!(folder.put("b", key, b"x").is_err(), "{key}");
        }
        assert!(!outside.path().join("x").exists());
        assert!(folder.list("b", "", None).unwrap().is_empty());
    }
}
