//! A configuration that takes the place of the one in force.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Options, Orders, Watch};
use crate::acme::{self, Care};
use crate::record::log;
use crate::site::{FETCH_PATIENCE, Site};
use crate::sockets;
use crate::worker::Shared;

/// Parse, check, compile, swap: what cannot be used changes nothing.
///
/// # Errors
/// What is wrong, and where.
pub(super) async fn reload_site(
    shared: &Arc<Shared>,
    options: &Options,
    told: &watch::Sender<Orders>,
    workers: usize,
    care: &mut Care,
) -> Result<(), String> {
    let Some(reload) = &options.reload else {
        tracing::warn!("there is nothing to read the configuration from again");
        return Err("there is nothing to read the configuration from again\n".to_owned());
    };
    let outcome = async {
        let program = reload()?;
        log::try_all(&program).map_err(|(path, error)| format!("{path} cannot be written: {error}"))?;
        let before = shared.site.load_full();
        let listening = sockets::open(&program, workers, &told.borrow().listening.clone());
        let listening = listening.map_err(|error| with_causes(&error))?;
        if let Some(configured) = program.base().directives.mesh.acme.as_deref() {
            acme::prepare(configured).map_err(|error| with_causes(&error))?;
        }
        let site = Site::new(program, before.files.clone(), Some(&before))
            .await
            .map_err(|error| with_causes(&error))?;
        let fetched = site.certificates.fetch(&shared.mesh.endpoint);
        let _ = tokio::time::timeout(FETCH_PATIENCE, fetched).await;
        Ok::<_, String>((site, listening))
    };
    match outcome.await {
        Ok((site, listening)) => {
            if let Some(in_force) = &options.in_force {
                in_force(&site.program);
            }
            shared.site.store(Arc::new(site));
            told.send_modify(|orders| orders.listening = Arc::new(listening));
            shared.stats.reloads.add(1);
            tracing::info!("the configuration was read again and is in force");
            if let Err(error) = care.follow(shared) {
                tracing::error!(%error, "certificates are not looked after");
            }
            Ok(())
        }
        Err(problem) => {
            shared.stats.reloads_failed.add(1);
            tracing::error!(
                "the configuration was read again and cannot be used; the one before stays in force:\n{problem}"
            );
            Err(problem)
        }
    }
}

/// Files that are watched. They are read again once they have stayed as they are for a while: an editor writes in pieces.
pub(super) struct Watched {
    in_force: u64,
    seen: Option<u64>,
}

impl Watched {
    pub(super) fn new(watch: Option<&(Watch, u64)>) -> Self {
        Self { in_force: watch.map_or(0, |(_, read)| *read), seen: None }
    }

    pub(super) fn has_changed(&mut self, watch: Option<&(Watch, u64)>) -> bool {
        let Some(now) = watch.map(|(watch, _)| watch()).filter(|now| *now != self.in_force) else {
            self.seen = None;
            return false;
        };
        let settled = self.seen.replace(now) == Some(now);
        if settled {
            (self.in_force, self.seen) = (now, None);
        }
        settled
    }
}

/// A failure with its causes.
fn with_causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
