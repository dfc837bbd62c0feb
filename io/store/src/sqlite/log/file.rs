//! The file that acknowledges: a record for each batch, synced before anybody is told.
//!
//! The file has its full size from the beginning, and every byte of it has been written: a record goes over bytes that are there, so
//! that syncing it moves data alone and neither size nor place. It has two halves. Records are appended to one; when that is full,
//! the other is begun anew, which it may be once everything in it is in the database.
//!
//! ```text
//! record   magic "SLG1" · bytes of writes u32 · CRC-32 of what follows u32 · first revision u64 · last u64 · writes
//! write    revision u64 · bytes of key u16 · bytes of value u32 (2³²−1: a delete) · key · value       little-endian
//! ```
//!
//! What is left of a half's former contents ends where revisions do not rise any more; it is in the database. A record that was cut
//! off has no right sum, and was never acknowledged: nothing follows it that the database does not have. Where something does, the
//! file is damaged, and that is told.

use bytes::Bytes;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The size of the file: what has been acknowledged and is not in the database yet has at most so many bytes.
pub const LOG_BYTES: u64 = 8 << 20;
const HALF_BYTES: u64 = LOG_BYTES / 2;

const MAGIC: [u8; 4] = *b"SLG1";
const HEAD_BYTES: usize = 28;
/// Where a record's sum begins.
const SUMMED_FROM: usize = 12;
const DELETED: u32 = u32::MAX;

/// What the log is written to.
pub(super) trait Medium: Send {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

impl Medium for File {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    pub(super) revision: u64,
    pub(super) key: String,
    /// None: it was deleted.
    pub(super) value: Option<Bytes>,
}

/// A batch on its way to the file.
pub(super) struct Record {
    bytes: Vec<u8>,
}

/// The open file.
pub(super) struct LogFile {
    medium: Box<dyn Medium>,
    place: Place,
}

/// Where a log is appended to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Which half.
    active: usize,
    /// Where, from that half's beginning.
    at: u64,
    /// The last revision in each half.
    last: [u64; 2],
}

/// What a log has that the database does not, and where it goes on.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) writes: Vec<Write>,
    pub(super) place: Place,
}

/// Why a record was not appended.
#[derive(Debug)]
pub(super) enum AppendError {
    /// Its half is full, and the other still has revisions up to this one, which are not in the database.
    Busy(u64),
    /// The file failed it: nobody knows what is in there.
    Io(io::Error),
}

// === impl Record ===

impl Record {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; HEAD_BYTES] }
    }

    /// Begins anew.
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(HEAD_BYTES);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds a write. Keys and values are within the store's bounds.
    pub(super) fn push(&mut self, revision: u64, key: &str, value: Option<&[u8]>) {
        let short = |length: usize| u32::try_from(length).expect("values are at most a MiB long");
        let key_bytes = u16::try_from(key.len()).expect("keys are at most a KiB long");
        self.bytes.extend_from_slice(&revision.to_le_bytes());
        self.bytes.extend_from_slice(&key_bytes.to_le_bytes());
        self.bytes.extend_from_slice(&value.map_or(DELETED, |value| short(value.len())).to_le_bytes());
        self.bytes.extend_from_slice(key.as_bytes());
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// The record as it is written.
    fn seal(&mut self, first: u64, last: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - HEAD_BYTES).expect("a record fits into a half");
        self.bytes[12..20].copy_from_slice(&first.to_le_bytes());
        self.bytes[20..28].copy_from_slice(&last.to_le_bytes());
        let sum = crc32fast::hash(&self.bytes[SUMMED_FROM..]);
        self.bytes[..4].copy_from_slice(&MAGIC);
        self.bytes[4..8].copy_from_slice(&length.to_le_bytes());
        self.bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        &self.bytes
    }
}

// === impl LogFile ===

impl LogFile {
    /// A log that goes on at `place`.
    pub(super) fn new(medium: Box<dyn Medium>, place: Place) -> Self {
        Self { medium, place }
    }

    /// Opens the file for appending at `place`, and makes it if it is not there.
    pub(super) fn create(path: &Path, place: Place) -> io::Result<Self> {
        let file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(path)?;
        let mut at = file.metadata()?.len();
        if at < LOG_BYTES {
            let zeros = vec![0; 1 << 20];
            while at < LOG_BYTES {
                let length =
                    usize::try_from(LOG_BYTES - at).map_or(zeros.len(), |left| left.min(zeros.len()));
                file.write_all_at(&zeros[..length], at)?;
                at += length as u64;
            }
            file.sync_all()?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        }
        Ok(Self::new(Box::new(file), place))
    }

