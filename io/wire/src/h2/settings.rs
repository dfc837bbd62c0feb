//! What the ends of a connection tell each other at its beginning (RFC 9113 §6.5).

use h2::Reason;

/// Identifiers of settings.
mod id {
    pub(super) const HEADER_TABLE_SIZE: u16 = 1;
    pub(super) const ENABLE_PUSH: u16 = 2;
    pub(super) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(super) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(super) const MAX_FRAME_SIZE: u16 = 5;
    pub(super) const MAX_HEADER_LIST_SIZE: u16 = 6;
    /// RFC 8441 §3.
    pub(super) const ENABLE_CONNECT_PROTOCOL: u16 = 8;
}

/// The largest window (RFC 9113 §6.9.1).
pub(super) const WINDOW_MAX: u32 = u32::MAX >> 1;
/// The window that streams and the connection begin with where nobody says otherwise.
pub(super) const WINDOW_DEFAULT: u32 = 65_535;
/// Streams that a client opens before the server has said how many it takes.
const STREAMS_BEFORE_SETTINGS: u32 = 100;

/// What the peer has said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) initial_window: u32,
    pub(super) streams_max: u32,
    pub(super) extended_connect: bool,
    /// It wants a table smaller than the one that every connection begins with.
    pub(super) small_table: bool,
    /// It has said anything at all.
    pub(super) greeted: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            initial_window: WINDOW_DEFAULT,
            streams_max: STREAMS_BEFORE_SETTINGS,
            extended_connect: false,
            small_table: false,
            greeted: false,
        }
    }
}

impl Settings {
    /// Takes the payload of a SETTINGS frame.
    pub(super) fn take(&mut self, payload: &[u8], from_server: bool) -> Result<(), Reason> {
        if !self.greeted {
            self.greeted = true;
            self.streams_max = u32::MAX;
        }
        let (pairs, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Reason::FRAME_SIZE_ERROR);
        }
        for [a, b, value @ ..] in pairs {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*a, *b]) {
                id::HEADER_TABLE_SIZE => {
                    self.small_table |= value < selvedge_http::h2::TABLE_BYTES_MAX as u32
                }
                // A server that pushes, or says that it might, has not understood who is who.
                id::ENABLE_PUSH if value > u32::from(!from_server) => return Err(Reason::PROTOCOL_ERROR),
                id::MAX_CONCURRENT_STREAMS => self.streams_max = value,
                id::INITIAL_WINDOW_SIZE if value > WINDOW_MAX => return Err(Reason::FLOW_CONTROL_ERROR),
                id::INITIAL_WINDOW_SIZE => self.initial_window = value,
                id::MAX_FRAME_SIZE if !(1 << 14..1 << 24).contains(&value) => {
                    return Err(Reason::PROTOCOL_ERROR);
                }
                id::ENABLE_CONNECT_PROTOCOL if value > 1 => return Err(Reason::PROTOCOL_ERROR),
                id::ENABLE_CONNECT_PROTOCOL => self.extended_connect = value == 1,
                _ => {}
            }
        }
        Ok(())
    }
}

/// What this side says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    pub(super) streams_max: Option<u32>,
    pub(super) window: u32,
    pub(super) header_list_max: u32,
    pub(super) extended_connect: bool,
    pub(super) forbids_push: bool,
}

impl Announced {
    /// The payload of a SETTINGS frame.
    pub(super) fn payload(self) -> Vec<u8> {
        let pairs = [
            (id::HEADER_TABLE_SIZE, Some(selvedge_http::h2::TABLE_BYTES_MAX as u32)),
            (id::ENABLE_PUSH, self.forbids_push.then_some(0)),
            (id::MAX_CONCURRENT_STREAMS, self.streams_max),
            (id::INITIAL_WINDOW_SIZE, Some(self.window)),
            (id::MAX_HEADER_LIST_SIZE, Some(self.header_list_max)),
            (id::ENABLE_CONNECT_PROTOCOL, self.extended_connect.then_some(1)),
        ];
        let said = pairs.iter().filter_map(|(id, value)| Some((*id, (*value)?)));
        said.flat_map(|(id, value)| id.to_be_bytes().into_iter().chain(value.to_be_bytes())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pairs: &[(u16, u32)], from_server: bool) -> Result<Settings, Reason> {
        let payload: Vec<u8> = pairs
            .iter()
            .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let mut settings = Settings::default();
        settings.take(&payload, from_server).map(|()| settings)
    }

    #[test]
    fn what_we_say_is_what_a_peer_hears() {
        let announced = Announced {
            streams_max: Some(7),
            window: 9,
            header_list_max: 11,
            extended_connect: true,
            forbids_push: true,
        };
        let mut heard = Settings::default();
        heard.take(&announced.payload(), false).unwrap();
        assert_eq!((heard.streams_max, heard.initial_window), (7, 9));
        assert!(heard.extended_connect && !heard.small_table && heard.greeted);
    }

    #[test]
    fn what_no_peer_may_say() {
        let rows = [
            ((2, 2), false, Reason::PROTOCOL_ERROR),
            ((2, 1), true, Reason::PROTOCOL_ERROR),
            ((4, 1 << 31), false, Reason::FLOW_CONTROL_ERROR),
            ((5, 100), false, Reason::PROTOCOL_ERROR),
            ((5, 1 << 24), false, Reason::PROTOCOL_ERROR),
            ((8, 2), true, Reason::PROTOCOL_ERROR),
        ];
        for (pair, from_server, reason) in rows {
            assert_eq!(take(&[pair], from_server).err(), Some(reason), "{pair:?}");
        }
        assert!(take(&[(2, 1), (5, 16_384), (0xff, 1)], false).is_ok());
        assert!(take(&[(1, 100)], false).unwrap().small_table);
    }
}
