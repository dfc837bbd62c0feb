//! Whether a client already has what it asks for (RFC 9110 §13), and the tag by which it can tell.

use crate::date;

/// What an entity tag is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagParts {
    pub inode: bool,
    pub size: bool,
    pub mtime: bool,
}

/// The tag of a file as lighttpd makes it, so that caches stay valid when one takes the other's place; `None` if it would
/// be made of nothing.
///
/// `mtime` is seconds and nanoseconds.
pub fn file_tag(parts: TagParts, inode: u64, size: u64, mtime: (u64, u64)) -> Option<String> {
    let mut bytes = [0u8; 32];
    let mut len = 0;
    let numbers = [(parts.inode, inode), (parts.size, size), (parts.mtime, mtime.0), (parts.mtime, mtime.1)];
    for (_, number) in numbers.iter().filter(|(wanted, _)| *wanted) {
        bytes[len..len + 8].copy_from_slice(&number.to_ne_bytes());
        len += 8;
    }
    // Knuth's DEK hash, begun with the length.
    let hash =
        bytes[..len].iter().fold(len as u32, |hash, byte| (hash << 5) ^ (hash >> 27) ^ u32::from(*byte));
    (len > 0).then(|| format!("\"{hash}\""))
}

/// Whether a list of tags, from `If-None-Match` or `If-Match`, names `tag`. Weak tags match only where `weak` allows it.
pub fn tag_matches(list: &str, tag: &str, weak: bool) -> bool {
    if list.trim() == "*" {
        return true;
    }
    let strong = |tag: &'_ str| -> Option<String> {
        match tag.strip_prefix("W/") {
            Some(rest) if weak => Some(rest.to_owned()),
            Some(_) => None,
            None => Some(tag.to_owned()),
        }
    };
    let Some(tag) = strong(tag) else { return false };
    list.split(',').filter_map(|item| strong(item.trim())).any(|item| item == tag)
}

/// What the preconditions of a request say of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Send,
    /// 304: the client has it.
    NotModified,
    /// 412.
    Failed,
}

/// The conditions of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions<'a> {
    pub if_none_match: Option<&'a str>,
    pub if_modified_since: Option<&'a str>,
    /// The request is a GET or HEAD.
    pub reading: bool,
    /// Parts are asked for: weak tags do not do.
    pub range: bool,
}

/// Judges a resource by its tag and the second of its last change. A tag that is asked about makes the date irrelevant.
pub fn judge(conditions: Conditions<'_>, tag: Option<&str>, modified: Option<u64>) -> Verdict {
    if let (Some(list), Some(tag)) = (conditions.if_none_match, tag) {
        return match tag_matches(list, tag, !conditions.range) {
            false => Verdict::Send,
            true if conditions.reading => Verdict::NotModified,
            true => Verdict::Failed,
        };
    }
    if let (Some(since), Some(modified), true) = (conditions.if_modified_since, modified, conditions.reading)
        && date::parse(since).is_some_and(|since| modified <= since)
    {
        return Verdict::NotModified;
    }
    Verdict::Send
}

/// Whether `If-Range` allows parts to be sent: its tag or date must be exactly the resource's.
pub fn range_holds(if_range: &str, tag: Option<&str>, modified: Option<u64>) -> bool {
    let if_range = if_range.trim();
    if if_range.starts_with('"') || if_range.starts_with("W/") {
        return tag.is_some_and(|tag| tag == if_range && !tag.starts_with("W/"));
    }
    date::parse(if_range).is_some_and(|date| Some(date) == modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags() {
        for (list, tag, weak, expected) in [
            ("*", "\"a\"", true, true),
            ("\"a\"", "\"a\"", true, true),
            ("\"b\", \"a\"", "\"a\"", false, true),
            ("W/\"a\"", "\"a\"", true, true),
            ("W/\"a\"", "\"a\"", false, false),
            ("\"a\"", "W/\"a\"", false, false),
            ("\"ab\"", "\"a\"", true, false),
            ("", "\"a\"", true, false),
        ] {
            assert_eq!(tag_matches(list, tag, weak), expected, "{list} {tag} {weak}");
        }
    }

    #[test]
    fn verdicts() {
        let base = Conditions { reading: true, ..Conditions::default() };
        let since = "Sun, 06 Nov 1994 08:49:37 GMT";
        let tag = Some("\"a\"");
        let none = Conditions { if_none_match: tag, ..base };
        assert_eq!(judge(none, tag, None), Verdict::NotModified);
        assert_eq!(judge(Conditions { reading: false, ..none }, tag, None), Verdict::Failed);
        let both = Conditions { if_none_match: Some("\"b\""), if_modified_since: Some(since), ..base };
        assert_eq!(judge(both, tag, Some(0)), Verdict::Send, "the date does not count");
        let dated = Conditions { if_modified_since: Some(since), ..base };
        assert_eq!(judge(dated, tag, Some(784_111_777)), Verdict::NotModified);
        assert_eq!(judge(dated, tag, Some(784_111_778)), Verdict::Send);
        assert_eq!(judge(Conditions { if_modified_since: Some("x"), ..base }, tag, Some(0)), Verdict::Send);
        assert!(range_holds(since, tag, Some(784_111_777)) && !range_holds(since, tag, Some(1)));
        assert!(range_holds("\"a\"", tag, None) && !range_holds("W/\"a\"", Some("W/\"a\""), None));
    }

    #[test]
    fn a_file_tag_changes_with_each_part() {
        let all = TagParts { inode: true, size: true, mtime: true };
        let tag = file_tag(all, 1, 2, (3, 4));
        for other in [(9, 2, (3, 4)), (1, 9, (3, 4)), (1, 2, (9, 4)), (1, 2, (3, 9))] {
            assert_ne!(file_tag(all, other.0, other.1, other.2), tag);
        }
        assert_eq!(file_tag(TagParts { inode: false, size: false, mtime: false }, 1, 2, (3, 4)), None);
    }
}
