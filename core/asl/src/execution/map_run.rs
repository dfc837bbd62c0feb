//! Distributed Map states: their items become executions of their own, which somebody else runs.

use serde_json::{Map, Value, json};

use super::begin::Begun;
use super::branch::{BranchId, MapRunProgress, Phase, Visible};
use super::command::{Command, ItemSource, MapRunOutcome, MapRunRequest, Selection, TaskId};
use super::evaluate::{Evaluation, Seen, Unevaluated};
use super::event::{Detail, Failure};
use super::map::CONCURRENCY_MAX;
use super::{At, Execution};
use crate::{Definition, DistributedMap, Kind, MapState};

impl Execution {
    pub(super) fn begin_map_run(
        &mut self,
        id: BranchId,
        map: &MapState,
        distributed: &DistributedMap,
        at: &mut At<'_>,
    ) -> Result<Begun, Unevaluated> {
        let scope = self.branches[&id].scope;
        let payload_bytes = self.options.payload_bytes;
        let mut request = self.evaluate(id, Seen::default(), at, |evaluation| {
            let input = evaluation.effective_input()?;
            let source = match &distributed.reader {
                Some(resource) => {
                    let reader = distributed.reader_arguments.as_ref();
                    let config = distributed.reader_config.as_ref();
                    ItemSource::Reader {
                        resource: resource.clone(),
                        arguments: evaluation.optional("ItemReader", reader, &input)?,
                        config: evaluation.configuration("ItemReader", config, &input)?,
                    }
                }
                None => ItemSource::Items(evaluation.items(map, &input)?),
            };
            let batcher = match &distributed.batcher {
                Some(_) => {
                    Some(evaluation.configuration("ItemBatcher", distributed.batcher.as_ref(), &input)?)
                }
                None => None,
            };
            let arguments =
                evaluation.optional("ResultWriter", distributed.writer_arguments.as_ref(), &input)?;
            let writer_config = distributed.writer_config.clone();
            let writer = match (&distributed.writer, writer_config) {
                (None, None) => None,
                (resource, config) => {
                    Some((resource.clone().unwrap_or_default(), arguments, config.unwrap_or_default()))
                }
            };
            let (tolerated_count, tolerated_percentage) = evaluation.tolerance(map, &input)?;
            let max_concurrency =
                evaluation.number("MaxConcurrency", &map.max_concurrency, &input, 0..=CONCURRENCY_MAX)?;
            Ok::<_, Unevaluated>(MapRunRequest {
                id: TaskId(0),
                state: evaluation.state.name.clone(),
                scope,
                label: distributed.label.clone(),
                express: distributed.express,
                source,
                batcher,
                writer,
                payload_bytes,
                max_concurrency,
                tolerated_count,
                tolerated_percentage,
                arn: None,
                redrive_count: 0,
                selection: None,
            })
        })?;
        let length = if let ItemSource::Items(items) = &request.source { items.len() as u64 } else { 0 };
        request.id = TaskId(self.record(id, at.now_ms, Detail::MapStateStarted { length }));
        self.phase(id, Phase::MapRun(Box::new(MapRunProgress { request, is_over: false })));
        self.command_map_run(id, at.definition);
        Ok(Begun::Pending)
    }

    pub(super) fn map_run(&mut self, task: TaskId, outcome: MapRunOutcome, at: &mut At<'_>) -> bool {
        let found = self.branches.iter_mut().find_map(|(id, run)| match &mut run.phase {
            Phase::MapRun(run) if run.request.id == task && !run.is_over => Some((*id, run)),
            _ => None,
        });
        let Some((id, run)) = found else { return false };
        match outcome {
            MapRunOutcome::Started { arn } => {
                // Told once more after a restart, it has begun only once.
                if run.request.arn.replace(arn.clone()).is_none() {
                    self.record(id, at.now_ms, Detail::MapRunStarted { arn });
                }
            }
            MapRunOutcome::Succeeded { output } => {
                self.record(id, at.now_ms, Detail::MapRunSucceeded);
                let last_event = self.branches[&id].last_event;
                self.emit(last_event, at.now_ms, Detail::MapStateSucceeded);
                self.phase(id, Phase::Work);
                self.finish(id, output, at);
            }
            MapRunOutcome::Failed(failure) => {
                self.record(id, at.now_ms, Detail::MapRunFailed(failure.clone()));
                self.record(id, at.now_ms, Detail::MapStateFailed);
                self.fail(id, failure, at);
            }
        }
        true
    }

    /// Every map run that is under way: after a restart, what has to be gone on with.
    pub fn pending_map_runs(&self, definition: &Definition) -> Vec<MapRunRequest> {
        let under_way = self.branches.iter().filter_map(|(id, run)| match &run.phase {
            Phase::MapRun(run) if !run.is_over => Some((*id, &run.request)),
            _ => None,
        });
        under_way
            .map(|(id, request)| {
                let selection = self.selection(id, &request.source, definition).map(Box::new);
                MapRunRequest { selection, ..request.clone() }
            })
            .collect()
    }

    /// Map runs that were ended go on, each under its ARN, after `event`.
    pub(super) fn redrive_map_runs(&mut self, event: u64, at: &At<'_>) {
        let again: Vec<BranchId> = self
            .branches
            .iter()
            .filter(|(_, run)| matches!(&run.phase, Phase::MapRun(run) if run.is_over))
            .map(|(id, _)| *id)
            .collect();
        for id in again {
            let run = self.branches.get_mut(&id).expect("found above");
            run.last_event = event;
            run.attempts.clear();
            let Phase::MapRun(map_run) = &mut run.phase else { continue };
            map_run.is_over = false;
            map_run.request.redrive_count += 1;
            let redrive_count = map_run.request.redrive_count;
            if let Some(arn) = map_run.request.arn.clone() {
                self.record(id, at.now_ms, Detail::MapRunRedriven { arn, redrive_count });
            }
            self.command_map_run(id, at.definition);
        }
    }

