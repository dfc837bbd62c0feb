//! Schedules: executions that start by the clock, in EventBridge Scheduler's words.
//!
//! ```text
//! due ─▶ StartExecution, named by schedule and tick ─▶ the next tick is durable
//! ```
//!
//! A crash between the two starts it again: the same name is the same execution, so that a tick starts one, however many servers
//! see it. Ticks that were missed while no server was up are caught up with as the schedule says: all of them, the latest, or none;
//! never one that is older than its `MaximumEventAgeInSeconds`. What cannot be started is a dead letter.
//!
//! | key | document |
//! |---|---|
//! | `schedule/G/N` | [`Schedule`] |
//! | `schedule-group/G` | [`Group`] |

mod expression;
mod operations;
mod tick;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use selvedge_store::Error as StoreError;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub(crate) use operations::found;
pub use operations::perform;
pub(crate) use tick::start as start_ticking;

use crate::record;

/// Schedules.
pub const SCHEDULES_MAX: usize = 10_000;
/// Groups of schedules.
pub const GROUPS_MAX: usize = 500;
/// The oldest tick that is caught up with, unless the schedule says otherwise: seconds.
const EVENT_AGE_SECONDS: i64 = 86_400;
const DEFAULT_GROUP: &str = "default";

/// What becomes of ticks that nobody saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum CatchUp {
    /// Each starts one.
    All,
    /// The last one does.
    #[default]
    Latest,
    /// None does.
    None,
}

/// What became of the last tick.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Last {
    pub(crate) tick_ms: i64,
    pub(crate) at_ms: i64,
    pub(crate) execution: Option<String>,
    pub(crate) error: Option<String>,
}

/// A schedule as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Schedule {
    pub(crate) group: String,
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) expression: String,
    pub(crate) zone: String,
    pub(crate) start_ms: Option<i64>,
    pub(crate) end_ms: Option<i64>,
    pub(crate) is_enabled: bool,
    /// As they were given.
    pub(crate) description: Option<String>,
    pub(crate) kms_key: Option<String>,
    pub(crate) target: Value,
    pub(crate) window: Value,
    pub(crate) is_deleted_after: bool,
    pub(crate) client_token: Option<String>,
    pub(crate) created_ms: i64,
    pub(crate) updated_ms: i64,
    /// Where a rate counts from.
    pub(crate) anchor_ms: i64,
    /// The next tick, while there is one.
    pub(crate) next_ms: Option<i64>,
    #[serde(default)]
    pub(crate) catch_up: CatchUp,
    pub(crate) last: Option<Last>,
    /// Executions that it has started, and ticks that it has left out.
    pub(crate) started: u64,
    pub(crate) missed: u64,
}

/// A group as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) created_ms: i64,
    pub(crate) client_token: Option<String>,
    /// Key and value, in the order in which they were given.
    #[serde(default)]
    pub(crate) tags: Vec<(String, String)>,
}

impl CatchUp {
    pub(crate) fn of(text: &str) -> Option<Self> {
        [Self::All, Self::Latest, Self::None]
            .into_iter()
            .find(|policy| policy.name().eq_ignore_ascii_case(text))
    }

    fn name(self) -> &'static str {
        match self {
            Self::All => "ALL",
            Self::Latest => "LATEST",
            Self::None => "NONE",
        }
    }
}

impl Schedule {
    /// What of it EventBridge's words do not tell.
    pub(crate) fn show(&self) -> Value {
        json!({
            "group": self.group,
            "name": self.name,
            "arn": self.arn,
            "expression": self.expression,
            "timezone": self.zone,
            "state": if self.is_enabled { "ENABLED" } else { "DISABLED" },
            "target": self.target["Arn"],
            "input": self.target["Input"],
            "catchUp": self.catch_up.name(),
            "nextMs": self.next_due_ms(),
            "next": self.next_due_ms().map(selvedge_asl::format_timestamp),
            "last": self.last.as_ref().map(|last| json!({
                "tickMs": last.tick_ms, "atMs": last.at_ms, "execution": last.execution, "error": last.error,
            })),
            "started": self.started,
            "missed": self.missed,
        })
    }

