//! The fields that Envoy's messages have, by number and name, from the descriptors inside of the Envoy that the tests run
//! beside: so a field which a control plane sets and nothing here acts on is refused by its name, and a resource is shown
//! as Envoy shows it.
//!
//! Only the messages that can be reached from those that we speak are kept, without Envoy's comments and constraints.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::ROOM;

/// Names a field's annotation: dumps do not show its content (`udpa.annotations.sensitive`).
const SENSITIVE: u32 = 76_569_463;
/// Where a descriptor of a file begins: a name with its length, and a package.
const EXTENSION: &[u8] = b".proto\x12";

/// Writes the tables; `vendored` is the encoded set of descriptors of the messages that we speak.
pub(super) fn run(root: &Path, vendored: &[u8]) -> Result<()> {
    let Some(envoy) = envoy(root) else {
        println!(
            "no Envoy here, so the table of its fields stays as it is; cargo xtask test --only setup brings one"
        );
        return Ok(());
    };
    let binary = std::fs::read(&envoy).with_context(|| format!("read {}", envoy.display()))?;
    let known = known(&binary);
    let mut ours = Known::default();
    parts(vendored).for_each(|(_, file)| take_file(&mut ours, file));
    let fields = |(name, message): (&String, &Message)| {
        message.fields.iter().map(|field| (name.clone(), field.number)).collect::<Vec<_>>()
    };
    let spoken: BTreeSet<(String, u32)> = ours.messages.iter().flat_map(fields).collect();
    ensure!(!known.messages.is_empty(), "{} holds no descriptors", envoy.display());
    let kept = reachable(&known, &spoken);
    let tables = root.join(ROOM).join("src/schema/tables.rs");
    std::fs::write(&tables, write(&known, &kept, &spoken))
        .with_context(|| format!("write {}", tables.display()))
}

fn envoy(root: &Path) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("SELVEDGE_ENVOY").map(PathBuf::from) {
        return path.is_file().then_some(path);
    }
    let pythons = std::fs::read_dir(root.join("target/venv/lib")).ok()?;
    let inside = |python: std::fs::DirEntry| python.path().join("site-packages/envoy/_bin/envoy");
    pythons.flatten().map(inside).find(|path| path.is_file())
}

#[derive(Default)]
struct Known {
    messages: BTreeMap<String, Message>,
    enums: BTreeMap<String, Vec<(i32, String)>>,
}

#[derive(Default)]
struct Message {
    is_map_entry: bool,
    fields: Vec<Field>,
}

struct Field {
    number: u32,
    name: String,
    /// `FieldDescriptorProto.Type`.
    kind: u8,
    /// Of a message or an enumeration, its name.
    of: String,
    is_repeated: bool,
    is_sensitive: bool,
}

/// All descriptors in a binary. Some files are there twice, once without annotations: the longer one counts.
fn known(binary: &[u8]) -> Known {
    let mut files: BTreeMap<&str, &[u8]> = BTreeMap::new();
    let mut at = 0;
    while let Some(found) = find(&binary[at..], EXTENSION) {
        let end = at + found + EXTENSION.len() - 1;
        at = end;
        let Some((name, start)) = begins(binary, end) else { continue };
        let file = descriptor(&binary[start..]);
        let longest = files.entry(name).or_default();
        if file.len() > longest.len() {
            *longest = file;
        }
    }
    let mut known = Known::default();
    files.into_values().for_each(|file| take_file(&mut known, file));
    known
}

