//! One step, one transaction.

use std::sync::Arc;

use bytes::Bytes;
use selvedge_asl::{Command, Event, Execution, Status};
use selvedge_store::{Error as StoreError, Transaction, VALUE_BYTES_MAX, WriteError};

use super::live::Live;
use super::{Engine, LiveKey};
use crate::audit::Deed;
use crate::dead::Letter;
use crate::extension::spill::{self, SPILL_BYTES, Spilled};
use crate::log::Plan;
use crate::record::{self, ExecutionRecord, Revision, history, key};
use crate::schema::Misfit;

/// A document is at most this long, so that key and value stay within the store's bounds.
const PART_BYTES_MAX: usize = VALUE_BYTES_MAX - 4096;

/// What children that are started together write in one transaction, at the most; well within the store's bounds.
const TOGETHER_BYTES_MAX: usize = selvedge_store::TRANSACTION_BYTES_MAX / 2;
const TOGETHER_WRITES_MAX: usize = selvedge_store::TRANSACTION_WRITES_MAX / 2;

/// An execution could not be started.
#[derive(Debug)]
pub(crate) enum StartError {
    /// The input is no JSON.
    Input(serde_json::Error),
    /// The input does not fit its machine's schema.
    Misfit(Misfit),
    /// The name is taken, by this one.
    Taken(Box<ExecutionRecord>),
    /// As many are under way as there may be.
    Full,
    Store(StoreError),
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What a step writes.
#[derive(Default)]
struct Writes {
    puts: Vec<(String, Bytes)>,
    deletes: Vec<String>,
    /// For the log, once the rest is durable.
    lines: Option<(Arc<Plan>, String)>,
    /// Whose values are kept elsewhere, and which.
    spilled: Vec<(String, String, Spilled)>,
    /// Whose doing it is, for the audit trail; and when.
    deed: Option<(Deed, i64)>,
}

/// A step to be written, what it asks for, and how many parts its checkpoint has.
type Step = (Writes, Vec<Command>, usize);

impl Engine {
    /// Makes a new execution's first step durable, unless its name is taken.
    pub(super) fn commit_new(&self, live: &mut Live) -> Result<Vec<Command>, (StartError, Vec<Command>)> {
        if !self.live.has_room(&live.record.machine) {
            return Err((StartError::Full, Vec::new()));
        }
        let (writes, commands, parts) =
            self.writes(live, true).map_err(|(error, commands)| (StartError::Store(error), commands))?;
        let name = key::execution(&live.record.machine, &live.record.name);
        let written = self.lease.write_of(&live.key(), |tx| {
            if let Some(found) = tx.get(&name)? {
                let record: ExecutionRecord = record::decode(&found)?;
                return Err(WriteError::Refused(Box::new(record)));
            }
            write(tx, &writes).map_err(WriteError::Store)
        });
        match written {
            Ok(_) => {
                live.checkpoint_parts = parts;
                self.log(&writes);
                Ok(commands)
            }
            Err(WriteError::Refused(taken)) => Err((StartError::Taken(taken), Vec::new())),
            Err(WriteError::Store(error)) => Err((StartError::Store(error), commands)),
        }
    }

    /// Makes the first steps of children durable, in as few transactions as they fit into; gives back their commands.
    pub(super) fn commit_children(&self, lives: &mut [Live]) -> Result<Vec<Vec<Command>>, StoreError> {
        let mut commands = Vec::with_capacity(lives.len());
        let mut together = Writes::default();
        let mut logged = Vec::new();
        let mut bytes = 0;
        for live in lives {
            let (writes, to_do, parts) = self.writes(live, true).map_err(|(error, _)| error)?;
            live.checkpoint_parts = parts;
            commands.push(to_do);
            let more: usize = writes.puts.iter().map(|(key, value)| key.len() + value.len()).sum();
            if bytes + more > TOGETHER_BYTES_MAX
                || together.puts.len() + writes.puts.len() > TOGETHER_WRITES_MAX
            {
                self.store.transact(&mut |tx| write(tx, &together).map_err(Into::into))?;
                together.puts.clear();
                together.spilled.clear();
                bytes = 0;
            }
            bytes += more;
            together.puts.extend(writes.puts);
            together.spilled.extend(writes.spilled);
            logged.extend(writes.lines);
        }
        self.store.transact(&mut |tx| write(tx, &together).map_err(Into::into))?;
        logged.iter().for_each(|(plan, lines)| self.logs.append(plan, lines));
        Ok(commands)
    }

    /// Makes a step durable. On failure the execution in memory is ahead of the store and has to be given up.
    pub(super) fn commit(
        &self,
        live: &mut Live,
        deed: Option<Deed>,
    ) -> Result<Vec<Command>, (StoreError, Vec<Command>)> {
        let (mut writes, commands, parts) = self.writes(live, false)?;
        writes.deed = deed.map(|deed| (deed, self.now_ms()));
        if writes.puts.is_empty() {
            return Ok(commands);
        }
        match self.lease.transact_of(&live.key(), &mut |tx| write(tx, &writes).map_err(Into::into)) {
            Ok(_) => {
                live.checkpoint_parts = parts;
                self.log(&writes);
                Ok(commands)
            }
            Err(error) => Err((error, commands)),
        }
    }