    fn key(&self) -> String {
        key(&self.group, &self.name)
    }

    fn parsed(&self) -> Result<(expression::Expression, jiff::tz::TimeZone), expression::Misfit> {
        Ok((expression::Expression::parse(&self.expression)?, expression::zone(&self.zone)?))
    }

    /// The first tick after that time and within its own dates.
    fn next_after(&self, after_ms: i64) -> Option<i64> {
        let (expression, zone) = self.parsed().ok()?;
        let after_ms = self.start_ms.map_or(after_ms, |start_ms| after_ms.max(start_ms - 1));
        expression
            .next(&zone, self.anchor_ms, after_ms)
            .filter(|next| self.end_ms.is_none_or(|end_ms| *next <= end_ms))
    }

    /// When a tick is due: at once, or within its flexible window, at a moment that is drawn by the schedule and the tick. So it is the
    /// same after a restart, and schedules of one time do not start at one moment.
    fn due_ms(&self, tick_ms: i64) -> i64 {
        let Some(minutes) = self.window["MaximumWindowInMinutes"].as_u64().filter(|minutes| *minutes > 0)
        else {
            return tick_ms;
        };
        let drawn = record::fingerprint(&["window", &self.arn, &tick_ms.to_string()]);
        let drawn =
            drawn.get(..8).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default();
        tick_ms.saturating_add_unsigned(drawn % minutes.saturating_mul(60_000))
    }

    /// When the next tick is due, while it is enabled.
    fn next_due_ms(&self) -> Option<i64> {
        self.next_ms.filter(|_| self.is_enabled).map(|tick_ms| self.due_ms(tick_ms))
    }

    /// The oldest tick that is started late.
    fn age_max_ms(&self) -> i64 {
        self.target["RetryPolicy"]["MaximumEventAgeInSeconds"].as_i64().unwrap_or(EVENT_AGE_SECONDS) * 1000
    }

    /// The name of what a tick starts: at most eighty characters, the same for the same tick.
    fn execution_name(&self, tick_ms: i64) -> String {
        const PLAIN_MAX: usize = 63;
        const NAME_MAX: usize = 54;
        let text: String =
            selvedge_asl::format_timestamp(tick_ms).chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let tick = format!("{}Z", text.split('.').next().unwrap_or_default());
        if self.group == DEFAULT_GROUP && self.name.len() <= PLAIN_MAX {
            return format!("{}-{tick}", self.name);
        }
        let name: String = self.name.chars().take(NAME_MAX).collect();
        let which = record::fingerprint(&[&self.group, &self.name]);
        format!("{name}-{}-{tick}", which.get(..8).unwrap_or_default())
    }
}

fn key(group: &str, name: &str) -> String {
    format!("schedule/{group}/{name}")
}

fn group_key(name: &str) -> String {
    format!("schedule-group/{name}")
}

/// The next ticks of all schedules, in memory.
#[derive(Default)]
pub(crate) struct Table {
    next: Mutex<BTreeMap<String, i64>>,
    changed: tokio::sync::Notify,
}

impl Table {
    fn ticks(&self) -> MutexGuard<'_, BTreeMap<String, i64>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has whoever waits for the next tick look at the clock.
    pub(crate) fn look(&self) {
        self.changed.notify_one();
    }

    fn set(&self, schedule: &Schedule) {
        match schedule.next_due_ms() {
            Some(due_ms) => self.ticks().insert(schedule.key(), due_ms),
            None => self.ticks().remove(&schedule.key()),
        };
        self.look();
    }

    /// The time of the first.
    pub(crate) fn first(&self) -> Option<i64> {
        self.ticks().values().min().copied()
    }

    fn remove(&self, key: &str) {
        self.ticks().remove(key);
    }
}

impl crate::Engine {
    /// Reads which schedules there are.
    pub(crate) fn take_up_schedules(&self) -> Result<(), StoreError> {
        for found in self.store.snapshot()?.scan_all("schedule/")? {
            self.schedules.set(&record::decode(&found)?);
        }
        Ok(())
    }
}
