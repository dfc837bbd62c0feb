//! When names are looked up, for all clusters of a process: one task, however many they are.
//!
//! Clusters that ask the same question share its answers. Thousands of services often stand behind few names, and where each
//! has a name of its own, a row here is all that it costs between two lookups.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::dns::{Answer, DnsError, Resolver};
use crate::random;
use crate::resolve::{Known, Named, Question};

/// So many lookups are under way at a time. The others wait: a large mesh does not run out of sockets over its names.
pub const LOOKUPS_MAX: usize = 512;

/// What is due so soon is asked at once: thousands of names do not wake the thread thousands of times.
const SLACK: Duration = Duration::from_millis(20);

/// Follows the names of clusters until it is dropped.
#[derive(Debug)]
pub(crate) struct Lookups {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Shared {
    /// Only the control thread locks it, but for tests.
    questions: Mutex<Questions>,
    /// A question is due sooner than any before it.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Questions {
    by_content: HashMap<Arc<Question>, Entry>,
    /// By time, soonest first. A row whose time is not that of its question has been overtaken.
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    by_number: HashMap<u64, Arc<Question>>,
    next_number: u64,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    known: Known,
    /// There has been an answer, or a failure, since somebody asked who had none.
    answered: bool,
    /// When it is asked next; `None` while it is.
    due: Option<Instant>,
    followers: Vec<Weak<Cluster>>,
}

// === impl Lookups ===

impl Lookups {
    /// Asks `resolver` on `runtime`, the control thread's.
    pub(crate) fn new(resolver: Resolver, runtime: &Handle) -> Self {
        let shared = Arc::<Shared>::default();
        let task = runtime.spawn(run(Arc::clone(&shared), resolver)).abort_handle();
        Self { shared, task }
    }

