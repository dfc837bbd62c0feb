//! What is due.

use std::sync::{Arc, Weak};
use std::time::Duration;

use selvedge_store::{Error as StoreError, WriteError};

use super::{CatchUp, Last, Schedule};
use crate::Engine;
use crate::dead::Letter;
use crate::operations::execution::{Asked, start_named};
use crate::operations::failure::Failed;
use crate::record;

/// How long it is slept at the most: the clock may have been set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// A tick that is later than that was missed.
const LATE_MS: i64 = 60_000;
/// Ticks that a schedule catches up with: as many minutes as a day has.
const TICKS_MAX: usize = 1440;

/// What became of a tick.
enum Started {
    Execution(String),
    /// Nothing, and nothing will.
    Refused {
        code: String,
        message: String,
    },
}

/// Starts what is due, as long as the engine is there.
pub(crate) fn start(engine: &Arc<Engine>) {
    let weak: Weak<Engine> = Arc::downgrade(engine);
    engine.runtime.spawn(async move {
        loop {
            let Some(engine) = weak.upgrade().filter(|engine| !engine.is_superseded()) else { return };
            let now_ms = engine.now_ms();
            let first = engine.schedules.first();
            let sleep = first.map_or(SLEEP_MAX, |first_ms| {
                Duration::from_millis(u64::try_from(first_ms - now_ms).unwrap_or(0)).min(SLEEP_MAX)
            });
            if sleep.is_zero() {
                let own = Arc::clone(&engine);
                let done = tokio::task::spawn_blocking(move || own.tick()).await;
                match done {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => {
                        tracing::error!(%error, "what a schedule is due for could not be stored; it is tried again");
                    }
                    Err(error) if error.is_panic() => {
                        tracing::error!("what a schedule is due for panicked; it is tried again");
                    }
                    Err(_) => return,
                }
                tokio::time::sleep(SLEEP_MAX).await;
                continue;
            }
            tokio::select! {
                () = engine.schedules.changed.notified() => {}
                () = tokio::time::sleep(sleep) => {}
            }
        }
    });
}

impl Engine {
    /// Starts what is due.
    ///
    /// # Errors
    /// When the store fails: it is all due still.
    pub fn tick(self: &Arc<Self>) -> Result<(), StoreError> {
        let now_ms = self.now_ms();
        let due: Vec<String> = {
            let ticks = self.schedules.ticks();
            ticks.iter().filter(|(_, next_ms)| **next_ms <= now_ms).map(|(key, _)| key.clone()).collect()
        };
        due.iter().try_for_each(|key| self.tick_one(key, now_ms))
    }

    fn tick_one(self: &Arc<Self>, key: &str, now_ms: i64) -> Result<(), StoreError> {
        let Some(found) = self.store.snapshot()?.get(key)? else {
            self.schedules.remove(key);
            return Ok(());
        };
        let schedule: Schedule = record::decode(&found)?;
        let first =
            schedule.next_ms.filter(|_| schedule.next_due_ms().is_some_and(|due_ms| due_ms <= now_ms));
        let Some(first_ms) = first else {
            self.schedules.set(&schedule);
            return Ok(());
        };
        let (ticks, missed, next_ms) = due(&schedule, first_ms, now_ms);
        let mut last = None;
        let mut letters = Vec::new();
        let mut started = 0;
        for tick_ms in ticks {
            let became = self.start_tick(&schedule, tick_ms)?;
            let (execution, error) = match became {
                Started::Execution(arn) => {
                    started += 1;
                    (Some(arn), None)
                }
                Started::Refused { code, message } => {
                    letters.push(Letter::of_schedule(&schedule, tick_ms, now_ms, &code, &message));
                    (None, Some(format!("{code}: {message}")))
                }
            };
            last = Some(Last { tick_ms, at_ms: now_ms, execution, error });
        }
        let written = self.store.write::<_, StoreError>(|tx| {
            let Some(found) = tx.get(key)? else { return Ok(None) };
            let mut current: Schedule = record::decode(&found)?;
            // Somebody may have changed it meanwhile: then its ticks are those that it has by now.
            if current.updated_ms == schedule.updated_ms && current.next_ms == schedule.next_ms {
                current.next_ms = next_ms;
            }
            if last.is_some() {
                current.last.clone_from(&last);
            }
            current.started += started;
            current.missed += missed;
            for letter in &letters {
                letter.append(tx)?;
            }
            if current.next_ms.is_none() && current.is_deleted_after {
                tx.delete(key)?;
                return Ok(None);
            }
            tx.put(key, record::encode(&current))?;
            Ok(Some(current))
        });
        match written {
            Ok((Some(current), _)) => self.schedules.set(&current),
            Ok((None, _)) => self.schedules.remove(key),
            Err(WriteError::Refused(error) | WriteError::Store(error)) => return Err(error),
        }
        Ok(())
    }

