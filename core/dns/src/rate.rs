//! How much is said by UDP to one network: whoever makes up the sender's address shall not turn the answers on somebody else.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

/// Answers a second to one network.
pub const PER_SECOND_MAX: u32 = 2_000;
/// Networks that are counted at a time; with more, counting starts anew.
pub const NETWORKS_MAX: usize = 10_000;

/// What is to be done with an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// Tell the asker to come by TCP.
    Slip,
    Drop,
}

/// Counts answers.
#[derive(Debug, Default)]
pub struct Rate {
    networks: HashMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    refused: u32,
}

impl Rate {
    /// Decides about an answer to that address. This machine itself is not counted.
    pub fn take(&mut self, now: Instant, to: IpAddr) -> Verdict {
        if to.is_loopback() {
            return Verdict::Send;
        }
        if self.networks.len() >= NETWORKS_MAX {
            self.networks.clear();
        }
        let full = f64::from(PER_SECOND_MAX);
        let bucket = self.networks.entry(network(to)).or_insert(Bucket { tokens: full, at: now, refused: 0 });
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed * full).min(full);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Verdict::Send;
        }
        // Every other one learns that it is wanted by TCP.
        bucket.refused = bucket.refused.wrapping_add(1);
        if bucket.refused.is_multiple_of(2) { Verdict::Slip } else { Verdict::Drop }
    }
}

/// The network of an address: /24, or /56.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(ip) => IpAddr::from((ip.to_bits() & !0xff).to_be_bytes()),
        IpAddr::V6(ip) => IpAddr::from((ip.to_bits() & (u128::MAX << 72)).to_be_bytes()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test begins at some moment")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_network_gets_so_many_a_second_and_others_are_not_concerned() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        let address = |last: u8| IpAddr::from([203, 0, 113, last]);
        for n in 0..PER_SECOND_MAX {
            assert_eq!(rate.take(now, address((n % 250) as u8)), Verdict::Send);
        }
        let verdicts = [rate.take(now, address(1)), rate.take(now, address(2))];
        assert_eq!(verdicts, [Verdict::Drop, Verdict::Slip]);
        assert_eq!(rate.take(now, [203, 0, 114, 1].into()), Verdict::Send);
        assert_eq!(rate.take(now + Duration::from_millis(10), address(1)), Verdict::Send);
        for _ in 0..2 * PER_SECOND_MAX {
            assert_eq!(rate.take(now, [127, 0, 0, 1].into()), Verdict::Send, "this machine");
        }
    }

    #[test]
    fn the_number_of_networks_is_bounded() {
        let (mut rate, now) = (Rate::default(), Instant::now());
        for n in 0..2 * NETWORKS_MAX as u32 {
            rate.take(now, IpAddr::from((n << 8).to_be_bytes()));
            assert!(rate.networks.len() <= NETWORKS_MAX);
        }
    }
}
