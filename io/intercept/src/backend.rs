//! Who speaks to the kernel: nftables, or iptables where that is what there is.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::iptables::{self, Family, Saved};
use crate::nft;
use crate::program::{Failure, run};
use crate::settings::Settings;

/// Seconds to wait for somebody else who is changing iptables' rules.
const LOCK_WAIT: &str = "5";

/// A program that installs rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Nft,
    Iptables,
}

/// Which backend is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// nftables, or iptables where `nft` is missing or the kernel does not take it.
    #[default]
    Auto,
    This(Backend),
}

/// Rules that could not be installed, removed or read. Unless it says otherwise, all stands as it did before.
#[derive(Debug, Error)]
pub enum Error {
    #[error("these rules cannot be meant: {0}")]
    Contradiction(String),
    #[error(
        "neither nft nor iptables can be used here ({nft}; {iptables}): install nftables, and run as root"
    )]
    Nobody { nft: Failure, iptables: Failure },
    #[error("the rules were not changed: {0}")]
    Failed(#[source] Failure),
    #[error("the rules are in an unknown state: {failure}, and then could not be rolled back: {rollback}")]
    Broken { failure: Failure, rollback: Failure },
}

impl Choice {
    /// The backend that is there.
    ///
    /// # Errors
    /// [`Error::Nobody`]
    pub fn find(self) -> Result<Backend, Error> {
        match self {
            Self::This(backend) => Ok(backend),
            Self::Auto => match run("nft", &["list", "tables"], "") {
                Ok(_) => Ok(Backend::Nft),
                Err(nft) => match found(Family::V4) {
                    Ok(_) => Ok(Backend::Iptables),
                    Err(iptables) => Err(Error::Nobody { nft, iptables }),
                },
            },
        }
    }
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "nft" => Ok(Self::This(Backend::Nft)),
            "iptables" => Ok(Self::This(Backend::Iptables)),
            _ => Err("write auto, nft or iptables".to_owned()),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::This(backend) => backend.fmt(f),
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nft",
            Self::Iptables => "iptables",
        })
    }
}

impl Backend {
    /// What [`Backend::install`] would hand over if nothing of ours stood there: a person's view, or a script's.
    pub fn script(self, settings: &Settings) -> String {
        match self {
            Self::Nft => nft::install(settings),
            Self::Iptables => {
                let wanted = Family::BOTH.into_iter().filter(|family| family.is_wanted(settings));
                wanted
                    .map(|family| {
                        let text = iptables::install(settings, family, &Saved::default());
                        format!("# {}-restore --noflush\n{text}", family.program())
                    })
                    .collect()
            }
        }
    }

    /// Leaves exactly these rules, whatever stood there before; or, if any of them cannot be, what stood there before.
    /// Rules of ours that the other backend holds are taken away: a connection must not be redirected twice.
    ///
    /// # Errors
    /// The settings contradict themselves, or a program refused. [`Error::Broken`] alone leaves something else.
    pub fn install(self, settings: &Settings) -> Result<(), Error> {
        if let Some(contradiction) = settings.contradiction() {
            return Err(Error::Contradiction(contradiction));
        }
        let before = State::read(self)?;
        let installed = self.put(settings).and_then(|()| before.clear(self.other()));
        installed.map_err(|failure| before.roll_back(failure))
    }

    /// Takes away every rule of ours, whichever backend holds it. Nothing to do is a success.
    ///
    /// # Errors
    /// As [`Backend::install`].
    pub fn remove(self) -> Result<(), Error> {
        let before = State::read(self)?;
        let removed = before.clear(self).and_then(|()| before.clear(self.other()));
        removed.map_err(|failure| before.roll_back(failure))
    }

    /// The rules of ours that this backend holds, as it prints them; empty if there are none.
    ///
    /// # Errors
    /// A program refused.
    pub fn show(self) -> Result<String, Error> {
        match self {
            Self::Nft => listed().map(Option::unwrap_or_default).map_err(Error::Failed),
            Self::Iptables => {
                let mut text = String::new();
                for family in Family::BOTH {
                    for line in found(family).map_err(Error::Failed)?.lines() {
                        text.push_str(&format!("{} -t nat {line}\n", family.program()));
                    }
                }
                Ok(text)
            }
        }
    }

    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::Nft => Self::Iptables,
            Self::Iptables => Self::Nft,
        }
    }

    fn put(self, settings: &Settings) -> Result<(), Failure> {
        match self {
            Self::Nft => run("nft", &["-f", "-"], &nft::install(settings)).map(drop),
            Self::Iptables => Family::BOTH.into_iter().try_for_each(|family| {
                let found = found(family).or_else(|failure| absent(family, settings, failure))?;
                match family.is_wanted(settings) {
                    true => restore(family, &iptables::install(settings, family, &found)),
                    false if found.is_empty() => Ok(()),
                    false => restore(family, &iptables::remove(&found)),
                }
            }),
        }
    }
}