    /// Appends a batch, durably. `applied` is the last revision that is in the database, durably.
    pub(super) fn append(
        &mut self,
        record: &mut Record,
        [first, last]: [u64; 2],
        applied: u64,
    ) -> Result<(), AppendError> {
        let (length, place) = (record.len() as u64, &mut self.place);
        if place.at + length > HALF_BYTES {
            let other = 1 - place.active;
            if place.last[other] > applied {
                return Err(AppendError::Busy(place.last[other]));
            }
            (place.active, place.at) = (other, 0);
        }
        let at = place.active as u64 * HALF_BYTES + place.at;
        self.medium.write_at(record.seal(first, last), at).map_err(AppendError::Io)?;
        self.medium.sync().map_err(AppendError::Io)?;
        place.at += length;
        place.last[place.active] = last;
        Ok(())
    }
}

/// What a log has after the revision `applied`, in order.
///
/// # Errors
/// The text says what is wrong with it: what follows `applied` is not there, though later revisions are.
pub(super) fn replay(path: &Path, applied: u64) -> io::Result<Result<Found, String>> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(LOG_BYTES).read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Ok(Found::default())),
        Err(error) => return Err(error),
    };
    Ok(found_after(&bytes, applied))
}

fn found_after(bytes: &[u8], applied: u64) -> Result<Found, String> {
    let half = usize::try_from(HALF_BYTES).unwrap_or(usize::MAX);
    let (mut place, mut records) = (Place::default(), Vec::new());
    for (index, half) in bytes.chunks(half).take(2).enumerate() {
        let of_half = records_of(half, applied)?;
        place.last[index] = of_half.last().map_or(0, |&(_, last, _)| last);
        if place.last[index] >= place.last[place.active] {
            let end: usize = of_half.iter().map(|(_, _, payload)| HEAD_BYTES + payload.len()).sum();
            (place.active, place.at) = (index, end as u64);
        }
        records.extend(of_half);
    }
    records.retain(|&(_, last, _)| last > applied);
    records.sort_unstable_by_key(|&(first, _, _)| first);
    let (mut writes, mut next) = (Vec::new(), applied + 1);
    for (first, last, payload) in records {
        if first != next {
            return Err(format!("revision {next} is missing, though {first} is in the log"));
        }
        next = last + 1;
        decode(payload, &mut writes).ok_or_else(|| format!("revision {first} is in no known form"))?;
    }
    Ok(Found { writes, place })
}

/// A record as it is in the file: its first and its last revision, and its writes.
type Raw<'f> = (u64, u64, &'f [u8]);

/// The records of a half, from its beginning to its end or to what was there before.
fn records_of(half: &[u8], applied: u64) -> Result<Vec<Raw<'_>>, String> {
    let (mut records, mut rest, mut before) = (Vec::new(), half, 0);
    while let Some((first, last, payload)) = record_at(rest).filter(|&(first, _, _)| first > before) {
        before = last;
        rest = &rest[HEAD_BYTES + payload.len()..];
        records.push((first, last, payload));
    }
    let mut strays = places_of_magic(rest).filter_map(|at| record_at(&rest[at..]));
    match strays.find(|&(first, _, _)| first > before.max(applied)) {
        Some((first, _, _)) => Err(format!("there is damage before revision {first}")),
        None => Ok(records),
    }
}

fn places_of_magic(bytes: &[u8]) -> impl Iterator<Item = usize> {
    // Most of the file has never been written, and is passed over by the page.
    const PAGE: usize = 4096;
    let pages = (0..bytes.len()).step_by(PAGE).filter(|&from| {
        let page = &bytes[from..bytes.len().min(from + PAGE)];
        *page != [0; PAGE][..page.len()]
    });
    pages.flat_map(|from| {
        // What begins in this page may end in the next.
        let page = &bytes[from..bytes.len().min(from + PAGE + MAGIC.len() - 1)];
        page.windows(MAGIC.len())
            .enumerate()
            .filter(|(_, found)| *found == MAGIC)
            .map(move |(at, _)| from + at)
    })
}

fn record_at(bytes: &[u8]) -> Option<Raw<'_>> {
    if bytes.get(..4)? != MAGIC {
        return None;
    }
    let length = usize::try_from(u32_at(bytes, 4)?).ok()?;
    let summed = bytes.get(SUMMED_FROM..HEAD_BYTES.checked_add(length)?)?;
    if crc32fast::hash(summed) != u32_at(bytes, 8)? {
        return None;
    }
    Some((u64_at(bytes, 12)?, u64_at(bytes, 20)?, bytes.get(HEAD_BYTES..HEAD_BYTES + length)?))
}

