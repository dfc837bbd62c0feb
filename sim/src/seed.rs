//! One seed: a mesh, users, misfortunes, then peace and an audit.

use crate::act::{self, Cast};
use crate::chance::Chance;
use crate::intent::Intent;
use crate::moment::Moment;
use crate::world::{Failure, World};
use selvedge_store::RETAINED_REVISIONS;
use std::time::Duration;

/// The longest time of trouble.
const TROUBLE_MAX: Duration = Duration::from_secs(60);

/// What came of a seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// The whole story.
    pub trace: Vec<String>,
    /// The first thing that went wrong.
    pub failure: Option<Failure>,
}

/// Lives through the world that belongs to `seed`.
pub fn run(seed: u64) -> Run {
    let mut chance = Chance::new(seed);
    let cast = Cast { controls: chance.pick(&[1, 2]), proxies: chance.pick(&[1, 3, 5]), clients: 2 };
    // Some feeds forget so soon that a control plane that was away for a while has to read everything again.
    let retained = chance.pick(&[2, 20, RETAINED_REVISIONS]);
    let mut world = World::new(chance.bits(), cast, retained);
    let failure = live(&mut world, cast, &mut chance).err();
    Run { trace: world.trace().drain(), failure }
}

fn live(world: &mut World, cast: Cast, chance: &mut Chance) -> Result<(), Failure> {
    for act in act::peace(cast) {
        world.act(act);
    }
    world.tell(0, Intent::first_mesh(), 0);
    // Some worlds are in trouble from the beginning, others have a mesh first.
    if chance.hits(700) {
        world.run_until_content()?;
    }
    for client in 0..cast.clients {
        world.tell(client, Vec::new(), 5 + u32::try_from(chance.below(20)).expect("below 20"));
    }
    let trouble = chance.between(Duration::from_secs(5), TROUBLE_MAX);
    let begin = world.now();
    for (at, act) in act::misfortunes(chance, cast, Moment::START + trouble) {
        world.plan(begin + at.since_start(), act);
    }
    world.run_for(trouble)?;
    for act in act::peace(cast) {
        world.act(act);
    }
    world.run_until_content()?;
    world.converge()?;
    world.audit()
}
