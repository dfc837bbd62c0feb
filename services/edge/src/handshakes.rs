//! What came of TLS handshakes: what was agreed on, and why those failed that did.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use rustls::Error;
use selvedge_wire::tls::{Facts, Failure};

/// Counted by version, cipher and group, and by reason: all of them of our own few words.
#[derive(Debug, Default)]
pub(crate) struct Handshakes {
    /// Locked for a count.
    agreed: Mutex<BTreeMap<Agreed, u64>>,
    failed: Mutex<BTreeMap<Reason, u64>>,
}

type Agreed = (&'static str, &'static str, &'static str);

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// It took too long.
    Timeout,
    /// The client went away.
    Closed,
    /// The client speaks something else.
    NotTls,
    /// No version, cipher or group in common.
    Incompatible,
    /// The client's certificate: none, or none that is believed.
    ClientCertificate,
    /// The client said by an alert that it does not go on, as it does when it does not believe our certificate.
    Alert,
    /// The client broke the protocol.
    Protocol,
    /// We have no certificate to show.
    NoCertificate,
}

impl Reason {
    const fn text(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert",
            Self::Protocol => "protocol",
            Self::NoCertificate => "no_certificate",
        }
    }
}

impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        match failure {
            Failure::Timeout(_) => Self::Timeout,
            Failure::Closed | Failure::Io(_) => Self::Closed,
            Failure::PlainHttp | Failure::NotTls => Self::NotTls,
            other if other.verification().is_some() => Self::ClientCertificate,
            Failure::Tls(Error::AlertReceived(_)) => Self::Alert,
            Failure::Tls(Error::PeerIncompatible(_)) => Self::Incompatible,
            Failure::Tls(_) | Failure::NoServerName | Failure::Resumed(_) => Self::Protocol,
        }
    }
}

impl Handshakes {
    pub(crate) fn agreed(&self, facts: &Facts) {
        let agreed = (facts.version.text(), facts.cipher, facts.curve.unwrap_or_default());
        *self.agreed.lock().unwrap_or_else(PoisonError::into_inner).entry(agreed).or_default() += 1;
    }

    pub(crate) fn failed(&self, reason: Reason) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() += 1;
    }

    /// In Prometheus' text format.
    pub(crate) fn prometheus(&self, out: &mut String) {
        let name = "selvedge_edge_handshakes_agreed_total";
        let _ = write!(out, "# HELP {name} TLS handshakes by what was agreed on.\n# TYPE {name} counter\n");
        for ((version, cipher, group), count) in
            self.agreed.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let _ = writeln!(
                out,
                "{name}{{version=\"{version}\",cipher=\"{cipher}\",group=\"{group}\"}} {count}"
            );
        }
        let name = "selvedge_edge_handshakes_failed_by_reason_total";
        let _ = write!(out, "# HELP {name} TLS handshakes that failed, by reason.\n# TYPE {name} counter\n");
        for (reason, count) in self.failed.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(out, "{name}{{reason=\"{}\"}} {count}", reason.text());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::{AlertDescription, PeerIncompatible};

    use super::*;

    #[test]
    fn failures_are_counted_by_reason() {
        let handshakes = Handshakes::default();
        let failures = [
            Failure::Timeout(Duration::from_secs(5)),
            Failure::Closed,
            Failure::PlainHttp,
            Failure::NotTls,
            Failure::Tls(Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)),
            Failure::Tls(Error::NoCertificatesPresented),
            Failure::Tls(Error::AlertReceived(AlertDescription::UnknownCA)),
            Failure::Tls(Error::DecryptError),
        ];
        failures.iter().for_each(|failure| handshakes.failed(failure.into()));
        let mut text = String::new();
        handshakes.prometheus(&mut text);
        for (reason, count) in [
            ("timeout", 1),
            ("closed", 1),
            ("not_tls", 2),
            ("incompatible", 1),
            ("client_certificate", 1),
            ("alert", 1),
            ("protocol", 1),
        ] {
            let line =
                format!("selvedge_edge_handshakes_failed_by_reason_total{{reason=\"{reason}\"}} {count}");
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
