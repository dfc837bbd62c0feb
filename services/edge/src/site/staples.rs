//! What issuers say of our certificates, kept to be shown with them: asked for in time, dropped when it is worth nothing any more.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use selvedge_guard::call::Call;
use selvedge_guard::reach::Reach;
use selvedge_guard::renewal;
use selvedge_identity::ocsp::{Question, Status, StatusInvalid};
use selvedge_outbound::{Fetcher, Roots};

/// How long one responder has for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// How long before its end a word is no longer shown, in seconds: files and words are looked at every few seconds, a handshake takes
/// its time, and a client's clock may be ahead.
pub(super) const SPARE: i64 = 30;

/// A certificate, by its SHA-256.
pub(crate) type Leaf = [u8; 32];

/// The last words about each certificate. They outlive a configuration.
#[derive(Debug, Default)]
pub(crate) struct Staples {
    known: Mutex<HashMap<Leaf, Word>>,
    /// Made when there is somebody to ask: it holds the machine's authorities.
    fetcher: OnceLock<Option<Fetcher>>,
}

#[derive(Clone, Debug, Default)]
struct Word {
    status: Option<Status>,
    ask_at: i64,
    failures: u32,
}

impl Staples {
    /// What may be shown at `now`, in seconds since 1970.
    pub(crate) fn shown(&self, leaf: &Leaf, now: i64) -> Option<Status> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(leaf)?.status.clone().filter(|status| status.until > now.saturating_add(SPARE))
    }

    /// Asks about those certificates that are due; whoever did not answer in this round is not asked about the next one.
    pub(crate) async fn ask(&self, questions: Vec<(Leaf, Question)>, now: i64) {
        let Some(fetcher) = self.fetcher.get_or_init(fetcher) else { return };
        let leaves: HashSet<Leaf> = questions.iter().map(|(leaf, _)| *leaf).collect();
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|leaf, _| leaves.contains(leaf));
        let mut away = HashSet::new();
        for (leaf, question) in questions {
            let Some(url) = question.responder.clone() else { continue };
            if self.word(&leaf).ask_at > now || away.contains(&url) {
                continue;
            }
            match ask(fetcher, &url, &question, now).await {
                Ok(status) => {
                    tracing::debug!(responder = url, until = status.until, "a certificate is in force");
                    let ask_at = status.ask_again_at().max(now + 60);
                    self.put(leaf, Word { status: Some(status), ask_at, failures: 0 });
                }
                Err(refusal) => {
                    // What was true until now is not shown when it is known to be true no more.
                    let is_revoked = matches!(refusal, Refusal::Said(StatusInvalid::Revoked));
                    let before = self.word(&leaf);
                    let status = before.status.filter(|_| !is_revoked);
                    let failures = before.failures.saturating_add(1);
                    let wait = renewal::wait_after(
                        failures,
                        None,
                        u32::from_le_bytes([leaf[0], leaf[1], leaf[2], leaf[3]]),
                    );
                    let ask_at = now.saturating_add(i64::try_from(wait.as_secs()).unwrap_or(i64::MAX));
                    tracing::warn!(
                        responder = url,
                        reason = %refusal,
                        demanded = question.is_demanded,
                        "nobody says that a certificate is in force"
                    );
                    self.put(leaf, Word { status, ask_at, failures });
                    away.insert(url);
                }
            }
        }
    }

    fn word(&self, leaf: &Leaf) -> Word {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(leaf).cloned().unwrap_or_default()
    }

    fn put(&self, leaf: Leaf, word: Word) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(leaf, word);
    }
}

/// Who calls responders. They commonly speak plain HTTP: an answer is signed.
fn fetcher() -> Option<Fetcher> {
    let made = Fetcher::new(Reach::of_signed_answers(), &Roots::System)
        .or_else(|_| Fetcher::new(Reach::of_signed_answers(), &Roots::Nobody));
    made.ok().map(|fetcher| fetcher.with_timeout(ANSWER_TIME_MAX))
}

/// In seconds since 1970.
pub(crate) fn unix() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}

/// Why there is no word.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    Call(#[from] selvedge_outbound::Error),
    #[error("its status is {0}")]
    Status(u16),
    #[error(transparent)]
    Said(#[from] StatusInvalid),
}

async fn ask(fetcher: &Fetcher, url: &str, question: &Question, now: i64) -> Result<Status, Refusal> {
    let call = Call {
        method: "POST",
        url: url.to_owned(),
        headers: vec![("content-type".to_owned(), "application/ocsp-request".to_owned())],
        body: question.request.clone(),
    };
    let answer = fetcher.fetch(&call).await?;
    if answer.status != 200 {
        return Err(Refusal::Status(answer.status));
    }
    Ok(question.read(&answer.body, now)?)
}
