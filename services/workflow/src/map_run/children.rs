//! Children: started, found again, driven on, stopped.

use std::sync::Arc;

use selvedge_asl::{Failure, Identity, Status};
use selvedge_store::Error as StoreError;

use super::feed::{Child, Feed};
use super::progress::Progress;
use super::{Counts, Run};
use crate::Engine;
use crate::arn::Resource;
use crate::engine::{LiveKey, Start, TakenUp};
use crate::extension::spill::{self, Spilled};
use crate::record::{self, ChildOf, ExecutionRecord, Summary, key};

/// Express children that are written down in one transaction.
const ENDED_AT_A_TIME: usize = 100;

impl Run {
    /// The same for the same child, always.
    fn child_name(&self, index: u64) -> String {
        record::fingerprint(&["child", &self.id, &index.to_string()])
    }

    fn child_key(&self, index: u64) -> LiveKey {
        LiveKey::new(&self.machine, &self.child_name(index))
    }

    /// What a child is started from.
    fn child_start(&self, child: Child) -> Start {
        let name = self.child_name(child.index);
        let path: Box<str> = self.machine_path.as_str().into();
        let resource = if self.request.express {
            Resource::Express { machine: path.clone(), name: format!("{}:{name}", self.id).into() }
        } else {
            Resource::Execution { machine: path.clone(), name: name.as_str().into() }
        };
        let machine = self.arn.sibling(Resource::Machine { name: path.clone(), qualifier: None });
        let round = self.progress().record.redrive_count;
        Start {
            identity: Identity {
                arn: self.arn.sibling(resource).to_string().into(),
                name: name.as_str().into(),
                machine_arn: machine.to_string().into(),
                machine_name: path,
                role_arn: self.revision.role_arn.as_str().into(),
                region: self.arn.region.clone(),
            },
            machine: self.machine.clone(),
            name,
            revision: Arc::clone(&self.revision),
            version_arn: None,
            alias_arn: None,
            input: child.input,
            trace_header: None,
            child: Some(ChildOf {
                run: self.id.clone(),
                run_arn: self.arn.to_string(),
                index: child.index,
                items: child.items,
                round,
            }),
            depth: self.depth,
        }
    }

    /// Starts what the feed has made, in one transaction, unless it is there already.
    pub(super) fn start_children(
        self: &Arc<Self>,
        engine: &Arc<Engine>,
        feed: &mut Feed,
    ) -> Result<(), StoreError> {
        self.progress().known(feed.items(), feed.children());
        if feed.is_resumed {
            self.pass_over_children(engine, feed)?;
        }
        if self.request.express {
            while let Some(child) = feed.take() {
                self.start_express(engine, child);
            }
            return Ok(());
        }
        let children: Vec<(u64, u64)> = feed.pending().map(|child| (child.index, child.items)).collect();
        let starts: Vec<Start> = feed
            .pending()
            .map(|child| {
                self.child_start(Child { index: child.index, items: child.items, input: child.input.clone() })
            })
            .collect();
        for (index, items) in children {
            // Before they are: they may have ended when they are durable.
            self.progress().started(index, items, None);
        }
        let started = engine.start_children(starts);
        if started.is_err() {
            for child in feed.pending() {
                self.progress().not_started(child.index, child.items);
            }
            // Some of them may be there all the same.
            feed.is_resumed = true;
        } else {
            while feed.take().is_some() {}
        }
        started
    }

