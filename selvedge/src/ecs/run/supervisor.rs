//! A task's life: everything started when what it waits for is so, everything ended in reverse.
//!
//! ```text
//! waiting ──dependencies hold──▶ running ──▶ ended
//!    │                             │  an essential one ends, Ctrl-C, a dependency can never hold
//!    └────────── stop: dependents first, then what they depend on ◀──┘
//! ```

use std::time::Duration;

use nix::sys::signal::Signal as Name;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::super::task::Condition;
use super::container::{Plan, Planned};
use super::health::{self, Health};
use super::namespace::Namespace;
use crate::command::proxy::admin::Sidecar;
use crate::supervise::Signals;

/// ECS waits so long for a dependency unless `startTimeout` says otherwise.
const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(180);
/// What came in before the end is asked for may take so long.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);
const ADMIN: &str = "http://127.0.0.1:9901";

/// A container's stage.
#[derive(Debug)]
enum Stage {
    Waiting {
        since: Instant,
    },
    Running {
        signals: Signals,
        ended: watch::Receiver<Option<u8>>,
        health: watch::Receiver<Health>,
        checks: Option<JoinHandle<()>>,
    },
    Ended {
        code: u8,
    },
}

/// A container with its stage.
struct Unit {
    planned: Planned,
    stage: Stage,
}

/// The task.
pub(super) struct Supervisor {
    units: Vec<Unit>,
    sidecar: Option<String>,
    /// Rings when anything has changed.
    bell: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

/// Whether a dependency holds.
#[derive(Debug, PartialEq, Eq)]
enum Held {
    Yes,
    NotYet,
    Never(String),
}

impl Supervisor {
    pub(super) fn new(plan: Plan, namespace: &Namespace) -> Self {
        let more = namespace.address_v6.as_ref().map(|v6| format!(" and {v6}")).unwrap_or_default();
        say(&format!("the task's address is {}{more}", namespace.address));
        let sidecar = plan.sidecar().map(str::to_owned);
        let since = Instant::now();
        let units = plan
            .containers
            .into_iter()
            .map(|planned| Unit { planned, stage: Stage::Waiting { since } })
            .collect();
        Self { units, sidecar, bell: mpsc::channel(1) }
    }

    /// Runs the task to its end; the exit code of whoever ended it.
    pub(super) async fn run(mut self) -> anyhow::Result<u8> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let code = loop {
            self.note_ends();
            if let Some(code) = self.verdict() {
                break code;
            }
            if let Err(problem) = self.start_whoever_can() {
                say(&format!("{problem:#}"));
                break 1;
            }
            let next = self.next_timeout();
            tokio::select! {
                _ = self.bell.1.recv() => {}
                () = tokio::time::sleep_until(next) => {}
                _ = terminate.recv() => break 128 + 15,
                _ = interrupt.recv() => break 128 + 2,
            }
        };
        tokio::select! {
            () = self.stop() => {}
            _ = terminate.recv() => self.kill(),
            _ = interrupt.recv() => self.kill(),
        }
        Ok(code)
    }

    /// The exit code if the task is over: an essential container has ended, or all have.
    fn verdict(&self) -> Option<u8> {
        let ended = |unit: &Unit| match unit.stage {
            Stage::Ended { code } => {
                Some((unit.planned.container.essential, unit.planned.name().to_owned(), code))
            }
            _ => None,
        };
        if let Some((_, name, code)) = self.units.iter().filter_map(ended).find(|(essential, ..)| *essential)
        {
            say(&format!("{name} is essential and has ended with {code}"));
            return Some(code);
        }
        let codes: Vec<u8> = self.units.iter().filter_map(ended).map(|(.., code)| code).collect();
        (codes.len() == self.units.len()).then(|| codes.into_iter().max().unwrap_or(0))
    }

