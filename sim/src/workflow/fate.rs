//! What happens to workers, and the peace after it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::ledger;
use super::line::{Place, Strike};
use super::scene::Scene;
use super::worker::Worker;
use crate::chance::Chance;

/// The most that a worker's clock is off.
const SKEW_MAX_MS: usize = 3_600_000;
/// Seconds in which everything comes to its end where nothing fails, and those of a step of them.
const PEACE: u64 = 24 * 3600;
const PEACE_STEP: u64 = 1800;

pub(super) struct World {
    scene: Arc<Scene>,
    chance: Chance,
    /// The worker that took over last, if it runs.
    current: Option<Worker>,
    /// One that stood still, and does not know that another took over.
    paused: Option<Worker>,
}

impl World {
    pub(super) fn new(scene: Arc<Scene>, chance: Chance) -> Self {
        Self { scene, chance, current: None, paused: None }
    }

    pub(super) fn prepare(&mut self) {
        let worker = Worker::start(&self.scene, 0).expect("nothing fails yet");
        self.scene.prepare(&worker);
        self.current = Some(worker);
    }

    pub(super) fn storm(&mut self, per_mille: u16) {
        self.scene.note("fate", format_args!("{per_mille} of a thousand passages of the store fail"));
        self.scene.storm.blow(per_mille);
    }

    /// One thing happens.
    pub(super) fn act(&mut self) {
        let fate = self.chance.below(100);
        match fate {
            0..70 => self.live(fate),
            70..82 => self.pass_time(),
            82..84 => self.set_clock(),
            84..88 => {
                self.scene.note("fate", "the worker dies");
                self.kill();
            }
            88..91 => self.pause(),
            91..94 => self.resume(),
            _ => self.arm(),
        }
        self.aftermath();
    }

    fn live(&mut self, fate: usize) {
        let scene = Arc::clone(&self.scene);
        let Some(worker) = self.worker() else { return };
        match fate {
            0..24 => scene.start(worker),
            24..36 => scene.work(worker),
            36..46 => scene.use_token(worker),
            46..56 => scene.answer_function(),
            56..59 => scene.look(worker),
            59 => scene.stop(worker),
            60..63 => scene.decide(worker),
            63..67 => scene.redrive(worker),
            67..69 => scene.start_express(worker),
            _ => {}
        }
        let turns = self.chance.below(40);
        if let Some(worker) = &self.current {
            worker.turn(turns);
        }
    }

    /// The worker that serves; one is started where none does.
    fn worker(&mut self) -> Option<&Worker> {
        if self.current.is_none() {
            let skew_ms = self.skew();
            self.current = Worker::start(&self.scene, skew_ms);
        }
        self.current.as_ref()
    }

    fn skew(&mut self) -> i64 {
        if self.chance.hits(500) {
            return 0;
        }
        let skew = self.chance.below(2 * SKEW_MAX_MS);
        i64::try_from(skew).unwrap_or(0) - i64::try_from(SKEW_MAX_MS).unwrap_or(0)
    }

    fn pass_time(&mut self) {
        let time = match self.chance.below(4) {
            0 => Duration::from_secs(3600),
            1 => Duration::from_secs(400),
            _ => Duration::from_millis(500 + 100 * u64::try_from(self.chance.below(100)).unwrap_or(0)),
        };
        self.advance(time);
    }

    fn advance(&mut self, time: Duration) {
        let time_ms = i64::try_from(time.as_millis()).unwrap_or(0);
        self.scene.now_ms.fetch_add(time_ms, Ordering::SeqCst);
        self.scene.note("fate", format_args!("{} s pass", time.as_secs_f64()));
        if let Some(worker) = &self.current {
            worker.pass(time);
            worker.elapse();
            worker.turn(10);
        }
    }

    /// Summer time, a bad battery, an operator.
    fn set_clock(&mut self) {
        let skew_ms = self.skew();
        if let Some(worker) = &self.current {
            self.scene.note(
                format_args!("worker {}", worker.number),
                format_args!("has its clock set: {skew_ms} ms off"),
            );
            worker.set_clock(skew_ms);
            worker.elapse();
        }
    }

    fn kill(&mut self) {
        if let Some(worker) = self.current.take() {
            worker.line.cut();
        }
    }

    /// A worker stands still, as by `SIGSTOP`; another takes its place.
    fn pause(&mut self) {
        let Some(worker) = self.current.take() else { return };
        self.scene.note(format_args!("worker {}", worker.number), "stands still");
        self.paused = Some(worker);
        self.worker();
    }

