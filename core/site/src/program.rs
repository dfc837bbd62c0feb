//! A configuration as a program: what to listen on, and what holds for a request.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::Compat;
use crate::condition::{self, Condition, ConditionId, Field, Truth, Truths};
use crate::directive::{Directives, Global, Host, Setter, Text};
use crate::facts::RequestFacts;
use crate::listener::Listener;
use crate::mention::Mention;
use crate::pattern::PatternExhausted;
use crate::place::{Place, Sources};
use crate::route::Route;
use crate::series::Series;
use crate::value::Value;

/// The conditions of one configuration.
pub const CONDITIONS_MAX: usize = 4095;
/// The combinations of conditions whose directives one [`Resolver`] remembers; it starts anew beyond.
pub const RESOLVED_MAX: usize = 512;

/// A compiled configuration. Requests keep the program that they began with.
#[derive(Debug)]
pub struct Program {
    /// What to listen on.
    pub listeners: Vec<Listener>,
    /// All conditions, by number; those that one depends on come before it.
    pub conditions: Vec<Condition>,
    /// What is set, and by which block.
    pub(crate) rules: RuleSet,
    /// What holds when no condition does.
    pub(crate) base: Arc<Resolved>,
    /// What requests are counted under, of a `lighttpd.conf`.
    pub(crate) series: Series,
    /// The files that it was compiled from.
    pub sources: Sources,
    /// Whose meaning counts where versions of lighttpd differ.
    pub compat: Compat,
}

/// How what is set for a request is found.
#[derive(Debug)]
pub(crate) enum RuleSet {
    /// lighttpd's way: every block whose condition holds sets its directives, the later ones over the earlier.
    Patches(Vec<Patch>),
    /// Our own form's way: the first route that fits, and nothing of the others.
    Routes(RouteTable),
}

/// Our own form's routes.
#[derive(Debug)]
pub(crate) struct RouteTable {
    pub(crate) routes: Vec<Route>,
    /// What holds for a connection before it has asked for anything.
    pub(crate) doors: Vec<Door>,
    /// What of the machine the file names.
    pub(crate) mentions: Vec<Mention>,
}

/// What holds for connections of one listener.
#[derive(Debug)]
pub(crate) struct Door {
    /// The listener's.
    pub(crate) token: Arc<str>,
    pub(crate) resolved: Arc<Resolved>,
}

/// What one block sets.
#[derive(Debug)]
pub(crate) struct Patch {
    /// The block's condition; `None` is the global block.
    pub(crate) condition: Option<ConditionId>,
    pub(crate) assignments: Vec<Assignment>,
}

/// One directive of a block.
pub(crate) struct Assignment {
    pub(crate) key: Arc<str>,
    pub(crate) value: Value,
    pub(crate) place: Place,
    /// `None`: of no consequence.
    pub(crate) setter: Option<Setter>,
}

/// What holds for a request.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Everything that is set.
    pub directives: Directives,
    /// A number that is the same for requests for which the same holds; 0 when no condition holds.
    pub id: u32,
    /// What the request is counted under: from 1 a place in [`Program::route_names`]; 0 under nothing.
    pub route: u32,
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The directive.
    pub key: Arc<str>,
    /// Its value.
    pub value: Value,
    /// Where it was set.
    pub place: Place,
    /// By which block.
    pub condition: Option<ConditionId>,
    /// The value was set again by a later block that holds as well.
    pub overridden: bool,
}

/// Answers what holds for requests, and remembers it by the conditions that hold. Each thread has its own, so that no
/// request waits for another.
#[derive(Debug)]
pub struct Resolver {
    program: Arc<Program>,
    known: HashMap<Mask, Arc<Resolved>, foldhash::Build>,
    next_id: u32,
}

/// The conditions that hold, a bit for each.
type Mask = SmallVec<[u64; 2]>;

mod foldhash {
    //! A hasher without entropy: the keys are masks of our own conditions, not a stranger's bytes.

    use std::hash::{BuildHasher, Hasher};

    #[derive(Clone, Copy, Debug, Default)]
    pub(super) struct Build;

