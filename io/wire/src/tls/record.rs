//! Records: sealed and opened in place.
//!
//! ```text
//! 1.3             17 03 03 len │ content, its type, tag                                (RFC 8446 §5.2)
//! 1.2 AES-GCM   type 03 03 len │ explicit nonce (8), content, tag                      (RFC 5288 §3)
//! 1.2 ChaCha20  type 03 03 len │ content, tag                                          (RFC 7905 §2)
//! ```

use std::io::IoSlice;
use std::ops::Range;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use super::facts::Tls;

pub(super) const HEADER_BYTES: usize = 5;
/// The longest content of one record.
pub(super) const CONTENT_BYTES_MAX: usize = 16 * 1024;
/// What a record is longer than its content, at most.
pub(super) const OVERHEAD_BYTES_MAX: usize = HEADER_BYTES + EXPLICIT_NONCE_BYTES + TAG_BYTES + 1;
/// Records that may be sealed with one AES-GCM key (RFC 8446 §5.5), with a margin.
pub(super) const RECORDS_PER_KEY_MAX: u64 = 1 << 24;

const EXPLICIT_NONCE_BYTES: usize = 8;
const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Alert,
    Handshake,
    Application,
}

impl Kind {
    fn byte(self) -> u8 {
        match self {
            Self::Alert => 21,
            Self::Handshake => 22,
            Self::Application => 23,
        }
    }

    fn of(byte: u8) -> Result<Self, RecordError> {
        match byte {
            21 => Ok(Self::Alert),
            22 => Ok(Self::Handshake),
            23 => Ok(Self::Application),
            _ => Err(RecordError::Unexpected),
        }
    }
}

/// A record that cannot be read, or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("a record is too long")]
    TooLong,
    #[error("a record could not be decrypted")]
    Forged,
    #[error("a record of an unexpected kind")]
    Unexpected,
    #[error("a handshake message after the handshake")]
    Renegotiation,
    #[error("too many records without content")]
    Idle,
    #[error("alert {0}")]
    Alert(u8),
    #[error("the connection's keys are used up")]
    KeysUsedUp,
    #[error("the peer's new keys cannot be made")]
    KeyUpdate,
}

/// One direction's keys.
pub(crate) struct Cipher {
    key: LessSafeKey,
    iv: [u8; NONCE_BYTES],
    pub(super) sequence: u64,
    version: Tls,
    /// AES-GCM in 1.2 carries part of the nonce in each record.
    explicit: bool,
}

impl std::fmt::Debug for Cipher {
    /// Keys are not for showing.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cipher")
            .field("sequence", &self.sequence)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Cipher {
    /// Of secrets as rustls hands them out; `None` for a cipher that we do not offer.
    pub(super) fn new(version: Tls, (sequence, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return None,
        };
        Some(Self {
            explicit: version == Tls::V12 && !std::ptr::eq(algorithm, &CHACHA20_POLY1305),
            key: LessSafeKey::new(UnboundKey::new(algorithm, key.as_ref()).ok()?),
            iv: iv.as_ref().try_into().ok()?,
            sequence,
            version,
        })
    }

    /// How many content bytes fit into so much room.
    pub(super) fn fitting(room: usize) -> usize {
        room.saturating_sub(OVERHEAD_BYTES_MAX).min(CONTENT_BYTES_MAX)
    }

    /// Seals `len` bytes of `parts`, from `skip` bytes in, at the front of `room`; how long the record is.
    pub(super) fn seal(
        &mut self,
        kind: Kind,
        parts: &[IoSlice<'_>],
        skip: usize,
        len: usize,
        room: &mut [u8],
    ) -> Result<usize, RecordError> {
        let nonce = self.nonce();
        let prefix = if self.explicit { EXPLICIT_NONCE_BYTES } else { 0 };
        let inner = if self.version == Tls::V13 { len + 1 } else { len };
        let begin = HEADER_BYTES + prefix;
        let end = begin + inner + TAG_BYTES;
        let room = room.get_mut(..end).ok_or(RecordError::TooLong)?;
        let outer = if self.version == Tls::V13 { Kind::Application } else { kind };
        room[..HEADER_BYTES].copy_from_slice(&header(outer.byte(), end - HEADER_BYTES));
        room[HEADER_BYTES..begin].copy_from_slice(&nonce[NONCE_BYTES - prefix..]);
        gather(parts, skip, &mut room[begin..begin + len]);
        if self.version == Tls::V13 {
            room[begin + len] = kind.byte();
        }
        let aad = self.aad(outer.byte(), room[..HEADER_BYTES].try_into().expect("five bytes"), len);
        let (content, tag) = room[begin..].split_at_mut(inner);
        let sealed = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad.as_slice()),
                content,
            )
            .map_err(|_| RecordError::KeysUsedUp)?;
        tag.copy_from_slice(sealed.as_ref());
        self.sequence += 1;
        Ok(end)
    }

