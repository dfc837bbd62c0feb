//! Workflow workers over one store: the real engine, stepped, with everything around it virtual.
//!
//! A seed draws clients that start executions, people that work, functions that answer late or not at all, and a fate: the
//! store fails before and after its commits, workers die or stand still before and after a durable step while others take
//! over, come back, and have clocks of their own that jump. Then there is peace, everything comes to its end, and the
//! [`ledger`] says whether what was promised was kept.
//!
//! `SEED=n cargo test -p selvedge-sim --test workflows` tells the story of one.

mod clock;
mod fate;
mod ledger;
mod line;
mod machines;
mod outside;
mod people;
mod scene;
mod worker;

use std::sync::Arc;

pub use line::Planted;

use crate::chance::Chance;
use fate::World;
use scene::Scene;

/// What came of a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The whole story.
    pub trace: Vec<String>,
    /// The first promise that was not kept.
    pub failure: Option<String>,
    /// Executions that were acknowledged.
    pub acknowledged: usize,
    /// Workers that took over.
    pub workers: u32,
}

/// Lives through the world that belongs to `seed`; with `planted`, workers are given a store that breaks its word. What happens is
/// told to `listener` at once, too: a run that does not return tells how far it came.
pub fn run(seed: u64, planted: Planted, listener: Option<fn(&str)>) -> Run {
    let mut chance = Chance::new(seed ^ 0x776f_726b_666c_6f77);
    let scene = Arc::new(Scene::new(chance.fork(), planted, listener));
    let mut world = World::new(Arc::clone(&scene), chance.fork());
    let failure = live(&mut world, &mut chance).err();
    Run {
        trace: scene.take_trace(),
        failure,
        acknowledged: scene.ledger().acknowledged(),
        workers: scene.workers(),
    }
}

fn live(world: &mut World, chance: &mut Chance) -> Result<(), String> {
    world.prepare();
    let acts = 60 + chance.below(60);
    world.storm(chance.pick(&[0, 20, 60, 120]));
    for _ in 0..acts {
        world.act();
    }
    world.settle()?;
    world.audit()
}
