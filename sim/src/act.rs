//! What fate does to the world: the words of a script, and of a plan drawn from a seed.

use crate::chance::Chance;
use crate::moment::Moment;
use crate::network::Host;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// One blow of fate, or its end. Its `Display` is what [`FromStr`] reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `start control-0`: a machine comes up, with what it has on disk.
    Start(Host),
    /// `crash proxy-1`: a machine dies with all that was in its memory.
    Crash(Host),
    /// `stop control-0`: a machine is told to end, and says goodbye.
    Stop(Host),
    /// `cut control-0 proxy-1`: nothing passes between the two.
    Cut(Host, Host),
    /// `mute control-0 proxy-1`: nothing passes from the first to the second.
    Mute(Host, Host),
    /// `heal`: everything passes again.
    Heal,
    /// `reset control-0 proxy-1`: the connections between the two break.
    Reset(Host, Host),
    /// `storm 200`: so many accesses in a thousand to the store fail.
    Storm(u16),
    /// `calm`: the store works.
    Calm,
    /// `crash store`: the store's server dies; what was committed is on its disk.
    CrashStore,
    /// `start store`: the store's server is back.
    StartStore,
}

/// The machines of a world.
#[derive(Clone, Copy, Debug)]
pub struct Cast {
    /// Replicas of the control plane.
    pub controls: u8,
    /// Sidecars and gateways.
    pub proxies: u8,
    /// Users of the API.
    pub clients: u8,
}

impl Cast {
    /// Whether `host` is among them.
    pub fn has(self, host: Host) -> bool {
        match host {
            Host::Client(index) => index < self.clients,
            Host::Control(index) => index < self.controls,
            Host::Proxy(index) => index < self.proxies,
        }
    }
}

/// A word that is no [`Act`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an act: {0:?}")]
pub struct Unreadable(String);

/// Draws the misfortunes of the time before `peace`. Everything that dies is started again by then at the
/// latest, by [`peace`].
pub fn misfortunes(chance: &mut Chance, cast: Cast, until: Moment) -> Vec<(Moment, Act)> {
    let mut plan = Vec::new();
    for _ in 0..2 + chance.below(10) {
        let at = Moment::START + chance.between(Duration::ZERO, until.since_start());
        let rest = chance.between(Duration::from_millis(50), Duration::from_secs(20));
        let (act, end) = misfortune(chance, cast);
        plan.push((at, act));
        plan.extend(end.filter(|_| at + rest < until).map(|end| (at + rest, end)));
    }
    plan
}

/// What ends every misfortune.
pub fn peace(cast: Cast) -> Vec<Act> {
    let controls = (0..cast.controls).map(Host::Control);
    let proxies = (0..cast.proxies).map(Host::Proxy);
    [Act::Calm, Act::StartStore, Act::Heal]
        .into_iter()
        .chain(controls.chain(proxies).map(Act::Start))
        .collect()
}

/// A blow, and what ends it.
fn misfortune(chance: &mut Chance, cast: Cast) -> (Act, Option<Act>) {
    let mut one = |count: u8| u8::try_from(chance.below(count.into())).expect("below a u8");
    let (control, proxy, client) = (one(cast.controls), one(cast.proxies), one(cast.clients));
    let (control, proxy, client) = (Host::Control(control), Host::Proxy(proxy), Host::Client(client));
    let far = chance.pick(&[proxy, proxy, client]);
    match chance.below(14) {
        12 => (Act::Stop(control), Some(Act::Start(control))),
        13 => (Act::Stop(proxy), Some(Act::Start(proxy))),
        0 | 1 => (Act::Crash(control), Some(Act::Start(control))),
        2 | 3 => (Act::Crash(proxy), Some(Act::Start(proxy))),
        4 => (Act::Cut(control, far), Some(Act::Heal)),
        5 => (Act::Mute(control, far), Some(Act::Heal)),
        6 => (Act::Mute(far, control), Some(Act::Heal)),
        7 | 8 => (Act::Reset(control, far), None),
        9 => (Act::CrashStore, Some(Act::StartStore)),
        _ => (Act::Storm(chance.pick(&[30, 150, 500])), Some(Act::Calm)),
    }
}

// === impl Act ===

impl Act {
    /// Whom it concerns.
    pub fn hosts(self) -> Vec<Host> {
        match self {
            Self::Start(host) | Self::Stop(host) | Self::Crash(host) => vec![host],
            Self::Cut(one, other) | Self::Mute(one, other) | Self::Reset(one, other) => vec![one, other],
            Self::Heal | Self::Storm(_) | Self::Calm | Self::CrashStore | Self::StartStore => Vec::new(),
        }
    }
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(host) => write!(f, "start {host}"),
            Self::Crash(host) => write!(f, "crash {host}"),
            Self::Stop(host) => write!(f, "stop {host}"),
            Self::Cut(one, other) => write!(f, "cut {one} {other}"),
            Self::Mute(from, to) => write!(f, "mute {from} {to}"),
            Self::Heal => f.write_str("heal"),
            Self::Reset(one, other) => write!(f, "reset {one} {other}"),
            Self::Storm(per_mille) => write!(f, "storm {per_mille}"),
            Self::Calm => f.write_str("calm"),
            Self::CrashStore => f.write_str("crash store"),
            Self::StartStore => f.write_str("start store"),
        }
    }
}

impl FromStr for Act {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable(text.to_owned());
        let host = |word: &str| word.parse::<Host>().map_err(|_| unreadable());
        let words: Vec<_> = text.split_whitespace().collect();
        Ok(match words[..] {
            ["start", "store"] => Self::StartStore,
            ["start", name] => Self::Start(host(name)?),
            ["crash", "store"] => Self::CrashStore,
            ["crash", name] => Self::Crash(host(name)?),
            ["stop", name] => Self::Stop(host(name)?),
            ["cut", one, other] => Self::Cut(host(one)?, host(other)?),
            ["mute", from, to] => Self::Mute(host(from)?, host(to)?),
            ["heal"] => Self::Heal,
            ["reset", one, other] => Self::Reset(host(one)?, host(other)?),
            ["storm", per_mille] => Self::Storm(per_mille.parse().map_err(|_| unreadable())?),
            ["calm"] => Self::Calm,
            _ => return Err(unreadable()),
        })
    }
}

impl FromStr for Host {
    type Err = Unreadable;

    fn from_str(text: &str) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable(text.to_owned());
        let (kind, number) = text.split_once('-').ok_or_else(unreadable)?;
        let number = number.parse().map_err(|_| unreadable())?;
        match kind {
            "client" => Ok(Self::Client(number)),
            "control" => Ok(Self::Control(number)),
            "proxy" => Ok(Self::Proxy(number)),
            _ => Err(unreadable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAST: Cast = Cast { controls: 2, proxies: 3, clients: 2 };

    #[test]
    fn an_act_reads_back_what_it_writes() {
        let until = Moment::START + Duration::from_secs(60);
        for seed in 0..50 {
            let plan = misfortunes(&mut Chance::new(seed), CAST, until);
            for act in plan.into_iter().map(|(_, act)| act).chain(peace(CAST)) {
                assert_eq!(act.to_string().parse(), Ok(act));
            }
        }
    }

    #[test]
    fn what_is_no_act_is_refused() {
        for text in
            ["", "start", "start moon-1", "crash control-x", "storm hard", "heal all", "cut control-0"]
        {
            assert_eq!(text.parse::<Act>(), Err(Unreadable(text.to_owned())));
        }
    }
}