fn take_file(known: &mut Known, file: &[u8]) {
    let package = string(file, 2);
    for (number, content) in parts(file) {
        match number {
            4 => take_message(known, &package, content),
            5 => take_enum(known, &package, content),
            _ => {}
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The name that ends at `end`, and where the descriptor with it begins.
fn begins(binary: &[u8], end: usize) -> Option<(&str, usize)> {
    (6..127).find_map(|length: usize| {
        let start = end.checked_sub(length + 2)?;
        let is_start = binary[start] == 0x0a && usize::from(binary[start + 1]) == length;
        let name = std::str::from_utf8(&binary[start + 2..end]).ok()?;
        let is_name = name.bytes().all(|byte| byte.is_ascii_graphic());
        (is_start && is_name).then_some((name, start))
    })
}

/// As much of `bytes` as reads as one `FileDescriptorProto`: fields 2 to 14 after the name.
fn descriptor(bytes: &[u8]) -> &[u8] {
    let mut rest = bytes;
    let mut first = true;
    loop {
        let before = rest;
        let Some((number, _)) = part(&mut rest) else { return &bytes[..bytes.len() - before.len()] };
        if !(1..=14).contains(&number) || (number == 1) != first {
            return &bytes[..bytes.len() - before.len()];
        }
        first = false;
    }
}

fn take_message(known: &mut Known, scope: &str, bytes: &[u8]) {
    let name = format!("{scope}.{}", string(bytes, 1));
    let mut message = Message::default();
    for (number, content) in parts(bytes) {
        match number {
            2 => message.fields.push(field(content)),
            3 => take_message(known, &name, content),
            4 => take_enum(known, &name, content),
            7 => message.is_map_entry = number_of(content, 7) == 1,
            _ => {}
        }
    }
    message.fields.sort_by_key(|field| field.number);
    known.messages.insert(name, message);
}

fn field(bytes: &[u8]) -> Field {
    let options =
        parts(bytes).find(|(number, _)| *number == 8).map(|(_, options)| options).unwrap_or_default();
    Field {
        number: number_of(bytes, 3),
        name: string(bytes, 1),
        kind: u8::try_from(number_of(bytes, 5)).unwrap_or_default(),
        of: string(bytes, 6).trim_start_matches('.').to_owned(),
        is_repeated: number_of(bytes, 4) == 3,
        is_sensitive: number_of(options, SENSITIVE) == 1,
    }
}

fn take_enum(known: &mut Known, scope: &str, bytes: &[u8]) {
    let values = parts(bytes).filter(|(number, _)| *number == 2);
    // Numbers of configuration are never negative.
    let values =
        values.map(|(_, value)| (i32::try_from(number_of(value, 2)).unwrap_or(-1), string(value, 1)));
    known.enums.insert(format!("{scope}.{}", string(bytes, 1)), values.collect());
}

/// The parts of a message: length-delimited ones as they are, numbers as the bytes of their varint.
fn parts(bytes: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || part(&mut rest))
}

fn part<'a>(rest: &mut &'a [u8]) -> Option<(u32, &'a [u8])> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok()?;
    let before = *rest;
    match key & 7 {
        0 => {
            varint(rest)?;
            Some((number, &before[..before.len() - rest.len()]))
        }
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (content, after) = rest.split_at_checked(length)?;
            *rest = after;
            Some((number, content))
        }
        _ => None,
    }
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn string(bytes: &[u8], number: u32) -> String {
    let content = parts(bytes).find(|(found, _)| *found == number).map(|(_, content)| content);
    String::from_utf8_lossy(content.unwrap_or_default()).into_owned()
}

fn number_of(bytes: &[u8], number: u32) -> u32 {
    let content = parts(bytes).find(|(found, _)| *found == number).map(|(_, content)| content);
    content.and_then(|mut content| u32::try_from(varint(&mut content)?).ok()).unwrap_or_default()
}

/// The messages and enumerations that the spoken ones lead to.
fn reachable(known: &Known, spoken: &BTreeSet<(String, u32)>) -> BTreeSet<String> {
    let is_configuration = |name: &&String| {
        ["envoy.config.", "envoy.extensions.", "envoy.type."].iter().any(|room| name.starts_with(room))
    };
    let mut waiting: Vec<String> =
        spoken.iter().map(|(message, _)| message).filter(is_configuration).cloned().collect();
    // What an `Any` may hold beside.
    waiting.extend(
        ["Struct", "Any", "StringValue", "BoolValue", "UInt32Value"]
            .map(|name| format!("google.protobuf.{name}")),
    );
    let mut kept = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if kept.insert(name.clone()) {
            let fields = known.messages.get(&name).into_iter().flat_map(|message| &message.fields);
            waiting.extend(fields.filter(|field| !field.of.is_empty()).map(|field| field.of.clone()));
        }
    }
    kept
}

