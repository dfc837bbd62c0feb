//! What lighttpd would ask of the system: words that it refuses are refused, though nothing here depends on them.

use super::Compiler;
use crate::diagnostic::{Diagnostic, did_you_mean};
use crate::value::Value;

/// Directives of words, and those that lighttpd takes on Linux.
const WORDS: [(&str, &[&str], &str); 2] = [
    (
        "server.event-handler",
        &["epoll", "linux-sysepoll", "poll", "select", "libev"],
        "the selected event-handler in unknown or not supported",
    ),
    (
        "server.network-backend",
        &["sendfile", "linux-sendfile", "freebsd-sendfile", "solaris-sendfilev", "writev", "write", ""],
        "server.network-backend has an unknown value",
    ),
];

impl Compiler<'_> {
    /// Refuses words that lighttpd does not start with.
    pub(super) fn check_system(&mut self) {
        for (key, words, complaint) in WORDS {
            let Some(word) = self.document.global(key).and_then(Value::as_text).cloned() else { continue };
            if words.contains(&&*word) {
                continue;
            }
            let place = self.document.occurrences(key).next().map(|(_, place, _)| place);
            let found = Diagnostic::error(place, format!("{complaint}: {word}"));
            let usual = words[0];
            let hint = match did_you_mean(&word, words.iter().copied().filter(|word| !word.is_empty())) {
                Some(guess) => format!("did you mean \"{guess}\"?"),
                None => format!("leave it out, or say \"{usual}\": it changes nothing here"),
            };
            self.found.push(found.with_hint(hint));
        }
    }
}
