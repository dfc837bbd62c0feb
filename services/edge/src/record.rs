//! What is written down of a request.

mod apache;
pub(crate) mod log;

use crate::request::{After, Exchange};

/// Counts a request that is over, and writes its line.
pub(crate) fn record(x: &mut Exchange<'_>, after: After) {
    let took = x.begun.elapsed();
    x.worker.counts().request(x.status, x.sent, took);
    crate::trace::end(x, took);
    x.site.routes.request(x.conf.0.route, x.status, x.sent, took);
    let conf = &x.conf.accesslog;
    let Some(path) = conf.filename.as_deref().filter(|path| !path.is_empty()) else { return };
    let escaping = conf.escaping;
    let pieces = &conf.format.pieces;
    x.worker.shared.logs.append(path, x.worker.index, |out| {
        apache::write(x, pieces, escaping, took, after, out);
        out.push(b'\n');
    });
}