    fn start_tick(self: &Arc<Self>, schedule: &Schedule, tick_ms: i64) -> Result<Started, StoreError> {
        let name = schedule.execution_name(tick_ms);
        let target = schedule.target["Arn"].as_str().unwrap_or_default();
        let input = schedule.input(tick_ms, &name);
        let asked = Asked { name: Some(&name), input: &input, trace_header: None };
        match start_named(self, target, &asked) {
            Ok(output) => {
                Ok(Started::Execution(output["executionArn"].as_str().unwrap_or_default().to_owned()))
            }
            Err(Failed::Store(error)) => Err(error),
            // It was started before the server ended, and has come to its end.
            Err(Failed::Api(error)) if error.shape.code == "ExecutionAlreadyExists" => {
                let arn = error.message.split('\'').nth(1).unwrap_or_default().to_owned();
                Ok(Started::Execution(arn))
            }
            Err(Failed::Api(error)) => {
                Ok(Started::Refused { code: error.shape.code.to_owned(), message: error.message })
            }
        }
    }
}

/// The ticks that start something, how many do not, and the first that is not due.
fn due(schedule: &Schedule, first_ms: i64, now_ms: i64) -> (Vec<i64>, u64, Option<i64>) {
    let oldest_ms = now_ms - schedule.age_max_ms();
    let (mut ticks, mut missed) = (Vec::new(), 0);
    let mut next = Some(first_ms);
    if first_ms < oldest_ms {
        missed += 1;
        next = schedule.next_after(oldest_ms - 1);
    }
    let is_due = |tick_ms: &i64| schedule.due_ms(*tick_ms) <= now_ms;
    while let Some(tick_ms) = next.filter(|tick_ms| is_due(tick_ms) && ticks.len() < TICKS_MAX) {
        ticks.push(tick_ms);
        next = schedule.next_after(tick_ms);
    }
    let kept = match schedule.catch_up {
        CatchUp::All => ticks.len(),
        CatchUp::Latest => ticks.len().min(1),
        CatchUp::None => {
            usize::from(ticks.last().is_some_and(|last_ms| now_ms - schedule.due_ms(*last_ms) < LATE_MS))
        }
    };
    let left_out = ticks.len() - kept;
    // More than that many are not caught up with.
    let next = if next.as_ref().is_some_and(is_due) { schedule.next_after(now_ms) } else { next };
    (ticks.split_off(left_out), missed + left_out as u64, next)
}

impl Schedule {
    /// The input, with what EventBridge Scheduler puts into it.
    fn input(&self, tick_ms: i64, name: &str) -> String {
        let text = self.target["Input"].as_str().unwrap_or("{}");
        if !text.contains("<aws.scheduler.") {
            return text.to_owned();
        }
        let at = selvedge_asl::format_timestamp(tick_ms);
        let at = format!("{}Z", at.split('.').next().unwrap_or_default());
        text.replace("<aws.scheduler.schedule-arn>", &self.arn)
            .replace("<aws.scheduler.scheduled-time>", &at)
            .replace("<aws.scheduler.execution-id>", name)
            .replace("<aws.scheduler.attempt-number>", "1")
    }
}