/// What of ours stood there before a change.
struct State {
    nft: Option<String>,
    iptables: [Saved; 2],
}

impl State {
    /// Reads both backends. The one that is not asked for may be missing, or useless here: then it holds nothing.
    fn read(asked: Backend) -> Result<Self, Error> {
        let needed = |backend: Backend, failure: Failure| {
            if asked == backend { Err(Error::Failed(failure)) } else { Ok(()) }
        };
        let nft = match listed() {
            Ok(listed) => listed,
            Err(failure) => needed(Backend::Nft, failure).map(|()| None)?,
        };
        let mut iptables = <[Saved; 2]>::default();
        for (family, place) in Family::BOTH.into_iter().zip(&mut iptables) {
            match found(family) {
                Ok(found) => *place = found,
                // A host without IPv6 has no ip6tables, and needs none unless it is asked for.
                Err(failure) if failure.is_missing() && family == Family::V6 => {}
                Err(failure) => needed(Backend::Iptables, failure)?,
            }
        }
        Ok(Self { nft, iptables })
    }

    /// Takes away what a backend held.
    fn clear(&self, backend: Backend) -> Result<(), Failure> {
        match backend {
            Backend::Nft if self.nft.is_none() => Ok(()),
            Backend::Nft => run("nft", &["-f", "-"], &nft::remove()).map(drop),
            Backend::Iptables => {
                Family::BOTH.into_iter().zip(&self.iptables).try_for_each(|(family, held)| {
                    if held.is_empty() { Ok(()) } else { restore(family, &iptables::remove(held)) }
                })
            }
        }
    }

    /// Leads back to this state after a failure, and says whether that succeeded.
    fn roll_back(&self, failure: Failure) -> Error {
        match self.restore() {
            Ok(()) => Error::Failed(failure),
            Err(rollback) => Error::Broken { failure, rollback },
        }
    }

    fn restore(&self) -> Result<(), Failure> {
        for (family, before) in Family::BOTH.into_iter().zip(&self.iptables) {
            match found(family) {
                Ok(now) if now == *before => {}
                Ok(now) => restore(family, &before.restored_from(&now))?,
                // Who cannot be asked could not be changed either.
                Err(_) if before.is_empty() => {}
                Err(failure) => return Err(failure),
            }
        }
        match listed() {
            Ok(now) if now == self.nft => Ok(()),
            Ok(_) => {
                let text = format!("{}{}", nft::remove(), self.nft.as_deref().unwrap_or_default());
                run("nft", &["-f", "-"], &text).map(drop)
            }
            Err(_) if self.nft.is_none() => Ok(()),
            Err(failure) => Err(failure),
        }
    }
}

/// Where rules are not wanted, a missing program is no obstacle.
fn absent(family: Family, settings: &Settings, failure: Failure) -> Result<Saved, Failure> {
    if failure.is_missing() && !family.is_wanted(settings) { Ok(Saved::default()) } else { Err(failure) }
}

/// Our table, if it stands.
fn listed() -> Result<Option<String>, Failure> {
    let tables = run("nft", &["list", "tables", "inet"], "")?;
    let ours = format!("table inet {}", nft::TABLE);
    if !tables.lines().any(|line| line.trim() == ours) {
        return Ok(None);
    }
    run("nft", &["list", "table", "inet", nft::TABLE], "").map(Some)
}

/// Our chains in the table `nat`.
fn found(family: Family) -> Result<Saved, Failure> {
    run(&format!("{}-save", family.program()), &["-t", "nat"], "").map(|text| Saved::parse(&text))
}

fn restore(family: Family, text: &str) -> Result<(), Failure> {
    run(&format!("{}-restore", family.program()), &["--noflush", "-w", LOCK_WAIT], text).map(drop)
}
