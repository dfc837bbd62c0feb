//! How it stands with the certificate that an authority issues: for metrics, the control socket, and whoever checks the
//! configuration.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use selvedge_acme::{Certificate, Tended};

/// What has become of it so far.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Last>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Last {
    names: String,
    /// Until when the one in force lasts.
    ends: Option<u64>,
    /// When the next one is ordered unless the authority wishes otherwise.
    due: Option<u64>,
    failures: u32,
    /// Why the last attempt failed, and when the next one is.
    trouble: Option<(String, u64)>,
    issued: u64,
    failed: u64,
}

impl Progress {
    /// Takes note of a look, and of what is in force after it.
    pub(super) fn note(
        &self,
        names: &[String],
        tended: Result<&Tended, &str>,
        kept: Option<&Certificate>,
        again: u64,
    ) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.names = names.join(" ");
        last.ends = kept.map(|kept| kept.life.not_after);
        last.due = kept.map(Certificate::due_at);
        match tended {
            Ok(Tended::Issued { .. }) => {
                last.issued += 1;
                (last.failures, last.trouble) = (0, None);
            }
            Ok(Tended::Good { .. }) => (last.failures, last.trouble) = (0, None),
            Ok(Tended::Elsewhere { .. }) => {}
            Ok(Tended::Failed { until, failures, reason }) => {
                // The same failure is told at every look until it is tried again.
                last.failed += u64::from(*failures != last.failures);
                last.failures = *failures;
                last.trouble = Some((reason.clone(), *until));
            }
            Err(reason) => last.trouble = Some((reason.to_owned(), again)),
        }
    }

    /// In words, a line each.
    pub(crate) fn told(&self) -> String {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut out = format!("certificate of {}: ", last.names);
        match (last.ends, last.due) {
            (Some(ends), Some(due)) => {
                let _ = writeln!(out, "in force until {}, due from {}", moment(ends), moment(due));
            }
            _ => out.push_str("not issued yet\n"),
        }
        if let Some((reason, again)) = &last.trouble {
            let failures = last.failures;
            let _ = writeln!(
                out,
                "failed {failures} times in a row: {reason}; tried again at {}",
                moment(*again)
            );
        }
        out
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let again = last.trouble.map_or(0, |(_, again)| again);
        for (name, kind, help, value) in [
            (
                "selvedge_edge_acme_issued_total",
                "counter",
                "Certificates that this edge ordered and was issued.",
                last.issued,
            ),
            ("selvedge_edge_acme_failures_total", "counter", "Orders that failed.", last.failed),
            (
                "selvedge_edge_acme_failures",
                "gauge",
                "Orders that failed in a row, lately.",
                u64::from(last.failures),
            ),
            (
                "selvedge_edge_acme_retry_seconds",
                "gauge",
                "When it is tried again after a failure, in seconds since 1970.",
                again,
            ),
        ] {
            let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
        }
    }
}

/// `2026-11-29T02:00:00Z`.
fn moment(seconds: u64) -> String {
    let found = i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    found.map_or_else(|| seconds.to_string(), |moment| moment.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_until_one_is_issued() {
        let progress = Progress::default();
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let failed =
            |failures| Tended::Failed { until: 1_000_000_060, failures, reason: "it says: no".into() };
        for failures in [1, 1, 2] {
            progress.note(&names, Ok(&failed(failures)), None, 0);
        }
        let text = progress.told();
        assert!(text.starts_with("certificate of a.example b.example: not issued yet\n"), "{text}");
        assert!(
            text.contains("failed 2 times in a row: it says: no; tried again at 2001-09-09T01:47:40Z"),
            "{text}"
        );
        let mut metrics = String::new();
        progress.prometheus(&mut metrics);
        for line in [
            "selvedge_edge_acme_failures_total 2",
            "selvedge_edge_acme_failures 2",
            "selvedge_edge_acme_retry_seconds 1000000060",
        ] {
            assert!(metrics.lines().any(|found| found == line), "{line} in {metrics}");
        }
        progress.note(&names, Ok(&Tended::Issued { until: 5 }), None, 5);
        assert!(!progress.told().contains("failed"), "{}", progress.told());
    }

    #[test]
    fn a_store_that_is_away_is_told_with_what_is_in_force() {
        let progress = Progress::default();
        progress.note(&["a.example".to_owned()], Err("the store: nobody answers"), None, 60);
        assert!(
            progress.told().contains("the store: nobody answers; tried again at 1970-01-01T00:01:00Z"),
            "{}",
            progress.told()
        );
    }
}