    pub(super) struct Mix(u64);

    impl BuildHasher for Build {
        type Hasher = Mix;

        fn build_hasher(&self) -> Mix {
            Mix(0xcbf2_9ce4_8422_2325)
        }
    }

    impl Hasher for Mix {
        fn write(&mut self, bytes: &[u8]) {
            for chunk in bytes.chunks(8) {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                self.write_u64(u64::from_ne_bytes(word));
            }
        }

        fn write_u64(&mut self, word: u64) {
            self.0 = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        }

        fn finish(&self) -> u64 {
            self.0
        }
    }
}

impl Program {
    /// What is set once for the process.
    pub fn global(&self) -> &Global {
        &self.base.directives.global
    }

    /// What holds when no condition does.
    pub fn base(&self) -> &Arc<Resolved> {
        &self.base
    }

    /// What holds for a request, without remembering it. Requests are served through a [`Resolver`]. After a rewrite, ask
    /// again with the new path if [`Self::judges_again`]. Without a path the question is about a connection, of which only
    /// the listener and perhaps the server's name are known.
    ///
    /// # Errors
    /// [`PatternExhausted`] when an expression takes too long on what the request brought: nobody knows which rules hold,
    /// and the request is to be refused.
    pub fn resolve(&self, facts: &RequestFacts<'_>) -> Result<Arc<Resolved>, PatternExhausted> {
        match &self.rules {
            RuleSet::Patches(patches) => {
                let truths = self.judge(facts)?;
                Ok(Arc::new(self.applied(patches, &truths, 0)))
            }
            RuleSet::Routes(table) => Ok(Arc::clone(self.routed(table, facts)?)),
        }
    }

    /// What is known of every condition.
    ///
    /// # Errors
    /// [`PatternExhausted`].
    pub fn judge(&self, facts: &RequestFacts<'_>) -> Result<Truths, PatternExhausted> {
        condition::judge(&self.conditions, facts)
    }

    /// Whether some request may be answered by a tunnel: by a service of the mesh, by backends that WebSockets go on to, by a program
    /// that they end at.
    pub fn offers_tunnels(&self) -> bool {
        let offers = |directives: &Directives| {
            let header = &directives.proxy.header;
            directives.mesh.service.as_deref().is_some_and(|name| !name.is_empty())
                || header.upgrade && !header.force_http10
                || !directives.wstunnel.server.extensions.is_empty()
        };
        offers(&self.base.directives)
            || match &self.rules {
                RuleSet::Patches(patches) => patches.iter().any(|patch| {
                    let mut directives = Directives::default();
                    patch.apply(&mut directives);
                    offers(&directives)
                }),
                RuleSet::Routes(table) => table.routes.iter().any(|route| offers(&route.resolved.directives)),
            }
    }

    /// Every backend of every block, in the order of the configuration, each once.
    pub fn backends(&self) -> Vec<Host> {
        let mut found: Vec<Host> = Vec::new();
        let mut add = |directives: &Directives| {
            let servers = [
                &directives.fastcgi.server,
                &directives.scgi.server,
                &directives.proxy.server,
                &directives.wstunnel.server,
            ];
            for host in
                servers.iter().flat_map(|server| server.extensions.iter()).flat_map(|one| one.hosts.iter())
            {
                if !found.iter().any(|known| known.id == host.id) {
                    found.push(host.clone());
                }
            }
        };
        match &self.rules {
            RuleSet::Patches(patches) => {
                for patch in patches {
                    let mut directives = Directives::default();
                    patch.apply(&mut directives);
                    add(&directives);
                }
            }
            RuleSet::Routes(table) => table.routes.iter().for_each(|route| add(&route.resolved.directives)),
        }
        add(&self.base.directives);
        found.sort_by_key(|host| host.id);
        found
    }

    /// Whether what holds is found anew once a path has been rewritten: lighttpd's conditions are judged again; a route of
    /// our own form that was chosen stays chosen.
    pub fn judges_again(&self) -> bool {
        matches!(self.rules, RuleSet::Patches(_))
    }

