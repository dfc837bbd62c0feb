//! Whose key signs: from the environment, or from the files that AWS's tools keep, read anew when they change.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use selvedge_aws::sigv4::Credentials;

const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Where the key comes from.
pub(super) struct Source {
    fixed: Option<Credentials>,
    profile: String,
    files: Vec<PathBuf>,
    read: Mutex<Option<Read>>,
}

/// Files as they were when they were read.
struct Read {
    stamps: Vec<Option<(SystemTime, u64)>>,
    found: Option<Credentials>,
}

impl Source {
    pub(super) fn new(environment: &HashMap<String, String>) -> Self {
        let get = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let fixed =
            get("AWS_ACCESS_KEY_ID").zip(get("AWS_SECRET_ACCESS_KEY")).map(|(access, secret)| Credentials {
                access_key: access.clone(),
                secret_key: secret.clone(),
                session_token: get("AWS_SESSION_TOKEN").cloned(),
            });
        let home = get("HOME").map(PathBuf::from);
        let file = |variable: &str, name: &str| {
            get(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(name)))
        };
        let files = [file("AWS_SHARED_CREDENTIALS_FILE", "credentials"), file("AWS_CONFIG_FILE", "config")];
        Self {
            fixed,
            profile: get("AWS_PROFILE").cloned().unwrap_or_else(|| "default".into()),
            files: files.into_iter().flatten().collect(),
            read: Mutex::default(),
        }
    }

    /// The key to sign with.
    pub(super) fn current(&self) -> Result<Credentials, String> {
        if let Some(fixed) = &self.fixed {
            return Ok(fixed.clone());
        }
        let stamps: Vec<_> = self
            .files
            .iter()
            .map(|file| {
                let known = std::fs::metadata(file).ok()?;
                Some((known.modified().ok()?, known.len()))
            })
            .collect();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.as_ref().is_none_or(|read| read.stamps != stamps) {
            *read = Some(Read { stamps, found: self.look() });
        }
        let found = read.as_ref().and_then(|read| read.found.clone());
        found.ok_or_else(|| {
            "there is no key to sign with: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a credentials file".into()
        })
    }

    fn look(&self) -> Option<Credentials> {
        use std::io::Read as _;
        self.files.iter().find_map(|path| {
            let mut text = String::new();
            let file = std::fs::File::open(path).ok()?;
            file.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
            profile(&text, &self.profile)
        })
    }
}

/// The key of a profile: `[name]`, or `[profile name]` in the other file.
fn profile(text: &str, name: &str) -> Option<Credentials> {
    let mut found: HashMap<&str, &str> = HashMap::new();
    let mut is_inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.split(']').next()) {
            let section = section.trim();
            is_inside = section.strip_prefix("profile ").map_or(section, str::trim) == name;
        } else if is_inside
            && !line.starts_with(['#', ';'])
            && let Some((key, value)) = line.split_once('=')
        {
            found.insert(key.trim(), value.trim());
        }
    }
    Some(Credentials {
        access_key: (*found.get("aws_access_key_id")?).to_owned(),
        secret_key: (*found.get("aws_secret_access_key")?).to_owned(),
        session_token: found.get("aws_session_token").map(|token| (*token).to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_anew_when_they_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let of = |profile: Option<&str>| {
            let mut environment = HashMap::from([
                ("AWS_SHARED_CREDENTIALS_FILE".to_owned(), path.display().to_string()),
                ("AWS_CONFIG_FILE".to_owned(), folder.path().join("none").display().to_string()),
            ]);
            environment.extend(profile.map(|name| ("AWS_PROFILE".to_owned(), name.to_owned())));
            Source::new(&environment)
        };
        let (source, other) = (of(None), of(Some("ops")));
        assert!(source.current().is_err());
        std::fs::write(&path, "[default]\naws_access_key_id = ONE\naws_secret_access_key=s\n").unwrap();
        assert_eq!(source.current().unwrap().access_key, "ONE");
        assert!(other.current().is_err());
        let text = "[default]\naws_access_key_id = TWO-2\naws_secret_access_key=s\n# no\naws_session_token = t\n\
                    [ops]\naws_access_key_id=OPS\naws_secret_access_key=x\n";
        std::fs::write(&path, text).unwrap();
        let found = source.current().unwrap();
        assert_eq!((found.access_key.as_str(), found.session_token.as_deref()), ("TWO-2", Some("t")));
        assert_eq!(other.current().unwrap().access_key, "OPS");
        std::fs::remove_file(&path).unwrap();
        assert!(source.current().is_err(), "a key that was taken away is not used any more");
    }

    #[test]
    fn the_environment_comes_first() {
        let environment =
            [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B"), ("AWS_SESSION_TOKEN", "")];
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let found = Source::new(&environment.collect()).current().unwrap();
        assert_eq!((found.access_key.as_str(), found.session_token), ("A", None));
    }
}