fn write(known: &Known, kept: &BTreeSet<String>, spoken: &BTreeSet<(String, u32)>) -> String {
    let messages: Vec<(&String, &Message)> =
        known.messages.iter().filter(|(name, _)| kept.contains(*name)).collect();
    let enums: Vec<(&String, &Vec<(i32, String)>)> =
        known.enums.iter().filter(|(name, _)| kept.contains(*name)).collect();
    let mut names = Names::default();
    let (mut heads, mut fields, mut count) = (String::new(), String::new(), 0);
    for (name, message) in &messages {
        let head = (names.place(name), message.fields.len());
        let _ = writeln!(heads, "    ({}, {count}, {}),", head.0, head.1);
        let _ = writeln!(fields, "    // {name}");
        count += head.1;
        for field in &message.fields {
            let target = messages.binary_search_by(|(name, _)| (*name).cmp(&field.of)).ok();
            let of = target.or_else(|| enums.binary_search_by(|(name, _)| (*name).cmp(&field.of)).ok());
            let is_map = target.is_some_and(|at| messages[at].1.is_map_entry);
            let flags = u8::from(field.is_repeated)
                | u8::from(is_map) << 1
                | u8::from(field.is_sensitive) << 2
                | u8::from(spoken.contains(&((*name).clone(), field.number))) << 3;
            let (number, kind) = (field.number, field.kind);
            let _ = writeln!(
                fields,
                "    ({number}, {}, {kind}, {}, {flags}),",
                names.place(&field.name),
                of.unwrap_or(0)
            );
        }
    }
    let (mut enum_heads, mut values, mut value_count) = (String::new(), String::new(), 0);
    for (_, all) in &enums {
        let _ = writeln!(enum_heads, "    ({value_count}, {}),", all.len());
        value_count += all.len();
        for (number, name) in *all {
            let _ = writeln!(values, "    ({number}, {}),", names.place(name));
        }
    }
    let (message_count, enum_count, text) = (messages.len(), enums.len(), names.text);
    format!(
        "//! Written by `cargo xtask codegen` from the descriptors of Envoy; see `xtask/src/codegen/schema.rs`.\n\
        //! Numbers and places only, no pointers: nothing of it is touched before it is looked up.\n\n\
        use super::{{EnumRow, FieldRow, MessageRow, ValueRow}};\n\n\
        /// Name, first field, count of fields; by name.\n#[rustfmt::skip]\n\
        pub(super) static MESSAGES: [MessageRow; {message_count}] = [\n{heads}];\n\n\
        /// Number, name, type, index of the message or enumeration, flags; by number within a message.\n#[rustfmt::skip]\n\
        pub(super) static FIELDS: [FieldRow; {count}] = [\n{fields}];\n\n\
        /// First value, count of values.\n#[rustfmt::skip]\n\
        pub(super) static ENUMS: [EnumRow; {enum_count}] = [\n{enum_heads}];\n\n\
        #[rustfmt::skip]\npub(super) static VALUES: [ValueRow; {value_count}] = [\n{values}];\n\n\
        /// All names, one after the other.\n#[rustfmt::skip]\n\
        pub(super) static NAMES: &str = {text:?};\n"
    )
}

/// A text in which each name stands once.
#[derive(Default)]
struct Names {
    text: String,
    places: BTreeMap<String, usize>,
}

impl Names {
    /// Where a name stands: its first byte and its length, as a pair of Rust's.
    fn place(&mut self, name: &str) -> String {
        let at = *self.places.entry(name.to_owned()).or_insert_with(|| {
            self.text.push_str(name);
            self.text.len() - name.len()
        });
        format!("({at}, {})", name.len())
    }
}
