//! Who may ask at all, and how often.

use std::ops::ControlFlow;

use selvedge_site::directive::edge::{CLIENT_RATES_MAX, ClientKey};

use crate::request::{Exchange, Flow, Response};

/// Refuses what lists refuse.
pub(crate) fn admit(x: &mut Exchange<'_>) -> Flow {
    let (edge, access) = (&x.conf.edge, &x.conf.access);
    let open = edge.deny.is_empty() && edge.allow.is_empty() && edge.per_client.is_none();
    if open && access.deny.is_empty() && access.allow.is_empty() {
        return ControlFlow::Continue(());
    }
    let conf = x.conf.clone();
    let remote = x.remote;
    let edge = &conf.edge;
    if edge.deny.iter().any(|network| network.contains(remote))
        || !edge.allow.is_empty() && !edge.allow.iter().any(|network| network.contains(remote))
    {
        return ControlFlow::Break(Response::status(403));
    }
    if !counts_identities(x) {
        rate(x)?;
    }
    by_ending(x)
}

/// Refuses a path by its end, as `url.access-deny` and `url.access-allow` say: as it is asked for, and once more as it
/// is found, without what follows a file and with the name that stands for a folder.
pub(crate) fn by_ending(x: &Exchange<'_>) -> Flow {
    let (access, case) = (&x.conf.access, x.case());
    if access.deny.is_empty() && access.allow.is_empty() || x.in_error_handler {
        return ControlFlow::Continue(());
    }
    let ends =
        |list: &[selvedge_site::directive::Text]| list.iter().any(|suffix| case.ends(x.path(), suffix));
    let refused = match access.allow.is_empty() {
        false => !ends(&access.allow),
        true => ends(&access.deny),
    };
    if refused { ControlFlow::Break(Response::status(403)) } else { ControlFlow::Continue(()) }
}

/// Counts requests by who asks, once that is known.
pub(crate) fn rate_by_identity(x: &mut Exchange<'_>) -> Flow {
    if counts_identities(x) { rate(x) } else { ControlFlow::Continue(()) }
}

fn counts_identities(x: &Exchange<'_>) -> bool {
    x.conf.edge.per_client.as_ref().is_some_and(|rate| rate.key == ClientKey::Identity)
}

/// Counts a request under the limit that holds for it: once, also where it is turned into another one on its way to an answer.
/// One that was refused is refused by an error handler's rules as well: the limit would not spare the handler.
fn rate(x: &mut Exchange<'_>) -> Flow {
    let Some(rate) = &x.conf.edge.per_client else { return ControlFlow::Continue(()) };
    let limit = 1 << (rate.id % CLIENT_RATES_MAX);
    if x.counted & limit != 0 {
        return ControlFlow::Continue(());
    }
    let header = match &rate.key {
        ClientKey::Header(name) => x.head.fields.named(&name.to_ascii_lowercase()),
        ClientKey::Ip | ClientKey::Identity => None,
    };
    let caller = x.caller();
    let sender = crate::rate::sender(x.remote, header, caller.as_deref());
    match x.worker.shared.rates.admit(rate, &sender, x.begun.into_std()) {
        Ok(()) => {
            x.counted |= limit;
            ControlFlow::Continue(())
        }
        Err(wait) => {
            x.worker.shared.stats.limited.add(1);
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            ControlFlow::Break(Response::status(429).field("retry-after", &seconds.max(1).to_string()))
        }
    }
}
