//! Giving up root.

use std::str::FromStr;

use anyhow::Context as _;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

/// A user and a group by their numbers: `1337`, or `1337:1338`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number =
            |text: &str| text.parse().map_err(|_| format!("{text:?} is no number; write UID or UID:GID"));
        let (uid, gid) = text.split_once(':').unwrap_or((text, text));
        Ok(Self { uid: number(uid)?, gid: number(gid)? })
    }
}

impl User {
    /// Becomes that user, for good, with no group but its own. Before any thread is started.
    ///
    /// # Errors
    /// The process may not, because it is not root.
    pub(crate) fn become_it(self) -> anyhow::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        if Uid::current() == uid && Gid::current() == gid {
            return Ok(());
        }
        let become_it = || {
            setgroups(&[])?;
            setresgid(gid, gid, gid)?;
            setresuid(uid, uid, uid)
        };
        become_it().with_context(|| format!("failed to become user {} (only root may)", self.uid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_the_users_own_unless_named() {
        for (text, expected) in [
            ("1337", Some((1337, 1337))),
            ("1337:7", Some((1337, 7))),
            ("envoy", None),
            ("1337:", None),
            ("-1", None),
        ] {
            let read = text.parse::<User>().ok().map(|user| (user.uid, user.gid));
            assert_eq!(read, expected, "{text}");
        }
    }
}