    fn command_map_run(&mut self, id: BranchId, definition: &Definition) {
        let Phase::MapRun(map_run) = &self.branches[&id].phase else { return };
        let selection = self.selection(id, &map_run.request.source, definition).map(Box::new);
        let request = MapRunRequest { selection, ..map_run.request.clone() };
        self.commands.push_back(Command::RunMap(Box::new(request)));
    }

    /// What the state's `ItemSelector` sees; none where it has none.
    fn selection(&self, id: BranchId, source: &ItemSource, definition: &Definition) -> Option<Selection> {
        let state = self.state_of(id, definition);
        let Kind::Map(map) = &state.kind else { return None };
        map.item_selector.as_ref()?;
        let run = &self.branches[&id];
        let context = if state.uses_context { self.context(run, Seen::default()) } else { Value::Null };
        let mut variables = Map::new();
        selvedge_query::Variables::for_each(
            &Visible { branches: &self.branches, id },
            &mut |name, value: &Value| {
                variables.insert(name.to_owned(), value.clone());
            },
        );
        Some(Selection {
            scope: run.scope,
            state: run.state.clone(),
            entered_event: run.entered_event,
            input: run.input.clone(),
            context,
            variables,
            source: source.name().into(),
            field_bytes: self.options.field_bytes(),
        })
    }
}

impl ItemSource {
    /// As the context object's `Map.Item.Source` has it: the state's own data, a bucket whose objects are the items, or the object
    /// that they are read from.
    pub(super) fn name(&self) -> String {
        let Self::Reader { resource, arguments, .. } = self else { return "STATE_DATA".into() };
        let bucket = arguments["Bucket"].as_str().unwrap_or_default();
        match arguments["Key"].as_str().filter(|_| !resource.ends_with(":listObjectsV2")) {
            Some(key) => format!("S3://{bucket}/{key}"),
            None => format!("S3://{bucket}"),
        }
    }
}

impl Selection {
    /// What a child gets for an item: `ItemSelector`, filled in.
    ///
    /// # Errors
    /// What the state fails with when the selector cannot be computed.
    ///
    /// # Panics
    /// For another definition than the execution's.
    pub fn fill(
        &mut self,
        index: u64,
        key: Option<&str>,
        value: &Value,
        at: &mut At<'_>,
    ) -> Result<Value, Failure> {
        let state =
            at.definition.state(self.scope, &self.state).expect("a selection is of its own definition");
        let Kind::Map(map) = &state.kind else { return Ok(value.clone()) };
        let Some(selector) = &map.item_selector else { return Ok(value.clone()) };
        if self.context.is_object() {
            let mut item = json!({ "Index": index, "Value": value, "Source": self.source });
            if let Some(key) = key {
                item["Key"] = Value::from(key);
            }
            self.context["Map"] = json!({ "Item": item });
        }
        let mut evaluation = Evaluation {
            state,
            entered_event: self.entered_event,
            input: &self.input,
            result: None,
            error_output: None,
            context: std::mem::take(&mut self.context),
            variables: &self.variables,
            now_ms: at.now_ms,
            entropy: &mut *at.entropy,
            budget: selvedge_query::Budget::start(self.field_bytes),
        };
        let filled = evaluation.effective_input().map_err(Unevaluated::from);
        let filled = filled.and_then(|input| evaluation.payload("ItemSelector", selector, &input));
        self.context = evaluation.context;
        filled.map_err(|unevaluated| unevaluated.failure)
    }
}

/// The members of a configuration that may be a path into the state's input.
const CONFIGURED: [&str; 3] = ["MaxItems", "MaxItemsPerBatch", "MaxInputBytesPerBatch"];

impl Evaluation<'_> {
    fn optional(
        &mut self,
        field: &str,
        payload: Option<&crate::Payload>,
        input: &Value,
    ) -> Result<Value, Unevaluated> {
        payload.map_or(Ok(Value::Null), |payload| self.payload(field, payload, input))
    }

    /// A payload in which `…Path` members name a number in the state's input.
    fn configuration(
        &mut self,
        field: &str,
        payload: Option<&crate::Payload>,
        input: &Value,
    ) -> Result<Value, Unevaluated> {
        let mut filled = self.optional(field, payload, input)?;
        let Some(members) = filled.as_object_mut() else { return Ok(filled) };
        for name in CONFIGURED {
            if let Some(Value::String(text)) = members.remove(&format!("{name}Path")) {
                let at = format!("{field}/{name}Path");
                let path = selvedge_query::Path::parse_reference(&text).map_err(|error| {
                    self.runtime(format!("Invalid path '{text}' : {error}, in the field '{at}'."))
                })?;
                members.insert(name.to_owned(), self.path(&at, &path, input)?);
            }
            let is_fine = members.get(name).is_none_or(|value| value.as_u64().is_some_and(|n| n > 0));
            if !is_fine {
                let found = &members[name];
                let detail =
                    format!("The field '{name}' needs a positive integer, and its value is {found}.");
                return Err(self.runtime(detail).into());
            }
        }
        Ok(filled)
    }
}