    /// Gathers what happened since the last step, and what the store has to know of it.
    fn writes(&self, live: &mut Live, is_new: bool) -> Result<Step, (StoreError, Vec<Command>)> {
        live.extension.check_output(&mut live.execution);
        let mut writes = Writes::default();
        let mut events = Vec::new();
        while let Some(event) = live.execution.poll_event() {
            events.push(event);
        }
        let mut commands = Vec::new();
        while let Some(command) = live.execution.poll_command() {
            commands.push(command);
        }
        late_of(&mut writes, live, &commands);
        match self.gather(live, is_new, &mut writes, events) {
            Ok(parts) => Ok((writes, commands, parts)),
            Err(error) => Err((error, commands)),
        }
    }

    /// What the store has to know; gives back how many parts the checkpoint has.
    fn gather(
        &self,
        live: &mut Live,
        is_new: bool,
        writes: &mut Writes,
        mut events: Vec<Event>,
    ) -> Result<usize, StoreError> {
        let (machine, name) = (live.record.machine.clone(), live.record.name.clone());
        let mut spilled = (live.execution.options().payload_bytes > SPILL_BYTES).then(Spilled::default);
        let before = live.record.status;
        let letter = Letter::key_of(&live.record);
        refresh(live);
        if let Some(spilled) = &mut spilled {
            spill::record(spilled, &*self.store, &mut live.record)?;
            events = events
                .into_iter()
                .map(|event| spilled.event(&*self.store, event))
                .collect::<Result<_, _>>()?;
        }
        let first =
            if is_new { history::First::of(&events, live.record.status != Status::Running) } else { None };
        match first {
            Some(first) => live.record.first_events = first,
            None => history_of(writes, &machine, &name, &events),
        }
        if let Some(plan) = &live.plan {
            let lines = plan.lines(&live.record.arn, live.record.redrive_count, &events);
            writes.lines = Some((Arc::clone(plan), lines));
        }
        let status = live.record.status;
        if is_new || status != before || live.record.redrive_count > 0 {
            writes.puts.push((key::execution(&machine, &name), record::encode(&live.record)));
            let listed = match &live.record.child {
                Some(child) => key::child(&child.run, child.index),
                None => key::started(&machine, live.record.started_ms, &name),
            };
            writes.puts.push((listed, record::encode(&live.record.summary())));
        }
        let idle_until = live.execution.idle_until();
        let is_told = !is_new && before == Status::Running && idle_until == live.stored_idle_until;
        if status == Status::Running && !is_told {
            // One that only waits need not be read at a restart, nor be in memory until then.
            let text = idle_until.map_or_else(String::new, |until| until.to_string());
            writes.puts.push((key::live(&machine, &name), text.into()));
            live.stored_idle_until = idle_until;
        }
        // What failed is in the dead-letter log, from its failure until it is driven on.
        let after = Letter::key_of(&live.record);
        if letter != after {
            writes.deletes.extend(letter);
            writes.puts.extend(after.map(|key| (key, record::encode(&Letter::of_execution(&live.record)))));
        }
        if status != Status::Running && !is_new {
            writes.deletes.push(key::live(&machine, &name));
        }
        // What ended well is never taken up again; what did not may be driven on.
        let parts =
            if status == Status::Succeeded { 0 } else { self.checkpoint(writes, live, spilled.as_mut())? };
        writes
            .deletes
            .extend((parts..live.checkpoint_parts).map(|part| key::checkpoint(&machine, &name, part)));
        writes
            .spilled
            .extend(spilled.filter(|spilled| !spilled.hashes.is_empty()).map(|kept| (machine, name, kept)));
        Ok(parts)
    }

    fn checkpoint(
        &self,
        writes: &mut Writes,
        live: &Live,
        spilled: Option<&mut Spilled>,
    ) -> Result<usize, StoreError> {
        let mut text = record::encode(&live.execution);
        if let Some(spilled) = spilled.filter(|_| text.len() > SPILL_BYTES) {
            text = spilled.checkpoint(&*self.store, &text)?.into();
        }
        let mut parts = 0;
        for part in text.chunks(PART_BYTES_MAX) {
            let key = key::checkpoint(&live.record.machine, &live.record.name, parts);
            writes.puts.push((key, Bytes::copy_from_slice(part)));
            parts += 1;
        }
        Ok(parts)
    }

    fn log(&self, writes: &Writes) {
        if let Some((plan, lines)) = &writes.lines {
            self.logs.append(plan, lines);
        }
    }

