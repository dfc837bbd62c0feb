//! How an edge that is a gateway stands in the mesh: whoever publishes its routes writes it down here, and the metrics and the
//! control socket tell it.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What was last heard of the mesh.
#[derive(Debug, Default)]
pub struct Standing {
    /// Locked for as long as a text is copied.
    last: Mutex<Last>,
    failures: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Last {
    published: bool,
    text: String,
}

impl Standing {
    /// What the configuration in force says is published.
    pub fn published(&self, mesh: &str, gateway: &str, routes: usize) {
        let text = format!("published: {routes} gateway routes of {gateway} in the mesh {mesh}\n");
        self.note(Last { published: true, text });
    }

    /// It is not, and why.
    pub fn failed(&self, problem: &str) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.note(Last { published: false, text: format!("not published, and tried again: {problem}\n") });
    }

    fn note(&self, last: Last) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = last;
    }

    /// Whether it is published, and what there is to say of it.
    pub(crate) fn told(&self) -> (bool, String) {
        let Last { published, text } = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (published, if text.is_empty() { "not published yet\n".to_owned() } else { text })
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        let (published, _) = self.told();
        let failures = self.failures.load(Ordering::Relaxed);
        let one = u8::from(published);
        let _ = write!(
            out,
            "# HELP selvedge_edge_published Whether the mesh knows the routes of the configuration in force.\n\
             # TYPE selvedge_edge_published gauge\nselvedge_edge_published {one}\n\
             # HELP selvedge_edge_publish_failures_total Attempts to publish them that failed.\n\
             # TYPE selvedge_edge_publish_failures_total counter\nselvedge_edge_publish_failures_total {failures}\n"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_heard_last_counts() {
        let standing = Standing::default();
        assert_eq!(standing.told(), (false, "not published yet\n".to_owned()));
        standing.failed("nobody answers");
        assert_eq!(standing.told(), (false, "not published, and tried again: nobody answers\n".to_owned()));
        standing.published("shop", "gw", 3);
        assert_eq!(
            standing.told(),
            (true, "published: 3 gateway routes of gw in the mesh shop\n".to_owned())
        );
        let mut text = String::new();
        standing.prometheus(&mut text);
        assert!(text.contains("selvedge_edge_published 1\n"), "{text}");
        assert!(text.contains("selvedge_edge_publish_failures_total 1\n"), "{text}");
    }
}