    /// Whether what holds for a request is settled by its listener, scheme, host, method and target: no condition, and no
    /// route, looks at who asks or at a header. Whoever remembers an answer by these has to know.
    pub fn is_settled_by_target(&self) -> bool {
        let settles = |field: &Field| match field {
            Field::Host
            | Field::HostName
            | Field::Url
            | Field::QueryString
            | Field::Scheme
            | Field::RequestMethod
            | Field::Socket => true,
            Field::RemoteIp | Field::Header(_) => false,
        };
        let routes: &[Route] = match &self.rules {
            RuleSet::Patches(_) => &[],
            RuleSet::Routes(table) => &table.routes,
        };
        self.conditions.iter().filter_map(|one| one.test.as_ref()).all(|test| settles(&test.field))
            && routes.iter().all(Route::is_settled_by_target)
    }

    /// Whether what holds for a request is settled by its listener, scheme and whole head: no condition, and no route, looks at who
    /// asks. Whoever remembers by the bytes of a head what it led to has to know.
    pub fn is_settled_by_head(&self) -> bool {
        let looks = |field: &Field| matches!(field, Field::RemoteIp);
        let routes: &[Route] = match &self.rules {
            RuleSet::Patches(_) => &[],
            RuleSet::Routes(table) => &table.routes,
        };
        !self.conditions.iter().filter_map(|one| one.test.as_ref()).any(|test| looks(&test.field))
            && routes.iter().all(Route::is_settled_by_head)
    }

    /// What requests are counted under, a site and a route, in order: the first is that of [`Resolved::route`] 1. Of our own form they are
    /// its routes, and a site is called by the first of its hosts; of a `lighttpd.conf` conditions on hosts and on paths. `*` is all.
    pub fn route_names(&self) -> impl Iterator<Item = (&Text, &Text)> {
        let routes: &[Route] = match &self.rules {
            RuleSet::Patches(_) => &[],
            RuleSet::Routes(table) => &table.routes,
        };
        let blocks = self.series.names().iter().map(|(site, route)| (site, route));
        blocks.chain(routes.iter().map(|route| (&route.site, &route.name)))
    }

    /// The listener that a connection came in by.
    pub fn listener(&self, token: &str) -> Option<&Listener> {
        self.listeners.iter().find(|listener| *listener.token == *token)
    }

    /// The condition of this number.
    pub fn condition(&self, id: ConditionId) -> Option<&Condition> {
        self.conditions.get(usize::from(id.0))
    }

    pub(crate) fn rule_set(&self) -> &RuleSet {
        &self.rules
    }

    /// Every place where a directive of `lighttpd.conf` is set: the block, the value, the place.
    pub fn assignments<'a>(
        &'a self,
        key: &'a str,
    ) -> impl Iterator<Item = (Option<ConditionId>, &'a Value, Place)> {
        let patches: &[Patch] = match &self.rules {
            RuleSet::Patches(patches) => patches,
            RuleSet::Routes(_) => &[],
        };
        patches.iter().flat_map(move |patch| {
            let found = patch.assignments.iter().filter(move |assignment| *assignment.key == *key);
            found.map(|assignment| (patch.condition, &assignment.value, assignment.place))
        })
    }

    /// Where everything that holds for a request came from, in the order in which it was set.
    ///
    /// # Errors
    /// [`PatternExhausted`].
    pub fn origins(&self, facts: &RequestFacts<'_>) -> Result<Vec<Origin>, PatternExhausted> {
        let mut origins: Vec<Origin> = Vec::new();
        let mut add = |condition, assignment: &Assignment| {
            for earlier in origins.iter_mut().filter(|earlier| earlier.key == assignment.key) {
                earlier.overridden = true;
            }
            origins.push(Origin {
                key: Arc::clone(&assignment.key),
                value: assignment.value.clone(),
                place: assignment.place,
                condition,
                overridden: false,
            });
        };
        match &self.rules {
            RuleSet::Patches(patches) => {
                let truths = self.judge(facts)?;
                for patch in patches.iter().filter(|patch| patch.holds(&truths)) {
                    patch.assignments.iter().for_each(|assignment| add(patch.condition, assignment));
                }
            }
            RuleSet::Routes(table) => {
                if let Some(route) = first(&table.routes, facts)? {
                    route.assignments.iter().for_each(|assignment| add(None, assignment));
                }
            }
        }
        Ok(origins)
    }

    fn routed<'a>(
        &'a self,
        table: &'a RouteTable,
        facts: &RequestFacts<'_>,
    ) -> Result<&'a Arc<Resolved>, PatternExhausted> {
        if facts.path.is_none() {
            let door = table.doors.iter().find(|door| facts.socket == Some(&*door.token));
            return Ok(door.map_or(&self.base, |door| &door.resolved));
        }
        Ok(first(&table.routes, facts)?.map_or(&self.base, |route| &route.resolved))
    }

    fn applied(&self, patches: &[Patch], truths: &Truths, id: u32) -> Resolved {
        let route = self.series.number(truths);
        let mut resolved = Resolved { directives: self.base.directives.clone(), id, route };
        for patch in patches.iter().filter(|patch| patch.condition.is_some() && patch.holds(truths)) {
            patch.apply(&mut resolved.directives);
        }
        resolved
    }
}

