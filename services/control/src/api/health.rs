//! `/healthz` and `/readyz`.

use std::sync::Arc;

use bytes::Bytes;
use http::{Response, StatusCode};

use super::text;

/// Says whether one part is ready, and why not.
pub type Check = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Whether this process should be sent requests: when every part of it says so.
#[derive(Clone, Default)]
pub struct Readiness {
    checks: Vec<(&'static str, Check)>,
}

impl Readiness {
    /// Adds a part.
    #[must_use]
    pub fn with(mut self, part: &'static str, check: Check) -> Self {
        self.checks.push((part, check));
        self
    }

    /// 200 when all are ready, 503 otherwise; a line for each part.
    pub(super) fn answer(&self) -> Response<Bytes> {
        let mut lines = String::new();
        let mut status = StatusCode::OK;
        for (part, check) in &self.checks {
            match check() {
                Ok(()) => lines.push_str(&format!("{part}: ready\n")),
                Err(reason) => {
                    status = StatusCode::SERVICE_UNAVAILABLE;
                    lines.push_str(&format!("{part}: {reason}\n"));
                }
            }
        }
        if self.checks.is_empty() {
            lines.push_str("ready\n");
        }
        text(status, lines)
    }
}

/// The process runs and answers; that is all there is to it.
pub(super) fn live() -> Response<Bytes> {
    text(StatusCode::OK, "ok\n")
}
