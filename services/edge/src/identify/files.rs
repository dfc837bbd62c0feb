//! Files of users and groups.

use selvedge_site::directive::{Auth, Text};

use super::password;

/// The longest file of users that is read.
pub(crate) const USERS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where passwords are.
pub(super) enum Store {
    /// `user:password`
    Plain(Option<Text>),
    /// `user:hash`
    Htpasswd(Option<Text>),
    /// `user:realm:digest`
    Htdigest(Option<Text>),
    None,
}

impl Store {
    pub(super) fn of(auth: &Auth) -> Self {
        match auth.backend.as_deref() {
            Some("plain") => Self::Plain(auth.backend_plain_userfile.clone()),
            Some("htpasswd") => Self::Htpasswd(auth.backend_htpasswd_userfile.clone()),
            Some("htdigest") => Self::Htdigest(auth.backend_htdigest_userfile.clone()),
            _ => Self::None,
        }
    }

    /// Whether the password is the user's. Takes as long as the hash takes.
    pub(super) fn is_right(&self, name: &str, password: &str, realm: &str) -> bool {
        let same = |left: &str, right: &str| {
            aws_lc_rs::constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
        };
        match self {
            Self::Plain(file) => {
                secret_of(file.as_deref(), &[name]).is_some_and(|secret| same(&secret, password))
            }
            Self::Htpasswd(file) => {
                let text = file.as_deref().and_then(read).unwrap_or_default();
                match secret_in(&text, &[name]).filter(|_| is_field(name)) {
                    Some(stored) => password::matches(&stored, password),
                    // An unknown user takes as long as a known one: how long it takes tells nobody who is there.
                    None => {
                        let of_somebody = text.lines().find_map(|line| line.split(':').nth(1));
                        let _ = of_somebody.is_some_and(|stored| password::matches(stored.trim(), password));
                        false
                    }
                }
            }
            Self::Htdigest(file) => secret_of(file.as_deref(), &[name, realm]).is_some_and(|stored| {
                use md5::Digest as _;
                let made = super::digest::hex(&md5::Md5::digest(format!("{name}:{realm}:{password}")));
                same(&stored.to_ascii_lowercase(), &made)
            }),
            Self::None => false,
        }
    }

    /// The hash of user, realm and password that digests begin with; `None` for an unknown user, and for hashes from which it
    /// cannot be made.
    pub(super) fn digest_secret(
        &self,
        name: &str,
        realm: &str,
        hash: impl Fn(&str) -> String,
    ) -> Option<String> {
        match self {
            Self::Plain(file) => {
                let password = secret_of(file.as_deref(), &[name])?;
                Some(hash(&format!("{name}:{realm}:{password}")))
            }
            Self::Htdigest(file) => {
                secret_of(file.as_deref(), &[name, realm]).map(|secret| secret.to_ascii_lowercase())
            }
            Self::Htpasswd(_) | Self::None => None,
        }
    }
}

fn read(file: &str) -> Option<String> {
    let read = std::fs::metadata(file).and_then(|facts| match facts.len() <= USERS_BYTES_MAX {
        true => std::fs::read(file),
        false => Err(std::io::ErrorKind::FileTooLarge.into()),
    });
    match read {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => {
            tracing::error!(%error, file, "a file of users cannot be read");
            None
        }
    }
}

/// What follows the given fields on their line.
fn secret_of(file: Option<&str>, fields: &[&str]) -> Option<String> {
    if !fields.iter().all(|field| is_field(field)) {
        return None;
    }
    secret_in(&read(file?)?, fields)
}

/// Whether a text can stand between two colons of a line.
fn is_field(text: &str) -> bool {
    !text.contains([':', '\n', '\r'])
}

fn secret_in(text: &str, fields: &[&str]) -> Option<String> {
    text.lines().map(str::trim_end).filter(|line| !line.starts_with('#')).find_map(|line| {
        let rest =
            fields.iter().try_fold(line, |rest, field| rest.strip_prefix(*field)?.strip_prefix(':'))?;
        // htpasswd files may go on with fields of other programs.
        let secret =
            if fields.len() == 1 && rest.starts_with(['$', '{']) { rest.split(':').next()? } else { rest };
        (!secret.is_empty()).then(|| secret.to_owned())
    })
}

/// `group: user user`
pub(super) fn is_in_group(file: &str, name: &str, groups: &[Text]) -> bool {
    let Some(text) = read(file) else { return false };
    text.lines().filter_map(|line| line.split_once(':')).any(|(group, users)| {
        groups.iter().any(|wanted| **wanted == *group.trim())
            && users.split([' ', '\t', ',']).any(|user| user == name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_users() {
        let text = "# comment\njan:jan\nanna:$apr1$x$y:other\nu:r:abc\n\nblank:\n";
        assert_eq!(secret_in(text, &["jan"]).as_deref(), Some("jan"));
        assert_eq!(secret_in(text, &["anna"]).as_deref(), Some("$apr1$x$y"));
        assert_eq!(secret_in(text, &["u", "r"]).as_deref(), Some("abc"));
        for unknown in [&["ja"][..], &["blank"], &["# comment"], &["u", "q"], &[""]] {
            assert_eq!(secret_in(text, unknown), None, "{unknown:?}");
        }
        assert_eq!(secret_of(Some("/etc/hostname"), &["a:b"]), None);
    }
}