    /// Keeps an execution that goes on, and does what it asks for.
    pub(super) fn keep(&self, mut live: Live, commands: Vec<Command>) {
        let key = live.key();
        if live.execution.status() == Status::Running {
            // The timer looks it up: what is due at once finds it in its place, or is looked at again.
            let due_ms = live.execution.next_timeout().map(|due_ms| due_ms.max(self.now_ms()));
            live.armed_ms = due_ms;
            if self.may_sleep(&live) {
                self.live.insert_asleep(key.clone());
            } else {
                self.live.insert(key.clone(), live);
            }
            if let Some(due_ms) = due_ms {
                self.timer.set(due_ms, key.clone());
            }
        } else {
            // One that was driven on, and came to its end at once, has had a place.
            self.live.remove(&key);
            self.record_ended(live.trace, &live.record);
            self.child_ended(&live.record);
        }
        self.carry_out(&key, commands);
    }

    pub(super) fn read_live(&self, key: &LiveKey) -> Result<Option<Live>, StoreError> {
        let view = self.store.snapshot()?;
        self.read_live_from(&*view, key)
    }

    pub(super) fn read_live_from(
        &self,
        view: &dyn selvedge_store::Read,
        key: &LiveKey,
    ) -> Result<Option<Live>, StoreError> {
        let Some(found) = view.get(&key::execution(&key.machine, &key.name))? else { return Ok(None) };
        let record: ExecutionRecord = record::decode(&found)?;
        let parts = view.scan_all(&key::checkpoints(&key.machine, &key.name))?;
        if parts.is_empty() {
            return Ok(None);
        }
        let text: Vec<u8> = parts.iter().flat_map(|part| part.value.iter().copied()).collect();
        let text = spill::inflate(&*self.store, &text)?;
        let execution: Execution = serde_json::from_slice(&text)
            .map_err(|error| StoreError::Corrupt(format!("the checkpoint of {key}: {error}")))?;
        let execution = execution.with_tokens(self.tokens.of(key.clone()));
        let revision = Revision::known(view, &record.machine, &record.revision)?;
        let definition = self.definition(&record.machine, &revision)?;
        // What is not of its definition must stay where it is, and not take the thread of whoever handles it.
        if !Execution::fits(&execution, &definition) {
            return Err(StoreError::Corrupt(format!("the checkpoint of {key} is of another definition")));
        }
        let plan = Plan::read(&revision.logging).filter(|_| self.logs.is_on());
        let extension = self.extension(&record.machine)?;
        let trace = self.place(&record.arn, record.started_ms, record.trace_header.as_deref(), &revision);
        Ok(Some(Live { plan, extension, trace, ..Live::new(execution, definition, record, parts.len()) }))
    }
}

/// Brings the record up to what the execution says of itself.
fn refresh(live: &mut Live) {
    let (execution, record) = (&live.execution, &mut live.record);
    record.status = execution.status();
    record.ended_ms = execution.ended_ms();
    record.output = execution.output().map(str::to_owned);
    record.error = execution.failure().and_then(|failure| failure.error.clone());
    record.cause = execution.failure().and_then(|failure| failure.cause.clone());
    record.redrive_count = execution.redrive_count();
    record.last_event = execution.last_event();
    record.failed_state = execution.failed_state().map(str::to_owned);
}

/// Tasks that end in this step before they were answered: a result that comes late is kept, once.
fn late_of(writes: &mut Writes, live: &Live, commands: &[Command]) {
    let is_canceled = |command: &Command| match command {
        Command::Cancel(task) => Some(task.0),
        _ => None,
    };
    let late: Vec<u64> = commands.iter().filter_map(is_canceled).collect();
    if !late.is_empty() {
        let key = key::late(&live.record.machine, &live.record.name, live.execution.last_event());
        writes.puts.push((key, record::encode(&late)));
    }
}

/// Events in documents of bounded size; an event's own is bounded by that of a payload.
fn history_of(writes: &mut Writes, machine: &str, name: &str, events: &[Event]) {
    let mut chunk = history::begin();
    let mut first = None;
    for event in events {
        let before = chunk.len();
        history::append(&mut chunk, event);
        if chunk.len() > PART_BYTES_MAX
            && let Some(first) = first.replace(event.id)
        {
            let mut next = history::begin();
            next.extend_from_slice(&chunk[before..]);
            chunk.truncate(before);
            writes
                .puts
                .push((key::history(machine, name, first), std::mem::replace(&mut chunk, next).into()));
        }
        first.get_or_insert(event.id);
    }
    if let Some(first) = first {
        writes.puts.push((key::history(machine, name, first), chunk.into()));
    }
}

fn write(tx: &mut dyn Transaction, writes: &Writes) -> Result<(), StoreError> {
    for (key, value) in &writes.puts {
        tx.put(key, value.clone())?;
    }
    for key in &writes.deletes {
        tx.delete(key)?;
    }
    for (machine, name, spilled) in &writes.spilled {
        spilled.write(tx, machine, name)?;
    }
    if let Some((deed, at_ms)) = &writes.deed {
        deed.append(tx, *at_ms)?;
    }
    Ok(())
}
