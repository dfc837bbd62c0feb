//! How many connections a client holds at a time.

use std::collections::BTreeMap;

use crate::client::Key;

/// Counts open connections by client; it holds as many entries as there are clients with one, so the listener's own limit
/// on connections bounds it.
#[derive(Debug, Default)]
pub struct Connections {
    open: BTreeMap<Key, u32>,
}

impl Connections {
    /// Counts one more, unless the client holds `max` already; says whether it may come in.
    pub fn open(&mut self, client: Key, max: u32) -> bool {
        let count = self.open.entry(client).or_default();
        let may = *count < max;
        *count += u32::from(may);
        if *count == 0 {
            self.open.remove(&client);
        }
        may
    }

    /// One that came in has ended.
    pub fn close(&mut self, client: Key) {
        if let Some(count) = self.open.get_mut(&client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.open.remove(&client);
            }
        }
    }

    /// How many clients hold one.
    pub fn clients(&self) -> usize {
        self.open.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_beyond_the_limit_stay_out_until_one_leaves() {
        let (a, b) = (Key::of_text("a", 0), Key::of_text("b", 0));
        let mut connections = Connections::default();
        assert!(connections.open(a, 2) && connections.open(a, 2) && !connections.open(a, 2));
        assert!(connections.open(b, 2));
        connections.close(a);
        assert!(connections.open(a, 2) && !connections.open(a, 2));
        for client in [a, a, b] {
            connections.close(client);
        }
        assert_eq!(connections.clients(), 0, "nothing is kept of those who left");
        assert!(!connections.open(a, 0));
        assert_eq!(connections.clients(), 0);
    }
}
