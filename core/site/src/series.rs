//! What requests of a `lighttpd.conf` are counted under: a site for each condition on the host, a route for each on the path.

use std::sync::Arc;

use crate::condition::{Condition, Field, Operation, Truth, Truths};
use crate::directive::Text;

/// The most pairs of a site and a route that one configuration counts by. Beyond it sites alone are told apart, and beyond it once more,
/// nothing is.
pub(crate) const SERIES_MAX: usize = 4096;

/// Sites and routes, by the conditions that name them. Names are the configuration's, so that no client makes any.
#[derive(Debug, Default)]
pub(crate) struct Series {
    names: Box<[(Text, Text)]>,
    /// Of each condition the number of the site and of the route that it names; 0 is any.
    of: Box<[(u32, u32)]>,
    /// Routes, with the one that stands for any; 0 if nothing is told apart.
    width: u32,
}

impl Series {
    pub(crate) fn new(conditions: &[Condition]) -> Self {
        let (mut sites, mut routes): (Vec<Text>, Vec<Text>) = (vec!["*".into()], vec!["*".into()]);
        let mut of: Box<[(u32, u32)]> = conditions
            .iter()
            .map(|condition| {
                let Some(name) = named(condition) else { return (0, 0) };
                match condition.test.as_ref().map(|test| &test.field) {
                    Some(Field::Host) => (numbered(&mut sites, name), 0),
                    _ => (0, numbered(&mut routes, name)),
                }
            })
            .collect();
        if sites.len() * routes.len() > SERIES_MAX {
            routes.truncate(1);
            of.iter_mut().for_each(|(_, route)| *route = 0);
        }
        if sites.len() * routes.len() == 1 || sites.len() > SERIES_MAX {
            return Self::default();
        }
        let pair = |site: &Text| routes.iter().map(|route| (site.clone(), route.clone())).collect::<Vec<_>>();
        Self {
            names: sites.iter().flat_map(pair).collect(),
            of,
            width: u32::try_from(routes.len()).unwrap_or(u32::MAX),
        }
    }

    pub(crate) fn names(&self) -> &[(Text, Text)] {
        &self.names
    }

    /// The number of what a request is counted under, from 1; 0 where nothing is told apart. Of several conditions that hold the last one
    /// names the site, and the last one the route, as their values count.
    pub(crate) fn number(&self, truths: &Truths) -> u32 {
        if self.width == 0 {
            return 0;
        }
        let holding = self.of.iter().zip(truths.iter()).filter(|(_, truth)| **truth == Truth::True);
        let (site, route) = holding.fold((0, 0), |(site, route), ((own_site, own_route), _)| {
            (if *own_site > 0 { *own_site } else { site }, if *own_route > 0 { *own_route } else { route })
        });
        site * self.width + route + 1
    }

    /// The same where no condition holds.
    pub(crate) fn any(&self) -> u32 {
        u32::from(self.width > 0)
    }
}

/// The place of a name among others, where it is added if it is new.
fn numbered(names: &mut Vec<Text>, name: Text) -> u32 {
    let at = names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    });
    u32::try_from(at).unwrap_or(0)
}

/// What a condition on the host or the path names: a value, what it begins or ends with, an expression as it stands. Nothing, if it says
/// what is not the case.
fn named(condition: &Condition) -> Option<Text> {
    let test = condition.test.as_ref().filter(|test| matches!(test.field, Field::Host | Field::Url))?;
    // As it was written, which an expression that was compiled does not tell.
    let value = condition.text.split_once("] ")?.1.split_once(' ')?.1.trim_matches('"');
    Some(match &test.operation {
        Operation::Equal { not: true, .. } | Operation::Matches { not: true, .. } => return None,
        Operation::Equal { .. } | Operation::Matches { .. } => value.into(),
        Operation::Prefix(_) => Arc::from(format!("{value}*")),
        Operation::Suffix(_) => Arc::from(format!("*{value}")),
    })
}
