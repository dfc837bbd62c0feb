//! Heads that came a moment ago, byte for byte, with what they led to: answers that were ready, or the way to who answers.
//!
//! Who asks again by HTTP/1 – a probe, another proxy, the same kind of browser – says it in the same bytes. How far a head goes
//! and what it settles depends on its bytes alone, and that nothing but the listener and the head decides what it leads to is what
//! makes that one to be kept. So equal bytes lead to the same, and nothing is parsed.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::request::Peer;

/// Heads that one worker remembers: each has one place that it can stand at, and the last one to come has it.
pub(crate) const PLACES: usize = 256;
/// The longest head that is remembered.
pub(crate) const HEAD_BYTES_MAX: usize = 1024;

/// One worker's heads, each with what it led to.
pub(crate) struct Verbatim<T> {
    /// Empty until there is one.
    places: Vec<Option<Kept<T>>>,
    /// Of a seed that is this worker's own; whoever makes two heads meet makes them forget each other.
    hasher: RandomState,
    /// Hashes of heads that have come, each at its place.
    seen: Vec<u64>,
}

struct Kept<T> {
    socket: Arc<str>,
    tls: bool,
    head: Box<[u8]>,
    led_to: T,
}

/// The head that bytes begin with, if it is whole and not too long to be remembered.
pub(crate) fn head_of(bytes: &[u8]) -> Option<&[u8]> {
    let near = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
    memchr::memmem::find(near, b"\r\n\r\n").map(|at| &near[..at + 4])
}

impl<T> Verbatim<T> {
    /// What the head that `bytes` begin with has led to, and how long it is. `guess` is the place where the last head of the
    /// connection was found.
    pub(crate) fn find(&self, peer: &Peer, bytes: &[u8], guess: &mut u16) -> Option<(&T, usize)> {
        if self.places.is_empty() {
            return None;
        }
        let fits = |kept: &&Kept<T>| {
            bytes.starts_with(&kept.head)
                && Arc::ptr_eq(&kept.socket, &peer.socket)
                && kept.tls == peer.tls.is_some()
        };
        let at = |place: u16| self.places.get(usize::from(place))?.as_ref().filter(fits);
        let kept = match at(*guess) {
            Some(kept) => kept,
            None => {
                *guess = self.place(head_of(bytes)?);
                at(*guess)?
            }
        };
        Some((&kept.led_to, kept.head.len()))
    }

    /// Remembers what a head has led to.
    pub(crate) fn keep(&mut self, peer: &Peer, head: &[u8], led_to: T) {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, || None);
        }
        let place = usize::from(self.place(head));
        let (socket, tls) = (Arc::clone(&peer.socket), peer.tls.is_some());
        self.places[place] = Some(Kept { socket, tls, head: head.into(), led_to });
    }

    /// Lets go of all but what `stays`; whether anything does.
    pub(crate) fn retain(&mut self, stays: impl Fn(&T) -> bool) -> bool {
        let mut left = false;
        for place in &mut self.places {
            if place.as_ref().is_some_and(|kept| !stays(&kept.led_to)) {
                *place = None;
            }
            left |= place.is_some();
        }
        left
    }

    /// Whether a head has come before, as far as is known: another one may have taken its place since. It has come now.
    pub(crate) fn has_seen(&mut self, head: &[u8]) -> bool {
        if self.seen.is_empty() {
            self.seen.resize(PLACES, 0);
        }
        let hash = self.hasher.hash_one(head);
        let before = std::mem::replace(&mut self.seen[(hash % PLACES as u64) as usize], hash);
        before == hash
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.seen.clear();
    }

    fn place(&self, head: &[u8]) -> u16 {
        // Less than `PLACES`.
        (self.hasher.hash_one(head) % PLACES as u64) as u16
    }
}

impl<T> Default for Verbatim<T> {
    fn default() -> Self {
        Self { places: Vec::new(), hasher: RandomState::default(), seen: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::pace::Pacer;

    fn peer(socket: &Arc<str>) -> Peer {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Peer {
            remote: address,
            local: address,
            socket: Arc::clone(socket),
            tls: None,
            guest: None,
            pacer: Pacer::default(),
            http3: false,
        }
    }

    #[test]
    fn a_head_is_found_by_its_bytes_alone_and_only_at_its_listener() {
        let (one, other): (Arc<str>, Arc<str>) = ("127.0.0.1:80".into(), "127.0.0.1:81".into());
        let head: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut heads = Verbatim::default();
        for guess in [0, 7, u16::MAX] {
            assert_eq!(heads.find(&peer(&one), head, &mut { guess }), None);
        }
        heads.keep(&peer(&one), head, 'a');
        for guess in [0, 7, u16::MAX] {
            let find = |peer: &Peer, bytes: &[u8]| {
                heads.find(peer, bytes, &mut { guess }).map(|(found, len)| (*found, len))
            };
            assert_eq!(find(&peer(&one), head), Some(('a', head.len())));
            let more = [head, b"GET /more HTTP/1.1\r\n"].concat();
            assert_eq!(find(&peer(&one), &more), Some(('a', head.len())), "whatever follows");
            assert_eq!(find(&peer(&other), head), None, "another listener");
            for at in 0..head.len() {
                assert_eq!(find(&peer(&one), &head[..at]), None, "not whole");
                let mut changed = head.to_vec();
                changed[at] ^= 0x20;
                assert_eq!(find(&peer(&one), &changed), None, "{:?}", String::from_utf8_lossy(&changed));
            }
        }
        heads.retain(|led_to| *led_to != 'a');
        assert_eq!(heads.find(&peer(&one), head, &mut 0), None);
    }

    #[test]
    fn the_guess_is_where_the_head_was_found() {
        let socket: Arc<str> = "s".into();
        let heads_of = |number: usize| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
        let mut heads = Verbatim::default();
        let mut guess = 0;
        heads.keep(&peer(&socket), heads_of(1).as_bytes(), 1);
        assert!(heads.find(&peer(&socket), heads_of(1).as_bytes(), &mut guess).is_some());
        assert_eq!(guess, heads.place(heads_of(1).as_bytes()));
        let before = guess;
        assert!(heads.find(&peer(&socket), b"GET /1 HTTP/1.1\r\n", &mut guess).is_none());
        assert_eq!(guess, before, "a head that is not whole is at no place");
    }

    /// Whoever sends ever new heads makes the worker hold no more than this.
    #[test]
    fn heads_have_places_and_no_more() {
        let socket: Arc<str> = "s".into();
        let mut heads = Verbatim::default();
        for number in 0..10 * PLACES {
            heads.keep(&peer(&socket), format!("GET /{number} HTTP/1.1\r\n\r\n").as_bytes(), number);
        }
        assert_eq!(heads.places.len(), PLACES);
        let long = [&b"GET / HTTP/1.1\r\na: "[..], &[b'x'; HEAD_BYTES_MAX], b"\r\n\r\n"].concat();
        assert_eq!(head_of(&long), None);
        assert_eq!(head_of(b"GET / HTTP/1.1\r\n\r\nrest"), Some(&b"GET / HTTP/1.1\r\n\r\n"[..]));
    }
}
