//! Authorities of the mesh's, by ARN: who vouches for clients, and whom it takes back; asked of the control plane, kept in memory alone.
//!
//! Until one has been had, an authority that has signed nothing stands in its place: nobody whom it should vouch for gets in, and the
//! server starts. A control plane that goes away leaves the last list in force.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use selvedge_client::{Client, Endpoint};
use selvedge_identity::{Authorities, Rules, Trust, Verifier};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::fetched::{PATIENCE, TRUST, is_authority};

/// Authorities that one edge judges by.
pub(super) const AUTHORITIES_MAX: usize = 100;

/// PEM, as a file would have it.
type Pem = Zeroizing<Vec<u8>>;

/// Authorities that are wanted, and those that are had.
#[derive(Debug, Default)]
pub(crate) struct Believed(Mutex<HashMap<String, Entry>>);

#[derive(Debug, Default)]
struct Entry {
    held: Option<Held>,
    /// Why it could not be had the last time: said once.
    problem: Option<String>,
}

#[derive(Clone, Debug)]
struct Held {
    certificate: String,
    /// The list of those who were taken back, where there is one.
    list: Option<String>,
    since: SystemTime,
}

impl Believed {
    /// Adds one to those that are wanted.
    pub(super) fn want(&self, arn: &str) {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !entries.contains_key(arn) && entries.len() < AUTHORITIES_MAX {
            entries.insert(arn.to_owned(), Entry::default());
        }
    }

    /// Since when what is held has been held.
    pub(super) fn since(&self, arn: &str) -> Option<SystemTime> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.get(arn)?.held.as_ref().map(|held| held.since)
    }

    /// Who vouches, and the list of those who were taken back; `None` where it is no authority of the mesh's that is meant.
    pub(super) fn judged_by(&self, arn: &str) -> Option<(Pem, Option<Pem>)> {
        if !is_authority(arn) {
            return None;
        }
        let pem = |text: String| Zeroizing::new(text.into_bytes());
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match entries.get(arn).and_then(|entry| entry.held.clone()) {
            Some(held) => (pem(held.certificate), held.list.map(pem)),
            None => {
                (pem(selvedge_acme::placeholder(&["nobody.invalid".to_owned()]).unwrap_or_default().0), None)
            }
        })
    }

    /// Asks for every one that is wanted; whether any is another than before.
    pub(super) async fn fetch(&self, endpoint: &Endpoint) -> bool {
        let wanted: Vec<String> = {
            let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            entries.keys().cloned().collect()
        };
        let client = Client::new(endpoint.clone()).with_timeouts(PATIENCE.0, PATIENCE.1);
        let mut is_other = false;
        for arn in wanted {
            let asked = client.post(TRUST, &json!({ "authority": arn })).await;
            let fetched = asked.map_err(|error| error.to_string()).and_then(|answer| read(&answer));
            let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(entry) = entries.get_mut(&arn) else { continue };
            match fetched {
                Ok((certificate, list)) => {
                    entry.problem = None;
                    let same = |held: &Held| held.certificate == certificate && held.list == list;
                    if !entry.held.as_ref().is_some_and(same) {
                        tracing::info!(arn, "an authority of the mesh's and its list were fetched");
                        entry.held = Some(Held { certificate, list, since: SystemTime::now() });
                        is_other = true;
                    }
                }
                Err(problem) => {
                    if entry.problem.as_ref() != Some(&problem) {
                        tracing::error!(
                            arn,
                            problem,
                            "an authority of the mesh's cannot be fetched, and will be tried again"
                        );
                    }
                    entry.problem = Some(problem);
                }
            }
        }
        is_other
    }
}

/// An answer that clients can be judged by.
fn read(answer: &Value) -> Result<(String, Option<String>), String> {
    let text = |member: &str| answer.get(member).and_then(Value::as_str).map(str::to_owned);
    let certificate = text("certificate").ok_or("the answer has no certificate")?;
    let list = text("revocations");
    let bundle = Authorities::read(certificate.as_bytes()).map_err(|error| error.to_string())?;
    Verifier::new(Trust::Authorities(bundle), Rules::default(), list.as_ref().map(|list| list.as_bytes()))
        .map_err(|error| error.to_string())?;
    Ok((certificate, list))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_believed_whose_authority_was_never_had() {
        let believed = Believed::default();
        let arn = |number: usize| format!("arn:aws:acm-pca:r:1:certificate-authority/{number}");
        for number in 0..=AUTHORITIES_MAX {
            believed.want(&arn(number));
        }
        let wanted = believed.0.lock().unwrap_or_else(PoisonError::into_inner).len();
        assert_eq!(wanted, AUTHORITIES_MAX);
        // One too many is not asked for, and is no file either.
        for number in [0, AUTHORITIES_MAX] {
            let (pem, list) = believed.judged_by(&arn(number)).expect("an authority");
            assert!(Authorities::read(&pem).is_ok() && list.is_none(), "one that has signed nothing");
        }
        assert!(believed.judged_by("/etc/ssl/clients.pem").is_none());
        assert!(read(&json!({ "revocations": "x" })).is_err());
        assert!(read(&json!({ "certificate": "x" })).is_err());
    }
}
