//! What of ours stands in a table already.

use super::table;
use crate::settings::CHAINS;

/// Our chains, their rules and the jumps to them, as `iptables-save` prints them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    chains: Vec<String>,
    rules: Vec<String>,
    jumps: Vec<String>,
}

impl Saved {
    /// Reads the output of `iptables-save -t nat`; what is not ours is passed over.
    pub fn parse(text: &str) -> Self {
        let mut saved = Self::default();
        for line in text.lines().map(str::trim) {
            if let Some(chain) = line.strip_prefix(':').and_then(|rest| rest.split(' ').next()) {
                if is_ours(chain) {
                    saved.chains.push(chain.to_owned());
                }
                continue;
            }
            let Some(chain) = line.strip_prefix("-A ").and_then(|rest| rest.split(' ').next()) else {
                continue;
            };
            if is_ours(chain) {
                saved.rules.push(line.to_owned());
            } else if line.rsplit_once("-j ").is_some_and(|(_, target)| is_ours(target)) {
                saved.jumps.push(line.to_owned());
            }
        }
        saved
    }

    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.jumps.is_empty()
    }

    /// What stands there, one rule a line.
    pub fn lines(&self) -> Vec<String> {
        let chains = self.chains.iter().map(|chain| format!("-N {chain}"));
        chains.chain(self.jumps.iter().cloned()).chain(self.rules.iter().cloned()).collect()
    }

    /// The text that puts these chains, rules and jumps in the place of what was found.
    pub(super) fn replaced_by(&self, chains: &[&str], rules: &[String], jumps: &[String]) -> String {
        let gone: Vec<&String> = self.chains.iter().filter(|old| !chains.contains(&old.as_str())).collect();
        // Declaring a chain makes it, or empties it if it stands: only an empty chain can be taken away.
        let declared = chains.iter().copied().chain(gone.iter().map(|chain| chain.as_str()));
        let declare: Vec<String> = declared.map(|chain| format!(":{chain} - [0:0]")).collect();
        let unjump = self.jumps.iter().map(|jump| jump.replacen("-A ", "-D ", 1));
        let delete = gone.iter().map(|chain| format!("-X {chain}"));
        let made = rules.iter().chain(jumps).cloned();
        table(declare.into_iter().chain(unjump).chain(delete).chain(made))
    }

    /// The text that leads back to this from whatever `now` is.
    pub fn restored_from(&self, now: &Self) -> String {
        let chains: Vec<&str> = self.chains.iter().map(String::as_str).collect();
        now.replaced_by(&chains, &self.rules, &self.jumps)
    }
}

fn is_ours(chain: &str) -> bool {
    CHAINS.contains(&chain)
}