    /// It goes on where it stood, and serves whoever asks it.
    fn resume(&mut self) {
        let Some(paused) = self.paused.take() else { return };
        self.scene.note(format_args!("worker {}", paused.number), "goes on");
        paused.elapse();
        paused.turn(20);
        let is_superseded = self.scene.workers() > paused.number;
        let number = self.scene.ledger().begin();
        let is_acknowledged = self.scene.start_numbered(&paused, number);
        if is_acknowledged && is_superseded && self.current.is_some() {
            let broken = format!("worker {} writes after another took over", paused.number);
            self.scene.ledger().broke(broken);
        }
        self.scene.use_token(&paused);
        self.scene.work(&paused);
        paused.turn(20);
        if self.chance.hits(500) {
            self.paused = Some(paused);
        }
    }

    /// Something will strike before or after one of the next durable steps.
    fn arm(&mut self) {
        let place = self.chance.pick(&[Place::Before, Place::After]);
        let steps = self.chance.below(6);
        let (skew_ms, acts) = (self.skew(), self.chance.below(6));
        let stands_still = self.chance.hits(600);
        let Some(worker) = &self.current else { return };
        let what = if stands_still { "stands still" } else { "dies" };
        let who = format!("worker {}", worker.number);
        self.scene.note(&who, format_args!("{what} {place:?} the durable step after {steps}"));
        let strike = if stands_still {
            let scene = Arc::clone(&self.scene);
            Strike::StandStill(Box::new(move || {
                scene.note(&who, "stands still in the midst of a step");
                take_over(&scene, skew_ms, acts);
                scene.note(&who, "goes on with its step");
            }))
        } else {
            Strike::Die
        };
        worker.line.arm(steps, place, strike);
    }

    /// What an act leaves to be done: the dead are taken away, whoever took over serves.
    fn aftermath(&mut self) {
        let arrived = self.scene.arrivals().pop();
        if let Some(arrived) = arrived {
            self.paused = self.current.replace(arrived).or_else(|| self.paused.take());
        }
        if self.scene.store.is_crashed() {
            self.scene.note("fate", "the store and its worker have died");
            self.kill();
            self.scene.store.recover();
        }
        if self.current.as_ref().is_some_and(|worker| worker.line.is_cut()) {
            self.current = None;
        }
    }

    /// Everything comes to its end, without failures; and without another worker, where one serves.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.storm(0);
        self.paused = None;
        self.scene.arrivals().clear();
        // One that was superseded ends, as in an installation, also where its successor came to nothing.
        self.current = self.current.take().filter(|worker| !worker.line.is_superseded());
        if let Some(worker) = &self.current {
            worker.line.disarm();
        }
        if self.worker().is_none() {
            return Err("nothing fails any more, and no worker starts".to_owned());
        }
        for _ in 0..PEACE / PEACE_STEP {
            if self.settle_some()? {
                return Ok(());
            }
            self.advance(Duration::from_secs(PEACE_STEP));
        }
        let Some(worker) = &self.current else { return Err("nobody serves".to_owned()) };
        Err(format!("these stand still: {}", self.scene.ledger().standing(worker)))
    }

    /// True when nothing is under way.
    fn settle_some(&mut self) -> Result<bool, String> {
        let Some(worker) = &self.current else { return Err("nobody serves".to_owned()) };
        for _ in 0..4 {
            worker.turn(100);
            self.scene.work(worker);
            self.scene.use_token(worker);
            self.scene.answer_function();
            self.scene.decide(worker);
        }
        worker.turn(100);
        if self.scene.may_tick() || self.scene.is_driving(worker)? {
            return Ok(false);
        }
        let open = self.scene.ledger().under_way();
        for arn in open {
            let found = worker.call("DescribeExecution", json!({ "executionArn": arn }));
            match found {
                Some(Ok(found)) if found["status"] == "RUNNING" => return Ok(false),
                Some(Ok(found)) => self.scene.ledger().saw_end(&arn, &found),
                other => return Err(format!("{arn} was acknowledged and is lost: {other:?}")),
            }
        }
        // What was never acknowledged may be there, and then it is whole, too.
        Ok(!ledger::is_any_running(worker)?)
    }

    pub(super) fn audit(&mut self) -> Result<(), String> {
        let Some(worker) = &self.current else { return Err("nobody serves".to_owned()) };
        let histories = self.scene.ledger().audit(worker)?;
        self.scene.people().audit(worker, &histories)?;
        self.scene.audit_clock(worker)?;
        self.scene.outside.audit(|number| self.scene.tries_max(number))
    }
}

/// Another worker takes over while one stands in the midst of a step, and does some of what there is to do.
fn take_over(scene: &Scene, skew_ms: i64, acts: usize) {
    let Some(worker) = Worker::start(scene, skew_ms) else { return };
    for _ in 0..acts {
        let act = scene.chance().below(4);
        match act {
            0 => scene.start(&worker),
            1 => scene.work(&worker),
            2 => scene.use_token(&worker),
            _ => worker.elapse(),
        }
        worker.turn(10);
    }
    scene.arrivals().push(worker);
}
