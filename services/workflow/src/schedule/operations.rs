//! EventBridge Scheduler's API: from a call to its output.

mod tag;

use std::sync::Arc;

use selvedge_aws::operations::scheduler::{
    CONFLICT_EXCEPTION, INTERNAL_SERVER_EXCEPTION, RESOURCE_NOT_FOUND_EXCEPTION,
    SERVICE_QUOTA_EXCEEDED_EXCEPTION, VALIDATION_EXCEPTION,
};
use selvedge_aws::{ApiError, Call, page};
use selvedge_model::Strictness;
use selvedge_store::{Error as StoreError, PAGE_MAX, Read, WriteError};
use serde_json::{Map, Value, json};

use super::{CatchUp, DEFAULT_GROUP, GROUPS_MAX, Group, SCHEDULES_MAX, Schedule, group_key, key};
use crate::Engine;
use crate::arn::{Arn, Resource};
use crate::audit::Deed;
use crate::operations::{Context, Outcome, Refused, seconds};
use crate::record;

/// Elements of a page when the caller names no limit.
const PAGE_DEFAULT: u64 = 100;
/// The largest input, in bytes.
const INPUT_BYTES_MAX: usize = 262_144;

type Failure = WriteError<ApiError>;

/// Performs an operation of EventBridge Scheduler's. May block on the store.
pub fn perform(engine: &Arc<Engine>, context: &Context, call: &Call) -> Outcome {
    let scope = Scope { engine, context, call };
    let performed = match call.check(Strictness::Strict) {
        Err(found) => Err(invalid(found.to_string())),
        Ok(()) => match call.operation.name {
            "CreateSchedule" => scope.create(),
            "UpdateSchedule" => scope.update(),
            "GetSchedule" => scope.get(),
            "DeleteSchedule" => scope.delete(),
            "ListSchedules" => scope.list(),
            "CreateScheduleGroup" => scope.create_group(),
            "GetScheduleGroup" => scope.get_group(),
            "DeleteScheduleGroup" => scope.delete_group(),
            "ListScheduleGroups" => scope.list_groups(),
            "TagResource" => scope.tag(),
            "UntagResource" => scope.untag(),
            "ListTagsForResource" => scope.tags(),
            name => Err(invalid(format!("{name} is not performed here"))),
        },
    };
    performed.map_err(|failure| match failure {
        WriteError::Refused(error) => Refused { error, cause: None },
        WriteError::Store(cause) => {
            let error = INTERNAL_SERVER_EXCEPTION
                .because("the store failed; look before you try again; its reason is in the server's log");
            Refused { error, cause: Some(cause) }
        }
    })
}

struct Scope<'a> {
    engine: &'a Arc<Engine>,
    context: &'a Context,
    call: &'a Call,
}

fn invalid(message: impl Into<String>) -> Failure {
    WriteError::Refused(VALIDATION_EXCEPTION.because(message))
}

fn unknown(kind: &str, name: &str) -> Failure {
    WriteError::Refused(RESOURCE_NOT_FOUND_EXCEPTION.because(format!("{kind} {name} does not exist.")))
}

fn find(view: &dyn Read, group: &str, name: &str) -> Result<Schedule, Failure> {
    let found = view.get(&key(group, name))?.ok_or_else(|| unknown("Schedule", name))?;
    Ok(record::decode(&found)?)
}