    /// Seals bytes as they are, without a kind behind them: what no honest peer does.
    #[cfg(test)]
    pub(super) fn seal_raw(&mut self, inner: &[u8]) -> Vec<u8> {
        let end = HEADER_BYTES + inner.len() + TAG_BYTES;
        let head = header(Kind::Application.byte(), end - HEADER_BYTES);
        let mut content = inner.to_vec();
        let tag = self
            .key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(self.nonce()),
                Aad::from(head.as_slice()),
                &mut content,
            )
            .expect("sealed");
        self.sequence += 1;
        [head.as_slice(), &content, tag.as_ref()].concat()
    }

    /// Opens a whole record; what it carries and where that lies in `record`.
    pub(super) fn open(&mut self, record: &mut [u8]) -> Result<(Kind, Range<usize>), RecordError> {
        let outer = record[0];
        let head: [u8; HEADER_BYTES] = record[..HEADER_BYTES].try_into().expect("five bytes");
        let mut nonce = self.nonce();
        let mut begin = HEADER_BYTES;
        if self.explicit {
            begin += EXPLICIT_NONCE_BYTES;
            let explicit = record.get(HEADER_BYTES..begin).ok_or(RecordError::Forged)?;
            nonce[..4].copy_from_slice(&self.iv[..4]);
            nonce[4..].copy_from_slice(explicit);
        }
        let length = record.len().checked_sub(begin + TAG_BYTES).ok_or(RecordError::Forged)?;
        if self.version == Tls::V13 && outer != Kind::Application.byte() {
            return Err(RecordError::Unexpected);
        }
        let aad = self.aad(outer, head, length);
        let opened = self
            .key
            .open_in_place(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad.as_slice()),
                &mut record[begin..],
            )
            .map_err(|_| RecordError::Forged)?;
        self.sequence = self.sequence.checked_add(1).ok_or(RecordError::KeysUsedUp)?;
        if self.version == Tls::V12 {
            if length > CONTENT_BYTES_MAX {
                return Err(RecordError::TooLong);
            }
            return Ok((Kind::of(outer)?, begin..begin + length));
        }
        // Content, its type, padding of zeros.
        let last = opened.iter().rposition(|byte| *byte != 0).ok_or(RecordError::Unexpected)?;
        if last > CONTENT_BYTES_MAX {
            return Err(RecordError::TooLong);
        }
        Ok((Kind::of(opened[last])?, begin..begin + last))
    }

    /// The longest record of the peer, without its header.
    pub(super) fn record_bytes_max(&self) -> usize {
        match self.version {
            Tls::V13 => CONTENT_BYTES_MAX + 256,
            Tls::V12 => CONTENT_BYTES_MAX + 2048,
        }
    }

    fn nonce(&self) -> [u8; NONCE_BYTES] {
        let mut nonce = self.iv;
        for (byte, of_sequence) in nonce[4..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= of_sequence;
        }
        nonce
    }

    fn aad(&self, outer: u8, head: [u8; HEADER_BYTES], length: usize) -> AdditionalData {
        let mut aad = AdditionalData { bytes: [0; 13], len: HEADER_BYTES };
        match self.version {
            Tls::V13 => aad.bytes[..HEADER_BYTES].copy_from_slice(&head),
            Tls::V12 => {
                aad.bytes[..8].copy_from_slice(&self.sequence.to_be_bytes());
                aad.bytes[8..].copy_from_slice(&header(outer, length));
                aad.len = 13;
            }
        }
        aad
    }
}

struct AdditionalData {
    bytes: [u8; 13],
    len: usize,
}

impl AdditionalData {
    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    let [high, low] = u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes();
    [kind, 3, 3, high, low]
}

/// Copies the bytes of `parts` after the first `skip` ones, until `room` is full.
fn gather(parts: &[IoSlice<'_>], mut skip: usize, mut room: &mut [u8]) {
    for part in parts {
        if skip >= part.len() {
            skip -= part.len();
            continue;
        }
        let part = &part[skip..];
        skip = 0;
        let len = part.len().min(room.len());
        let (now, later) = room.split_at_mut(len);
        now.copy_from_slice(&part[..len]);
        room = later;
        if room.is_empty() {
            return;
        }
    }
}
