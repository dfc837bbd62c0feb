//! Executions that are under way.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use selvedge_asl::{Definition, Execution};

use crate::extension::Extension;
use crate::log::Plan;
use crate::record::ExecutionRecord;
use crate::traces::Trace;

/// How many executions may be under way at a time.
pub const LIVE_MAX: usize = 1_000_000;
/// How many of them one machine may have: others always find room.
pub const LIVE_OF_MACHINE_MAX: usize = 900_000;

/// Which execution: its machine's name and its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LiveKey {
    pub(crate) machine: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl LiveKey {
    pub(crate) fn new(machine: &str, name: &str) -> Self {
        Self { machine: machine.into(), name: name.into() }
    }
}

impl fmt::Display for LiveKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.machine, self.name)
    }
}

/// An execution with what is stored beside it.
pub(super) struct Live {
    pub(super) execution: Execution,
    pub(super) definition: Arc<Definition>,
    pub(super) record: ExecutionRecord,
    /// How many parts its last checkpoint has.
    pub(super) checkpoint_parts: usize,
    /// When the timer looks at it next, if it does.
    pub(super) armed_ms: Option<i64>,
    /// Until when the store knows it to be idle.
    pub(super) stored_idle_until: Option<i64>,
    /// What it logs.
    pub(super) plan: Option<Arc<Plan>>,
    /// Its place in a trace.
    pub(super) trace: Option<Trace>,
    /// What its machine has beyond the original.
    pub(super) extension: Arc<Extension>,
    /// It is in the store alone from here on: whoever holds this looks it up once more.
    pub(super) is_asleep: bool,
}

impl Live {
    pub(super) fn new(
        execution: Execution,
        definition: Arc<Definition>,
        record: ExecutionRecord,
        checkpoint_parts: usize,
    ) -> Self {
        let stored_idle_until = execution.idle_until();
        Self {
            execution,
            definition,
            record,
            checkpoint_parts,
            armed_ms: None,
            stored_idle_until,
            plan: None,
            trace: None,
            extension: Arc::default(),
            is_asleep: false,
        }
    }

    pub(super) fn key(&self) -> LiveKey {
        LiveKey::new(&self.record.machine, &self.record.name)
    }
}

/// What is known of an execution that is under way.
enum Slot {
    Awake(Arc<Mutex<Live>>),
    /// It waits, and is in the store alone.
    Asleep,
    /// It is being read back: nobody knows what it is.
    Lost,
}

/// Where an execution is.
pub(super) enum Found {
    Awake(Arc<Mutex<Live>>),
    Asleep,
    Lost,
    Nowhere,
}

/// The executions that are under way, each with its lock: its one writer. The table's own lock is held to look one up.
#[derive(Default)]
pub(super) struct Table(Mutex<Slots>);

#[derive(Default)]
struct Slots {
    slots: HashMap<LiveKey, Slot>,
    /// How many of them each machine has.
    of_machine: HashMap<Arc<str>, usize>,
}

impl Slots {
    fn put(&mut self, key: LiveKey, slot: Slot) {
        let machine = Arc::clone(&key.machine);
        if self.slots.insert(key, slot).is_none() {
            *self.of_machine.entry(machine).or_default() += 1;
        }
    }
}

impl Table {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, key: &LiveKey) -> Found {
        match self.slots().slots.get(key) {
            Some(Slot::Awake(cell)) => Found::Awake(Arc::clone(cell)),
            Some(Slot::Asleep) => Found::Asleep,
            Some(Slot::Lost) => Found::Lost,
            None => Found::Nowhere,
        }
    }

    pub(super) fn contains(&self, key: &LiveKey) -> bool {
        self.slots().slots.contains_key(key)
    }

    pub(super) fn insert(&self, key: LiveKey, live: Live) {
        self.slots().put(key, Slot::Awake(Arc::new(Mutex::new(live))));
    }

    pub(super) fn insert_asleep(&self, key: LiveKey) {
        self.slots().put(key, Slot::Asleep);
    }

    /// Takes the place of an execution that is not under way, for whoever wants to go on with it; false where it is taken.
    pub(super) fn claim(&self, key: &LiveKey) -> bool {
        let mut table = self.slots();
        let is_free = !table.slots.contains_key(key);
        if is_free {
            table.put(key.clone(), Slot::Lost);
        }
        is_free
    }

    /// Keeps an execution's place until it is read back.
    pub(super) fn insert_lost(&self, key: LiveKey) {
        self.slots().put(key, Slot::Lost);
    }

    /// Gives an execution up until it is read back; its holder has marked it.
    pub(super) fn lose(&self, key: &LiveKey) {
        if let Some(slot) = self.slots().slots.get_mut(key) {
            *slot = Slot::Lost;
        }
    }

    /// Puts an execution to sleep; its holder has marked it.
    pub(super) fn sleep(&self, key: &LiveKey) {
        if let Some(slot) = self.slots().slots.get_mut(key) {
            *slot = Slot::Asleep;
        }
    }

    /// Wakes one with what was read of it, unless somebody else has meanwhile.
    pub(super) fn wake(&self, key: &LiveKey, live: Live) {
        if let Some(slot @ Slot::Asleep) = self.slots().slots.get_mut(key) {
            *slot = Slot::Awake(Arc::new(Mutex::new(live)));
        }
    }

    /// Forgets what is not wanted any more.
    pub(super) fn retain(&self, is_wanted: impl Fn(&LiveKey) -> bool) {
        let unwanted: Vec<LiveKey> =
            self.slots().slots.keys().filter(|key| !is_wanted(key)).cloned().collect();
        unwanted.iter().for_each(|key| self.remove(key));
    }

    pub(super) fn remove(&self, key: &LiveKey) {
        let mut table = self.slots();
        if table.slots.remove(key).is_none() {
            return;
        }
        if let Some(count) = table.of_machine.get_mut(&key.machine) {
            *count -= 1;
            if *count == 0 {
                table.of_machine.remove(&key.machine);
            }
        }
    }

    /// Whether one more of that machine may be under way.
    pub(super) fn has_room(&self, machine: &str) -> bool {
        let table = self.slots();
        let of_machine = table.of_machine.get(machine).copied().unwrap_or_default();
        table.slots.len() < LIVE_MAX && of_machine < LIVE_OF_MACHINE_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_starts_without_end_leaves_room_for_others() {
        let table = Table::default();
        let greedy: Arc<str> = "greedy".into();
        let key = |number: usize| LiveKey { machine: Arc::clone(&greedy), name: number.to_string().into() };
        for number in 0..LIVE_OF_MACHINE_MAX {
            table.insert_asleep(key(number));
        }
        assert!(!table.has_room("greedy"));
        assert!(table.has_room("other"));
        // What is there already is not counted twice.
        table.insert_lost(key(0));
        table.remove(&key(0));
        table.remove(&key(0));
        assert!(table.has_room("greedy"), "one has ended");
        table.insert_asleep(key(0));
        assert!(!table.has_room("greedy"));
    }
}