impl Scope<'_> {
    fn text(&self, member: &str) -> Option<&str> {
        self.call.text(member)
    }

    fn name(&self) -> &str {
        self.text("Name").unwrap_or_default()
    }

    fn arn(&self, kind: &str, rest: &str) -> String {
        let settings = &self.engine.settings;
        let region = self.context.region.as_deref().unwrap_or(&settings.region);
        format!("arn:aws:scheduler:{region}:{}:{kind}/{rest}", settings.account)
    }

    fn deed(&self, subject: &str, details: Value) -> Deed {
        Deed {
            kind: self.call.operation.name.to_owned(),
            actor: self.context.actor.clone().unwrap_or_default(),
            subject: subject.to_owned(),
            details,
        }
    }

    /// Milliseconds of a date that the call gives in seconds.
    fn date(&self, member: &str) -> Option<i64> {
        self.call.input.get(member).and_then(Value::as_f64).map(|seconds| (seconds * 1000.0) as i64)
    }

    /// What the call describes; it is not written yet.
    fn described(&self) -> Result<Schedule, Failure> {
        let target = self.call.input.get("Target").cloned().unwrap_or_default();
        let arn = target["Arn"].as_str().unwrap_or_default();
        let is_machine = Arn::parse(arn).is_ok_and(|arn| matches!(arn.resource, Resource::Machine { .. }));
        if !is_machine {
            return Err(invalid(format!(
                "Target.Arn: '{}' is no state machine, version or alias: nothing else is started here",
                arn.chars().take(200).collect::<String>()
            )));
        }
        if let Some(input) = target["Input"].as_str() {
            if input.len() > INPUT_BYTES_MAX {
                return Err(invalid(format!("Target.Input: it has more than {INPUT_BYTES_MAX} bytes")));
            }
            serde_json::from_str::<serde::de::IgnoredAny>(input)
                .map_err(|error| invalid(format!("Target.Input: it is no JSON: {error}")))?;
        }
        let window = self.call.input.get("FlexibleTimeWindow").cloned().unwrap_or_default();
        let is_flexible = window["Mode"] == "FLEXIBLE";
        if is_flexible == window["MaximumWindowInMinutes"].is_null() {
            return Err(invalid(
                "FlexibleTimeWindow.MaximumWindowInMinutes: it is given with the mode FLEXIBLE, and only then",
            ));
        }
        let now_ms = self.engine.now_ms();
        let (start_ms, end_ms) = (self.date("StartDate"), self.date("EndDate"));
        if let (Some(start_ms), Some(end_ms)) = (start_ms, end_ms)
            && end_ms <= start_ms
        {
            return Err(invalid("EndDate: it has to be after StartDate"));
        }
        let group = self.text("GroupName").unwrap_or(DEFAULT_GROUP).to_owned();
        let name = self.name().to_owned();
        let mut schedule = Schedule {
            arn: self.arn("schedule", &format!("{group}/{name}")),
            group,
            name,
            expression: self.text("ScheduleExpression").unwrap_or_default().to_owned(),
            zone: self.text("ScheduleExpressionTimezone").unwrap_or("UTC").to_owned(),
            start_ms,
            end_ms,
            is_enabled: self.text("State") != Some("DISABLED"),
            description: self.text("Description").map(str::to_owned),
            kms_key: self.text("KmsKeyArn").map(str::to_owned),
            target,
            window,
            is_deleted_after: self.text("ActionAfterCompletion") == Some("DELETE"),
            client_token: self.text("ClientToken").map(str::to_owned),
            created_ms: now_ms,
            updated_ms: now_ms,
            anchor_ms: start_ms.unwrap_or(now_ms) / 1000 * 1000,
            next_ms: None,
            catch_up: CatchUp::default(),
            last: None,
            started: 0,
            missed: 0,
        };
        schedule.parsed().map_err(|misfit| invalid(misfit.0))?;
        // A rate begins at once.
        schedule.next_ms = schedule
            .next_after(schedule.anchor_ms.min(now_ms) - 1)
            .filter(|next_ms| *next_ms >= now_ms / 1000 * 1000);
        if schedule.next_ms.is_none() {
            schedule.next_ms = schedule.next_after(now_ms);
        }
        Ok(schedule)
    }

    fn write(
        &self,
        mut f: impl FnMut(&mut dyn selvedge_store::Transaction) -> Result<Schedule, Failure>,
    ) -> Result<Value, Failure> {
        let (schedule, _) = self.engine.store.write(|tx| f(tx))?;
        self.engine.schedules.set(&schedule);
        Ok(json!({ "ScheduleArn": schedule.arn }))
    }

    fn create(&self) -> Result<Value, Failure> {
        let schedule = self.described()?;
        if schedule.next_ms.is_none() {
            return Err(invalid("ScheduleExpression: it never comes again"));
        }
        self.write(|tx| {
            if schedule.group != DEFAULT_GROUP && tx.get(&group_key(&schedule.group))?.is_none() {
                return Err(unknown("Schedule group", &schedule.group));
            }
            if let Some(found) = tx.get(&schedule.key())? {
                let found: Schedule = record::decode(&found)?;
                if found.client_token.is_some() && found.client_token == schedule.client_token {
                    return Ok(found);
                }
                let message = format!("Schedule {} already exists.", schedule.name);
                return Err(WriteError::Refused(CONFLICT_EXCEPTION.because(message)));
            }
            if self.engine.schedules.ticks().len() >= SCHEDULES_MAX {
                let message = format!("there are {SCHEDULES_MAX} schedules, and more there cannot be");
                return Err(WriteError::Refused(SERVICE_QUOTA_EXCEEDED_EXCEPTION.because(message)));
            }
            tx.put(&schedule.key(), record::encode(&schedule))?;
            self.deed(&schedule.arn, schedule.show()).append(tx, schedule.created_ms)?;
            Ok(schedule.clone())
        })
    }

    fn update(&self) -> Result<Value, Failure> {
        let described = self.described()?;
        self.write(|tx| {
            let found = find(&*tx, &described.group, &described.name)?;
            let schedule = Schedule {
                created_ms: found.created_ms,
                arn: found.arn,
                catch_up: found.catch_up,
                last: found.last,
                started: found.started,
                missed: found.missed,
                ..described.clone()
            };
            tx.put(&schedule.key(), record::encode(&schedule))?;
            self.deed(&schedule.arn, schedule.show()).append(tx, schedule.updated_ms)?;
            Ok(schedule)
        })
    }

    fn group(&self) -> &str {
        self.text("groupName").unwrap_or(DEFAULT_GROUP)
    }

    fn get(&self) -> Result<Value, Failure> {
        let schedule = find(&*self.engine.store.snapshot()?, self.group(), self.name())?;
        let mut output = json!({
            "Arn": schedule.arn,
            "GroupName": schedule.group,
            "Name": schedule.name,
            "ScheduleExpression": schedule.expression,
            "ScheduleExpressionTimezone": schedule.zone,
            "State": if schedule.is_enabled { "ENABLED" } else { "DISABLED" },
            "CreationDate": seconds(schedule.created_ms),
            "LastModificationDate": seconds(schedule.updated_ms),
            "Target": schedule.target,
            "FlexibleTimeWindow": schedule.window,
            "ActionAfterCompletion": if schedule.is_deleted_after { "DELETE" } else { "NONE" },
        });
        let more = [
            ("StartDate", schedule.start_ms.map(seconds)),
            ("EndDate", schedule.end_ms.map(seconds)),
            ("Description", schedule.description.map(Value::from)),
            ("KmsKeyArn", schedule.kms_key.map(Value::from)),
        ];
        for (member, value) in more {
            if let Some(value) = value {
                output[member] = value;
            }
        }
        Ok(output)
    }

    fn delete(&self) -> Result<Value, Failure> {
        let (group, name) = (self.group(), self.name());
        let now_ms = self.engine.now_ms();
        self.engine.store.write(|tx| {
            let found = find(&*tx, group, name)?;
            tx.delete(&found.key())?;
            Ok::<_, Failure>(self.deed(&found.arn, json!({})).append(tx, now_ms)?)
        })?;
        self.engine.schedules.remove(&key(group, name));
        Ok(json!({}))
    }

    /// A page of what `show` makes of documents below `prefix`.
    fn page(
        &self,
        member: &str,
        prefix: &str,
        show: impl Fn(&selvedge_store::Document) -> Result<Option<Value>, StoreError>,
    ) -> Result<Value, Failure> {
        let operation = self.call.operation.name;
        let limit = self.call.input.get("MaxResults").and_then(Value::as_u64).unwrap_or(PAGE_DEFAULT);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut after = match self.text("NextToken") {
            Some(token) => {
                let position = page::decode(operation, prefix, token);
                Some(position.map_err(|_| invalid("NextToken: it is none of this list"))?)
            }
            None => None,
        };
        let view = self.engine.store.snapshot()?;
        let (mut shown, mut output) = (Vec::new(), Map::new());
        'pages: loop {
            let found = view.scan(prefix, after.as_deref(), PAGE_MAX)?;
            for one in &found {
                if shown.len() == limit {
                    let last = after.as_deref().unwrap_or_default();
                    output.insert("NextToken".into(), page::encode(operation, prefix, last).into());
                    break 'pages;
                }
                shown.extend(show(one)?);
                after = Some(one.key.clone());
            }
            if found.len() < PAGE_MAX {
                break;
            }
        }
        output.insert(member.into(), shown.into());
        Ok(Value::Object(output))
    }

    fn list(&self) -> Result<Value, Failure> {
        let prefix = match self.text("ScheduleGroup") {
            Some(group) => {
                if group != DEFAULT_GROUP && self.engine.store.snapshot()?.get(&group_key(group))?.is_none() {
                    return Err(unknown("Schedule group", group));
                }
                format!("schedule/{group}/")
            }
            None => "schedule/".to_owned(),
        };
        let (named, state) = (self.text("NamePrefix").unwrap_or_default(), self.text("State"));
        self.page("Schedules", &prefix, |found| {
            let schedule: Schedule = record::decode(found)?;
            let own = if schedule.is_enabled { "ENABLED" } else { "DISABLED" };
            let is_wanted = schedule.name.starts_with(named) && state.is_none_or(|state| state == own);
            Ok(is_wanted.then(|| {
                json!({
                    "Arn": schedule.arn, "Name": schedule.name, "GroupName": schedule.group, "State": own,
                    "CreationDate": seconds(schedule.created_ms), "LastModificationDate": seconds(schedule.updated_ms),
                    "Target": { "Arn": schedule.target["Arn"] },
                })
            }))
        })
    }

    fn create_group(&self) -> Result<Value, Failure> {
        let name = self.name();
        let now_ms = self.engine.now_ms();
        let group = Group {
            name: name.to_owned(),
            arn: self.arn("schedule-group", name),
            created_ms: now_ms,
            client_token: self.text("ClientToken").map(str::to_owned),
            tags: tag::put(Vec::new(), self.call)?,
        };
        let conflict = |message: String| WriteError::Refused(CONFLICT_EXCEPTION.because(message));
        if name == DEFAULT_GROUP {
            return Err(conflict(format!("Schedule group {name} already exists.")));
        }
        self.engine.store.write(|tx| {
            if let Some(found) = tx.get(&group_key(name))? {
                let found: Group = record::decode(&found)?;
                if found.client_token.is_some() && found.client_token == group.client_token {
                    return Ok(());
                }
                return Err(conflict(format!("Schedule group {name} already exists.")));
            }
            if tx.scan("schedule-group/", None, GROUPS_MAX)?.len() >= GROUPS_MAX {
                let message = format!("there are {GROUPS_MAX} groups, and more there cannot be");
                return Err(WriteError::Refused(SERVICE_QUOTA_EXCEEDED_EXCEPTION.because(message)));
            }
            tx.put(&group_key(name), record::encode(&group))?;
            Ok::<_, Failure>(self.deed(&group.arn, json!({})).append(tx, now_ms)?)
        })?;
        Ok(json!({ "ScheduleGroupArn": group.arn }))
    }

    fn shown_group(group: &Group) -> Value {
        json!({
            "Arn": group.arn, "Name": group.name, "State": "ACTIVE",
            "CreationDate": seconds(group.created_ms), "LastModificationDate": seconds(group.created_ms),
        })
    }

    /// The one that is always there.
    fn default_group(&self) -> Group {
        Group {
            name: DEFAULT_GROUP.into(),
            arn: self.arn("schedule-group", DEFAULT_GROUP),
            created_ms: 0,
            client_token: None,
            tags: Vec::new(),
        }
    }

    fn get_group(&self) -> Result<Value, Failure> {
        let name = self.name();
        if name == DEFAULT_GROUP {
            return Ok(Self::shown_group(&self.default_group()));
        }
        let found = self.engine.store.snapshot()?.get(&group_key(name))?;
        let found = found.ok_or_else(|| unknown("Schedule group", name))?;
        Ok(Self::shown_group(&record::decode(&found)?))
    }

    /// Its schedules go with it.
    fn delete_group(&self) -> Result<Value, Failure> {
        let name = self.name();
        let now_ms = self.engine.now_ms();
        if name == DEFAULT_GROUP {
            return Err(invalid("Name: the group default cannot be deleted"));
        }
        let prefix = format!("schedule/{name}/");
        // A transaction takes so many; what is left of a failure is deleted by the next try.
        loop {
            let page = self.engine.store.snapshot()?.scan(&prefix, None, PAGE_MAX)?;
            let (gone, _) = self.engine.store.write(|tx| {
                for found in &page {
                    tx.delete(&found.key)?;
                }
                if page.len() == PAGE_MAX {
                    return Ok(false);
                }
                let Some(found) = tx.get(&group_key(name))? else {
                    return Err(unknown("Schedule group", name));
                };
                let group: Group = record::decode(&found)?;
                tx.delete(&group_key(name))?;
                self.deed(&group.arn, json!({ "schedules": page.len() })).append(tx, now_ms)?;
                Ok::<_, Failure>(true)
            })?;
            page.iter().for_each(|found| self.engine.schedules.remove(&found.key));
            if gone {
                return Ok(json!({}));
            }
        }
    }

    fn list_groups(&self) -> Result<Value, Failure> {
        let named = self.text("NamePrefix").unwrap_or_default();
        let mut listed = self.page("ScheduleGroups", "schedule-group/", |found| {
            let group: Group = record::decode(found)?;
            Ok(group.name.starts_with(named).then(|| Self::shown_group(&group)))
        })?;
        // It stands before the first page.
        if self.text("NextToken").is_none()
            && DEFAULT_GROUP.starts_with(named)
            && let Some(groups) = listed["ScheduleGroups"].as_array_mut()
        {
            groups.insert(0, Self::shown_group(&self.default_group()));
        }
        Ok(listed)
    }
}