impl Letter {
    fn of_schedule(schedule: &Schedule, tick_ms: i64, now_ms: i64, code: &str, message: &str) -> Self {
        let name = schedule.execution_name(tick_ms);
        let arn = schedule.target["Arn"].as_str().unwrap_or_default();
        Self::of_start(now_ms, &schedule.arn, arn, &name, (code, message), schedule.input(tick_ms, &name))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn schedule(expression: &str, catch_up: CatchUp, target: Value) -> Schedule {
        Schedule {
            group: "default".into(),
            name: "nightly".into(),
            arn: "arn:s".into(),
            expression: expression.into(),
            zone: "UTC".into(),
            start_ms: None,
            end_ms: None,
            is_enabled: true,
            description: None,
            kms_key: None,
            target,
            window: Value::Null,
            is_deleted_after: false,
            client_token: None,
            created_ms: 0,
            updated_ms: 0,
            anchor_ms: 0,
            next_ms: None,
            catch_up,
            last: None,
            started: 0,
            missed: 0,
        }
    }

    const MINUTE_MS: i64 = 60_000;

    #[test]
    fn missed_ticks_are_caught_up_with_as_the_schedule_says() {
        let now_ms = 1000 * MINUTE_MS + 500;
        for (catch_up, first_ms, wanted, missed) in [
            (CatchUp::All, 997 * MINUTE_MS, vec![997, 998, 999, 1000], 0),
            (CatchUp::Latest, 997 * MINUTE_MS, vec![1000], 3),
            (CatchUp::None, 997 * MINUTE_MS, vec![1000], 3),
            (CatchUp::None, 1000 * MINUTE_MS, vec![1000], 0),
        ] {
            let schedule = schedule("rate(1 minute)", catch_up, json!({}));
            let wanted: Vec<i64> = wanted.into_iter().map(|minute| minute * MINUTE_MS).collect();
            assert_eq!(
                due(&schedule, first_ms, now_ms),
                (wanted, missed, Some(1001 * MINUTE_MS)),
                "{catch_up:?}"
            );
        }
        let late = schedule("rate(10 minutes)", CatchUp::None, json!({}));
        assert_eq!(
            due(&late, 980 * MINUTE_MS, 995 * MINUTE_MS),
            (vec![], 2, Some(1000 * MINUTE_MS)),
            "none of them is on time"
        );
        let young = json!({ "RetryPolicy": { "MaximumEventAgeInSeconds": 120 } });
        let (ticks, missed, _) = due(&schedule("rate(1 minute)", CatchUp::All, young), 0, now_ms);
        assert_eq!((ticks, missed), (vec![999 * MINUTE_MS, 1000 * MINUTE_MS], 1), "older ones are too old");
    }

    #[test]
    fn names_are_those_of_the_tick_and_fit() {
        let mut schedule = schedule("rate(1 minute)", CatchUp::All, json!({}));
        assert_eq!(schedule.execution_name(1_764_298_800_123), "nightly-20251128T030000Z");
        schedule.group = "other".into();
        schedule.name = "n".repeat(64);
        let name = schedule.execution_name(1_764_298_800_123);
        assert_eq!(name.len(), 80);
        schedule.group = "another".into();
        assert_ne!(schedule.execution_name(1_764_298_800_123), name, "another group's is another");
    }

    #[test]
    fn the_input_tells_of_the_tick() {
        let target = json!({ "Input": "{\"at\": \"<aws.scheduler.scheduled-time>\", \"by\": \"<aws.scheduler.schedule-arn>\"}" });
        let schedule = schedule("rate(1 minute)", CatchUp::All, target);
        assert_eq!(
            schedule.input(1_764_298_800_000, "n"),
            "{\"at\": \"2025-11-28T03:00:00Z\", \"by\": \"arn:s\"}"
        );
    }
}
