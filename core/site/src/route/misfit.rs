//! Why a route is not for a request.

use super::{Route, Written, is_among};
use crate::facts::{RequestFacts, host_name};
use crate::pattern::PatternExhausted;
use crate::place::Place;
use crate::value::Value;

/// A key of a route, or of its site, for which a request is another one.
#[derive(Clone, Debug, PartialEq)]
pub struct Misfit {
    /// The key: `host`, `path`, `method` ….
    pub key: String,
    /// What it asks for, as it is written.
    pub wanted: Value,
    /// What the request has; blank when it has nothing there.
    pub found: String,
    /// Where it is written.
    pub place: Place,
}

impl Route {
    /// Every key that keeps the route from being for a request, in the order in which they stand; none when it is.
    pub(crate) fn misfits(&self, facts: &RequestFacts<'_>) -> Result<Vec<Misfit>, PatternExhausted> {
        let mut found = Vec::new();
        let path = self.path.fits(facts.path)?;
        let host = self.fits_host(facts)?;
        for written in &self.written {
            let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
            let client = || facts.remote.map(|remote| remote.to_string()).unwrap_or_default();
            let what = match &*written.key {
                "host" | "host_regex" => (!host).then(|| text(facts.host.map(host_name))),
                "listen" => (!self.fits_socket(facts)).then(|| text(facts.socket)),
                "scheme" => (!self.fits_scheme(facts)).then(|| text(facts.scheme)),
                "method" => (!self.fits_method(facts)).then(|| text(facts.method)),
                "path" | "path_regex" => (!path).then(|| text(facts.path)),
                "client" => (!self.clients.is_empty() && !is_among(&self.clients, facts)).then(client),
                "not_client" => is_among(&self.not_clients, facts).then(client),
                "header" => self.headers.iter().find(|one| !one.fits(facts)).map(|one| {
                    let value = facts.headers.and_then(|headers| headers.header(&one.name));
                    value.map(|value| format!("{}: {value}", one.name)).unwrap_or_default()
                }),
                _ => None,
            };
            if let Some(what) = what {
                let Written { key, value, place } = written;
                found.push(Misfit {
                    key: key.to_string(),
                    wanted: value.clone(),
                    found: what,
                    place: *place,
                });
            }
        }
        Ok(found)
    }
}