/// A schedule by its group and name.
pub(crate) fn found(view: &dyn Read, group: &str, name: &str) -> Result<Option<Schedule>, StoreError> {
    view.get(&key(group, name))?.as_ref().map(record::decode).transpose()
}

impl Engine {
    /// Says what becomes of ticks that nobody sees; none where there is no such schedule.
    pub(crate) fn set_catch_up(
        &self,
        group: &str,
        name: &str,
        catch_up: CatchUp,
        actor: &str,
    ) -> Result<Option<Schedule>, StoreError> {
        let now_ms = self.now_ms();
        let written = self.store.write::<_, StoreError>(|tx| {
            let Some(mut schedule) = found(&*tx, group, name)? else { return Ok(None) };
            schedule.catch_up = catch_up;
            tx.put(&schedule.key(), record::encode(&schedule))?;
            let deed = Deed {
                kind: "SetCatchUp".into(),
                actor: actor.to_owned(),
                subject: schedule.arn.clone(),
                details: json!({ "catchUp": catch_up.name() }),
            };
            deed.append(tx, now_ms)?;
            Ok(Some(schedule))
        });
        match written {
            Ok((schedule, _)) => Ok(schedule),
            Err(WriteError::Refused(error) | WriteError::Store(error)) => Err(error),
        }
    }
}