fn decode(mut rest: &[u8], writes: &mut Vec<Write>) -> Option<()> {
    while !rest.is_empty() {
        let revision = u64_at(rest, 0)?;
        let key_bytes = usize::from(u16::from_le_bytes(rest.get(8..10)?.try_into().ok()?));
        let value_bytes = u32_at(rest, 10)?;
        rest = rest.get(14..)?;
        let key = std::str::from_utf8(rest.get(..key_bytes)?).ok()?.to_owned();
        rest = rest.get(key_bytes..)?;
        let value = match value_bytes {
            DELETED => None,
            length => {
                let length = usize::try_from(length).ok()?;
                let value = Bytes::copy_from_slice(rest.get(..length)?);
                rest = rest.get(length..)?;
                Some(value)
            }
        };
        writes.push(Write { revision, key, value });
    }
    Some(())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(revision: u64, value: Option<&'static str>) -> Write {
        Write { revision, key: format!("key/{revision}"), value: value.map(Bytes::from) }
    }

    fn writes_after(bytes: &[u8], applied: u64) -> Result<Vec<Write>, String> {
        found_after(bytes, applied).map(|found| found.writes)
    }

    fn append(log: &mut LogFile, writes: &[Write], applied: u64) -> Result<(), AppendError> {
        let mut record = Record::new();
        writes.iter().for_each(|write| record.push(write.revision, &write.key, write.value.as_deref()));
        log.append(&mut record, [writes[0].revision, writes[writes.len() - 1].revision], applied)
    }

    #[test]
    fn a_record_that_was_cut_off_or_bent_is_none_and_those_before_it_count() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::create(&path, Place::default()).unwrap();
        let all = [write(1, Some("one")), write(2, None), write(3, Some(""))];
        append(&mut log, &all[..2], 0).unwrap();
        let before = usize::try_from(log.place.at).unwrap();
        append(&mut log, &all[2..], 0).unwrap();
        let after = usize::try_from(log.place.at).unwrap();
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(whole.len() as u64, LOG_BYTES);
        assert_eq!(writes_after(&whole, 0).unwrap(), all);
        assert_eq!(writes_after(&whole, 2).unwrap(), all[2..]);
        assert_eq!(writes_after(&whole, 3).unwrap(), []);
        let head = &whole[..after + 100];
        for at in before..after {
            let mut cut = head.to_vec();
            cut[at..].fill(0);
            assert_eq!(writes_after(&cut, 0).unwrap(), all[..2], "cut off at {at}");
            let mut bent = head.to_vec();
            bent[at] ^= 0x10;
            assert_eq!(writes_after(&bent, 0).unwrap(), all[..2], "bent at {at}");
        }
        for at in 0..before {
            let mut bent = head.to_vec();
            bent[at] ^= 0x10;
            let damage = Err("there is damage before revision 3".to_owned());
            assert_eq!(writes_after(&bent, 0), damage, "bent at {at}");
            assert_eq!(writes_after(&bent, 3), Ok(Vec::new()), "the database has it");
        }
    }

    #[test]
    fn a_half_is_begun_anew_only_when_the_database_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = LogFile::create(&path, Place::default()).unwrap();
        let large = "x".repeat(1 << 20);
        let one = |revision: u64| Write { revision, key: "k".into(), value: Some(large.clone().into()) };
        let mut last = 0;
        let busy = loop {
            match append(&mut log, &[one(last + 1)], 0) {
                Ok(()) => last += 1,
                Err(AppendError::Busy(revision)) => break revision,
                Err(AppendError::Io(error)) => panic!("{error}"),
            }
        };
        assert_eq!((last, busy), (6, 3), "three go into each half");
        append(&mut log, &[one(7)], 3).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let revisions = |applied| {
            writes_after(&bytes, applied)
                .map(|found| found.iter().map(|write| write.revision).collect::<Vec<_>>())
        };
        assert_eq!(revisions(3), Ok(vec![4, 5, 6, 7]), "what was there before does not count");
        assert_eq!(revisions(6), Ok(vec![7]));
        // Opened again, it goes on where it was.
        let mut again = LogFile::create(&path, found_after(&bytes, 3).unwrap().place).unwrap();
        append(&mut again, &[one(8)], 3).unwrap();
        append(&mut again, &[one(9)], 3).unwrap();
        assert!(matches!(append(&mut again, &[one(10)], 3), Err(AppendError::Busy(6))));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(writes_after(&bytes, 3).unwrap().len(), 6);
        let revisions = |applied| {
            writes_after(&bytes, applied)
                .map(|found| found.iter().map(|write| write.revision).collect::<Vec<_>>())
        };
        // The database of another time: it is told, and not passed over.
        assert_eq!(revisions(1), Err("revision 2 is missing, though 4 is in the log".to_owned()));
    }
}