    /// After a restart, or when the run is driven on: what is there already is not started again.
    fn pass_over_children(self: &Arc<Self>, engine: &Arc<Engine>, feed: &mut Feed) -> Result<(), StoreError> {
        let round = self.progress().record.redrive_count;
        loop {
            let Some(child) = feed.pending().next() else { return Ok(()) };
            let (index, items) = (child.index, child.items);
            // Looked at first: one that leaves meanwhile has ended by what is read.
            let is_in_flight = self.progress().in_flight.contains_key(&index);
            let found = engine.store.snapshot()?.get(&key::child(&self.id, index))?;
            let Some(found) = found else { return Ok(()) };
            let summary: Summary = record::decode(&found)?;
            let is_bad = !matches!(summary.status, Status::Running | Status::Succeeded);
            let last_round = summary.child.as_ref().map_or(0, |child| child.round).max(summary.redrive_count);
            if summary.status == Status::Running && !is_in_flight {
                self.find_child(engine, index, items)?;
            }
            if !is_bad || last_round >= round {
                feed.take();
                continue;
            }
            if self.request.express {
                self.progress().redriven(summary.status, items);
                if let Some(child) = feed.take() {
                    self.start_express(engine, child);
                }
                continue;
            }
            {
                let mut progress = self.progress();
                progress.redriven(summary.status, items);
                progress.started(index, items, None);
            }
            if engine.go_on(&self.child_key(index), None, engine.now_ms(), None)? != TakenUp::GoesOn {
                // It cannot be driven on: it stays what it was.
                self.progress().ended(index, items, summary.status);
            }
            feed.take();
        }
    }

    /// A child that is under way by what is stored: it may have been started without anybody knowing whether it was.
    fn find_child(&self, engine: &Engine, index: u64, items: u64) -> Result<(), StoreError> {
        self.progress().started(index, items, None);
        let key = self.child_key(index);
        let found = match engine.take_up_again(&key) {
            Ok(false) if !engine.is_live(&key) => engine.status_of(&key),
            Ok(_) => return Ok(()),
            Err(error) => Err(error),
        };
        match found {
            Ok(status) => self.progress().ended(index, items, status.unwrap_or(Status::Aborted)),
            Err(error) => {
                self.progress().not_started(index, items);
                return Err(error);
            }
        }
        Ok(())
    }

    fn start_express(self: &Arc<Self>, engine: &Arc<Engine>, child: Child) {
        let (index, items) = (child.index, child.items);
        let start = self.child_start(child);
        self.progress().started(index, items, None);
        let (run, own) = (Arc::clone(self), Arc::clone(engine));
        let task = engine.runtime.spawn(async move {
            let record = own.run_child(start).await;
            run.progress().ended.push((index, record));
            run.wake.notify_one();
        });
        if let Some(in_flight) = self.progress().in_flight.get_mut(&index) {
            in_flight.abort = Some(task.abort_handle());
        }
    }

    /// Writes down the express children that have ended.
    pub(super) fn store_ended(&self, engine: &Engine) -> Result<(), StoreError> {
        loop {
            let ended: Vec<(u64, ExecutionRecord)> = {
                let mut progress = self.progress();
                let count = progress.ended.len().min(ENDED_AT_A_TIME);
                progress.ended.drain(..count).collect()
            };
            if ended.is_empty() {
                return Ok(());
            }
            if let Err(error) = engine.store_children(&ended) {
                self.progress().ended.extend(ended);
                return Err(error);
            }
            let mut progress = self.progress();
            for (index, record) in ended {
                let items = record.child.map_or(1, |child| child.items);
                progress.ended(index, items, record.status);
            }
        }
    }

    /// Stops what is under way. False when nothing is.
    pub(super) fn stop_children(&self, engine: &Engine) -> Result<bool, StoreError> {
        let mut standard = Vec::new();
        {
            let mut progress = self.progress();
            let mut aborted = Vec::new();
            for (index, in_flight) in &progress.in_flight {
                match &in_flight.abort {
                    Some(abort) => {
                        abort.abort();
                        aborted.push((*index, in_flight.items));
                    }
                    None => standard.push(*index),
                }
            }
            for (index, items) in aborted {
                progress.ended(index, items, Status::Aborted);
            }
            progress.ended.clear();
        }
        for index in standard {
            let key = self.child_key(index);
            if !engine.stop(&key, Failure::default(), None)? {
                // It has ended meanwhile, and is told of; or it never was.
                if engine.is_live(&key) {
                    continue;
                }
                let status = engine.status_of(&key)?.unwrap_or(Status::Aborted);
                let items = self.progress().in_flight.get(&index).map_or(1, |child| child.items);
                self.progress().ended(index, items, status);
            }
        }
        Ok(!self.progress().in_flight.is_empty())
    }
}