    /// Looks a cluster's names up, again and again, until it is gone. What is known of them already it has at once.
    pub(crate) fn follow(&self, cluster: &Arc<Cluster>) {
        let Some(named) = Named::of(&cluster.config) else { return };
        let now = Instant::now();
        let mut questions = self.shared.lock();
        for question in named.questions() {
            if questions.follow(question, cluster, now) {
                cluster.upkeep.update_attempt.inc();
                cluster.upkeep.update_success.inc();
            }
        }
        drop(questions);
        self.shared.asked.notify_one();
        self.shared.update(cluster);
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(shared: Arc<Shared>, resolver: Resolver) {
    let mut under_way = JoinSet::new();
    loop {
        let room = LOOKUPS_MAX - under_way.len();
        for question in shared.ask(Instant::now() + SLACK, room) {
            let resolver = resolver.clone();
            under_way.spawn(async move {
                let result = resolver.lookup(&question.name, question.family).await;
                (question, result)
            });
        }
        let next = shared.next().filter(|_| under_way.len() < LOOKUPS_MAX);
        tokio::select! {
            Some(ended) = under_way.join_next() => {
                // A lookup neither panics nor is aborted before this task is.
                let Ok((question, result)) = ended else { continue };
                shared.answered(&question, result, Instant::now());
            }
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {}
            () = shared.asked.notified() => {}
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Instant> {
        self.lock().due.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes what is due by `until`, at most `count` questions, and tells their clusters that they are asked.
    fn ask(&self, until: Instant, count: usize) -> Vec<Arc<Question>> {
        let (mut asked, mut followers) = (Vec::new(), Vec::new());
        let mut questions = self.lock();
        while asked.len() < count
            && let Some(question) = questions.pop_due(until)
        {
            if let Some(entry) = questions.by_content.get(&question) {
                followers.extend(entry.alive());
            }
            asked.push(question);
        }
        drop(questions);
        followers.iter().for_each(|cluster| cluster.upkeep.update_attempt.inc());
        asked
    }

    /// Hands an answer to all who follow it.
    fn answered(&self, question: &Question, result: Result<Answer, DnsError>, now: Instant) {
        let mut questions = self.lock();
        let Some(entry) = questions.by_content.get_mut(question) else { return };
        let ttl = result.as_ref().ok().map(|answer| answer.ttl);
        let changed = match &result {
            Ok(answer) => entry.known.answered(answer),
            Err(error) => {
                tracing::debug!(name = &*question.name, %error, "failed to resolve");
                entry.known.denied(error)
            }
        };
        let changed = changed | !std::mem::replace(&mut entry.answered, true);
        let followers = entry.alive();
        let number = entry.number;
        questions.schedule(number, now + jittered(question.refresh.wait(ttl)));
        drop(questions);
        for cluster in followers {
            match &result {
                Ok(_) => cluster.upkeep.update_success.inc(),
                Err(_) => cluster.upkeep.update_failure.inc(),
            }
            if changed { self.update(&cluster) } else { cluster.upkeep.update_no_rebuild.inc() }
        }
    }

    /// Gives a cluster the hosts that its names stand for, once all of them are known.
    fn update(&self, cluster: &Arc<Cluster>) {
        let Some(named) = Named::of(&cluster.config) else { return };
        let questions = self.lock();
        let found = named.found(|question| {
            let (question, entry) = questions.by_content.get_key_value(question)?;
            entry.answered.then_some((&**question, &entry.known))
        });
        drop(questions);
        if let Some(found) = found {
            cluster.update_members(found, named.overprovisioning_percent());
        }
    }
}

// === impl Questions ===

impl Questions {
    /// Adds a follower of a question; tells whether it is answered already. If not, it is asked now.
    fn follow(&mut self, question: Question, cluster: &Arc<Cluster>, now: Instant) -> bool {
        let Some(entry) = self.by_content.get_mut(&question) else {
            let question = Arc::new(question);
            let number = self.next_number;
            self.next_number += 1;
            self.by_number.insert(number, Arc::clone(&question));
            let followers = vec![Arc::downgrade(cluster)];
            let entry = Entry { number, known: Known::default(), answered: false, due: None, followers };
            self.by_content.insert(question, entry);
            self.schedule(number, now);
            return false;
        };
        entry.followers.push(Arc::downgrade(cluster));
        if entry.answered && !entry.known.addresses.is_empty() {
            return true;
        }
        entry.answered = false;
        let number = entry.number;
        if entry.due.is_some_and(|due| due > now) {
            self.schedule(number, now);
        }
        false
    }

    fn schedule(&mut self, number: u64, at: Instant) {
        let Some(entry) = self.by_number.get(&number).and_then(|question| self.by_content.get_mut(question))
        else {
            return;
        };
        entry.due = Some(at);
        self.due.push(Reverse((at, number)));
    }

    /// The next question that is due by `until`. One that nobody follows any more is forgotten.
    fn pop_due(&mut self, until: Instant) -> Option<Arc<Question>> {
        while self.due.peek().is_some_and(|Reverse((at, _))| *at <= until) {
            let Reverse((at, number)) = self.due.pop()?;
            let Some(question) = self.by_number.get(&number).cloned() else { continue };
            let Some(entry) = self.by_content.get_mut(&question) else { continue };
            if entry.due != Some(at) {
                continue;
            }
            entry.followers.retain(|cluster| cluster.upgrade().is_some_and(|cluster| !cluster.is_removed()));
            if entry.followers.is_empty() {
                self.by_content.remove(&question);
                self.by_number.remove(&number);
                continue;
            }
            entry.due = None;
            return Some(question);
        }
        None
    }
}

impl Entry {
    fn alive(&self) -> Vec<Arc<Cluster>> {
        self.followers.iter().filter_map(Weak::upgrade).filter(|cluster| !cluster.is_removed()).collect()
    }
}

/// Up to a tenth sooner, so that processes with the same name servers do not march in step.
fn jittered(interval: Duration) -> Duration {
    let tenth = u64::try_from(interval.as_millis() / 10).unwrap_or(u64::MAX);
    interval - Duration::from_millis(random::below(tenth))
}