fn first<'a>(routes: &'a [Route], facts: &RequestFacts<'_>) -> Result<Option<&'a Route>, PatternExhausted> {
    for route in routes {
        if route.fits(facts)? {
            return Ok(Some(route));
        }
    }
    Ok(None)
}

// === impl Resolver ===

impl Resolver {
    /// Answers for `program`.
    pub fn new(program: Arc<Program>) -> Self {
        Self { program, known: HashMap::default(), next_id: 0 }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// What holds for a request. Ask again after a rewrite, with the new path.
    ///
    /// # Errors
    /// [`PatternExhausted`], as [`Program::resolve`].
    pub fn resolve(&mut self, facts: &RequestFacts<'_>) -> Result<Arc<Resolved>, PatternExhausted> {
        let patches = match &self.program.rules {
            RuleSet::Patches(_) if self.program.conditions.is_empty() => {
                return Ok(Arc::clone(&self.program.base));
            }
            RuleSet::Patches(patches) => patches,
            RuleSet::Routes(table) => return Ok(Arc::clone(self.program.routed(table, facts)?)),
        };
        let truths = self.program.judge(facts)?;
        let mask = mask(&truths);
        if mask.iter().all(|word| *word == 0) {
            return Ok(Arc::clone(&self.program.base));
        }
        if let Some(resolved) = self.known.get(&mask) {
            return Ok(Arc::clone(resolved));
        }
        if self.known.len() >= RESOLVED_MAX {
            self.known.clear();
        }
        self.next_id = self.next_id.wrapping_add(1).max(1);
        let resolved = Arc::new(self.program.applied(patches, &truths, self.next_id));
        self.known.insert(mask, Arc::clone(&resolved));
        Ok(resolved)
    }
}

fn mask(truths: &Truths) -> Mask {
    let mut mask = Mask::from_elem(0, truths.len().div_ceil(64));
    for (index, truth) in truths.iter().enumerate() {
        mask[index / 64] |= u64::from(*truth == Truth::True) << (index % 64);
    }
    mask
}

// === impl Patch ===

impl Patch {
    fn holds(&self, truths: &Truths) -> bool {
        self.condition.is_none_or(|id| truths.get(usize::from(id.0)) == Some(&Truth::True))
    }

    pub(crate) fn apply(&self, directives: &mut Directives) {
        for setter in self.assignments.iter().filter_map(|assignment| assignment.setter.as_ref()) {
            setter(directives);
        }
    }
}

impl fmt::Debug for Assignment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} = {:?}", self.key, self.value)
    }
}

impl Default for Program {
    /// Nothing to listen on, and the defaults.
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            conditions: Vec::new(),
            rules: RuleSet::Patches(Vec::new()),
            series: Series::default(),
            base: Arc::default(),
            sources: Sources::default(),
            compat: Compat::default(),
        }
    }
}