impl Engine {
    /// Counts the children of a run that are there already.
    pub(super) fn count_children(&self, run: &str, progress: &mut Progress) -> Result<(), StoreError> {
        let (mut items, mut executions) = (Counts::default(), Counts::default());
        let mut last = 0;
        self.each_child(run, |summary| {
            let child = summary.child.as_ref();
            let count = child.map_or(1, |child| child.items);
            last = last.max(child.map_or(0, |child| child.index + 1));
            items.total += count;
            executions.total += 1;
            // Those under way are adopted one by one.
            if summary.status != Status::Running {
                items.add(summary.status, count);
                executions.add(summary.status, 1);
            }
        })?;
        progress.record.items = items;
        progress.record.executions = executions;
        progress.record.children = last;
        Ok(())
    }

    /// Finds the children of a run that are under way; those that ended while it was looked for them, too.
    pub(super) fn adopt_children(&self, run: &Run) -> Result<(), StoreError> {
        let mut under_way = Vec::new();
        self.each_child(&run.id, |summary| {
            if let Some(child) = summary.child.as_ref().filter(|_| summary.status == Status::Running) {
                under_way.push((child.index, child.items));
            }
        })?;
        for (index, items) in under_way {
            run.progress().started(index, items, None);
            let key = run.child_key(index);
            if !self.is_live(&key) {
                let status = self.status_of(&key)?.unwrap_or(Status::Aborted);
                if status != Status::Running {
                    run.progress().ended(index, items, status);
                }
            }
        }
        Ok(())
    }

    /// Calls `f` for each child of a run that is there, the last one first.
    pub(super) fn each_child(&self, run: &str, mut f: impl FnMut(&Summary)) -> Result<(), StoreError> {
        let prefix = key::children(run);
        let mut after: Option<String> = None;
        loop {
            // A page a snapshot: a run may have very many.
            let page = self.store.snapshot()?.scan(&prefix, after.as_deref(), selvedge_store::PAGE_MAX)?;
            for found in &page {
                f(&record::decode(found)?);
            }
            if page.len() < selvedge_store::PAGE_MAX {
                return Ok(());
            }
            after = page.last().map(|last| last.key.clone());
        }
    }

    /// Runs an express child to its end.
    async fn run_child(self: &Arc<Self>, start: Start) -> ExecutionRecord {
        let begun = self.run_express(&start);
        let mut record = ExecutionRecord::new(start, self.now_ms());
        match begun {
            Ok(express) => {
                let ended = crate::operations::sync::run(self, &record.machine, &record.name, express).await;
                record.status = ended.status();
                record.ended_ms = ended.ended_ms();
                record.output = ended.output().map(str::to_owned);
                record.error = ended.failure().and_then(|failure| failure.error.clone());
                record.cause = ended.failure().and_then(|failure| failure.cause.clone());
            }
            Err(error) => {
                record.status = Status::Failed;
                record.error = Some("States.Runtime".to_owned());
                record.cause = Some(format!("the child cannot begin: {error:?}"));
            }
        }
        record.ended_ms = record.ended_ms.or_else(|| Some(self.now_ms()));
        record
    }

    fn store_children(&self, ended: &[(u64, ExecutionRecord)]) -> Result<(), StoreError> {
        // Those of an extended machine may have more than a value of the store.
        let mut kept = Vec::with_capacity(ended.len());
        for (index, record) in ended {
            let (mut spilled, mut record) = (Spilled::default(), record.clone());
            spill::record(&mut spilled, &*self.store, &mut record)?;
            kept.push((index, record, spilled));
        }
        self.store.transact(&mut |tx| {
            for (index, record, spilled) in &kept {
                spilled.write(tx, &record.machine, &record.name)?;
                tx.put(&key::execution(&record.machine, &record.name), record::encode(record))?;
                if let Some(child) = &record.child {
                    tx.put(&key::child(&child.run, **index), record::encode(&record.summary()))?;
                }
            }
            Ok(())
        })?;
        Ok(())
    }
}
