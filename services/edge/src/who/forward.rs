//! Another service is asked.

use std::ops::ControlFlow;

use selvedge_guard::Identity;
use selvedge_guard::forward::{Asked, Settings, Verdict};
use selvedge_http::fields::Fields;
use selvedge_http::head::ResponseHead;
use selvedge_http::target;

use super::page;
use crate::request::{Body, Exchange, Response};

/// Asks whether a request may go on; what the service sets is set.
pub(super) async fn ask(
    x: &mut Exchange<'_>,
    settings: &Settings,
    known: Option<&Identity>,
) -> ControlFlow<Response, Option<Identity>> {
    let answer = match x.site.guards.asker(&settings.url) {
        Ok(fetcher) => {
            let (host, address) = (x.host(), x.remote.to_string());
            // What was asked for before any rewrite, in the one form that rules and services see: `/open/%2e%2e/closed` is
            // decided over as `/closed`.
            let asked_for = target::normalize(&x.target_original, x.site.target);
            let asked_for = asked_for.map_or_else(|_| x.target.text.clone(), |target| target.text);
            let asked = Asked {
                method: x.head.method(),
                scheme: x.scheme(),
                host: &host,
                target: &asked_for,
                address: &address,
            };
            let mut call = settings.call(&asked, |name| whole(&x.head.fields, name));
            // Whom another way has recognised, the service is told as every service is.
            call.headers
                .extend(known.map(|known| x.conf.edge.identity_headers.of(known)).unwrap_or_default());
            fetcher.fetch(&call).await.map_err(|error| {
                tracing::warn!(%error, url = settings.url, "a service that decides over requests cannot be asked");
            })
        }
        Err(error) => {
            tracing::error!(%error, url = settings.url, "a service that decides over requests cannot be asked");
            Err(())
        }
    };
    match settings.judge(answer.ok()) {
        Verdict::Allow { set, identity } => {
            for (name, value) in set {
                x.head.fields.set(&name, &value);
            }
            ControlFlow::Continue(identity)
        }
        Verdict::Answer(answer) => {
            let mut head = ResponseHead { status: answer.status, ..ResponseHead::default() };
            answer.headers.iter().for_each(|(name, value)| head.fields.append(name.as_bytes(), value));
            x.worker.shared.stats.unauthorized.add(1);
            let body = Body::Bytes(answer.body.into());
            ControlFlow::Break(Response { head, body, from_backend: true, ..Response::default() })
        }
        Verdict::Fail => ControlFlow::Break(page(503, "whoever decides over this request cannot be asked")),
    }
}

/// All lines of a field as one: whoever decides sees no less than whoever is behind.
fn whole(fields: &Fields, name: &str) -> Option<Vec<u8>> {
    let values: Vec<&[u8]> = fields.all_named(name).collect();
    let between: &[u8] = if name == "cookie" { b"; " } else { b", " };
    (!values.is_empty()).then(|| values.join(between))
}