    fn note_ends(&mut self) {
        for unit in &mut self.units {
            let Stage::Running { ended, checks, .. } = &mut unit.stage else { continue };
            let code = *ended.borrow_and_update();
            if let Some(code) = code {
                if let Some(checks) = checks.take() {
                    checks.abort();
                }
                if !unit.planned.container.essential {
                    say(&format!("{} has ended with {code}", unit.planned.name()));
                }
                unit.stage = Stage::Ended { code };
            }
        }
    }

    /// # Errors
    /// A container waits for what can never be, has waited too long, or cannot be started.
    fn start_whoever_can(&mut self) -> anyhow::Result<()> {
        for index in 0..self.units.len() {
            let Stage::Waiting { since } = self.units[index].stage else { continue };
            match self.dependencies(index) {
                Held::Never(why) => anyhow::bail!("{} cannot start: {why}", self.units[index].planned.name()),
                Held::NotYet if since + self.patience(index) <= Instant::now() => {
                    anyhow::bail!(
                        "{} has waited too long for what it depends on",
                        self.units[index].planned.name()
                    )
                }
                Held::NotYet => {}
                Held::Yes => self.start(index)?,
            }
        }
        Ok(())
    }

    fn dependencies(&self, index: usize) -> Held {
        let mut held = Held::Yes;
        for dependency in &self.units[index].planned.container.depends_on {
            let name = &dependency.container_name;
            let Some(on) = self.units.iter().find(|unit| unit.planned.name() == name) else { continue };
            match (holds(&on.stage, dependency.condition, name), &held) {
                (never @ Held::Never(_), _) => return never,
                (Held::NotYet, _) => held = Held::NotYet,
                (Held::Yes, _) => {}
            }
        }
        held
    }

    /// How long a container waits: the longest `startTimeout` of those that it waits for.
    fn patience(&self, index: usize) -> Duration {
        let on = |name: &str| self.units.iter().find(|unit| unit.planned.name() == name);
        let timeouts = self.units[index].planned.container.depends_on.iter().map(|dependency| {
            let timeout =
                on(&dependency.container_name).and_then(|unit| unit.planned.container.start_timeout);
            timeout.map_or(START_TIMEOUT_DEFAULT, Duration::from_secs)
        });
        timeouts.max().unwrap_or(START_TIMEOUT_DEFAULT)
    }

    fn next_timeout(&self) -> Instant {
        let waiting = self.units.iter().enumerate().filter_map(|(index, unit)| match unit.stage {
            Stage::Waiting { since } => Some(since + self.patience(index)),
            _ => None,
        });
        waiting.min().unwrap_or_else(|| Instant::now() + Duration::from_secs(3600))
    }

    fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let unit = &mut self.units[index];
        let mut child = unit.planned.spec()?.start()?;
        say(&format!("{} has started", unit.planned.name()));
        let signals = child.signals();
        let (tell_end, ended) = watch::channel(None);
        let bell = self.bell.0.clone();
        tokio::spawn(async move {
            let code = child.ended().await.code;
            tell_end.send_replace(Some(code));
            // A bell that rings already is heard.
            let _ = bell.try_send(());
        });
        let (tell_health, health) = watch::channel(Health::Unknown);
        let checks = unit.planned.probe().map(|(check, probe)| {
            let (check, bell, name) = (check.clone(), self.bell.0.clone(), unit.planned.name().to_owned());
            let mut told = tell_health.subscribe();
            tokio::spawn(async move {
                let ring = async {
                    let mut before = Health::Unknown;
                    while told.changed().await.is_ok() {
                        let health = *told.borrow_and_update();
                        if health != before {
                            say(&format!(
                                "{name} is {}",
                                if health == Health::Healthy { "healthy" } else { "unhealthy" }
                            ));
                            let _ = bell.try_send(());
                        }
                        before = health;
                    }
                };
                tokio::join!(health::watch(check, probe, tell_health), ring);
            })
        });
        unit.stage = Stage::Running { signals, ended, health, checks };
        // Whoever waits for this one's start may go on at once.
        let _ = self.bell.0.try_send(());
        Ok(())
    }

    /// Ends everything: what comes in first, then each container before those that it depends on.
    async fn stop(&mut self) {
        self.drain().await;
        loop {
            self.note_ends();
            let running: Vec<&Unit> =
                self.units.iter().filter(|unit| matches!(unit.stage, Stage::Running { .. })).collect();
            if running.is_empty() {
                return;
            }
            let needed = |unit: &Unit| {
                running.iter().any(|other| {
                    other
                        .planned
                        .container
                        .depends_on
                        .iter()
                        .any(|on| on.container_name == unit.planned.name())
                })
            };
            let is_sidecar = |unit: &Unit| self.sidecar.as_deref() == Some(unit.planned.name());
            let last = running.iter().all(|unit| is_sidecar(unit) || needed(unit));
            // The sidecar is the way out of all others, whether they say so or not.
            let going: Vec<&&Unit> =
                running.iter().filter(|unit| !needed(unit) && (last || !is_sidecar(unit))).collect();
            let stops = going.into_iter().filter_map(|unit| match &unit.stage {
                Stage::Running { signals, ended, .. } => {
                    say(&format!("stopping {}", unit.planned.name()));
                    Some(stop(*signals, ended.clone(), unit.planned.stop_timeout()))
                }
                _ => None,
            });
            let stops: Vec<JoinHandle<()>> = stops.map(tokio::spawn).collect();
            for stop in stops {
                let _ = stop.await;
            }
        }
    }

    /// Has a sidecar that still runs take nothing more in.
    async fn drain(&self) {
        let runs = self.units.iter().any(|unit| {
            matches!(unit.stage, Stage::Running { .. })
                && self.sidecar.as_deref() == Some(unit.planned.name())
        });
        let apps = self.units.iter().any(|unit| {
            matches!(unit.stage, Stage::Running { .. })
                && self.sidecar.as_deref() != Some(unit.planned.name())
        });
        if runs
            && apps
            && let Ok(sidecar) = Sidecar::at(ADMIN)
        {
            // Another program may stand in the sidecar's place; then the applications simply end.
            let _ = sidecar.drain(DRAIN_PATIENCE).await;
        }
    }

    fn kill(&self) {
        for unit in &self.units {
            if let Stage::Running { signals, .. } = &unit.stage {
                signals.send(Name::SIGKILL);
            }
        }
    }
}

async fn stop(signals: Signals, mut ended: watch::Receiver<Option<u8>>, patience: Duration) {
    signals.send(Name::SIGTERM);
    if tokio::time::timeout(patience, ended.wait_for(Option::is_some)).await.is_err() {
        signals.send(Name::SIGKILL);
        let _ = ended.wait_for(Option::is_some).await;
    }
}

fn holds(stage: &Stage, condition: Condition, name: &str) -> Held {
    match (condition, stage) {
        (_, Stage::Waiting { .. }) => Held::NotYet,
        (Condition::Start, _) | (Condition::Complete, Stage::Ended { .. }) => Held::Yes,
        (Condition::Success, Stage::Ended { code: 0 }) => Held::Yes,
        (Condition::Success, Stage::Ended { code }) => Held::Never(format!("{name} has ended with {code}")),
        (Condition::Healthy, Stage::Ended { .. }) => Held::Never(format!("{name} has ended")),
        (Condition::Complete | Condition::Success, Stage::Running { .. }) => Held::NotYet,
        (Condition::Healthy, Stage::Running { health, .. }) => match *health.borrow() {
            Health::Healthy => Held::Yes,
            Health::Unknown => Held::NotYet,
            Health::Unhealthy => Held::Never(format!("{name} is unhealthy")),
        },
    }
}

/// What happens to the task, among the lines of its containers.
fn say(text: &str) {
    eprintln!("task | {text}");
}
