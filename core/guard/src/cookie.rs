//! Cookies: what a browser sent, and what it is told to keep (RFC 6265, with the prefixes and `SameSite` of its successor).
//!
//! A long value is spread over several cookies, `name.0`, `name.1` and on, because browsers keep four kilobytes of each.

/// Bytes of a value that one cookie carries.
pub const PART_BYTES_MAX: usize = 3_800;
/// Cookies that one value may be spread over.
pub const PARTS_MAX: usize = 4;

/// Where a cookie is good for, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Only over TLS; the name then has the prefix `__Host-`, which binds it to this very host.
    pub secure: bool,
    /// Seconds; 0 takes it away.
    pub max_age: u64,
}

/// The whole name under a scope.
pub fn full_name(name: &str, secure: bool) -> String {
    if secure { format!("__Host-{name}") } else { name.to_owned() }
}

/// The value of a cookie among the `Cookie` headers of a request, put together from its parts.
///
/// `None` without it, with parts missing, and when one of them stands twice: then somebody else has set one as well, and
/// nobody can say which is ours.
pub fn find(headers: &[&[u8]], full_name: &str) -> Option<String> {
    let mut parts: [Option<&[u8]>; PARTS_MAX] = [None; PARTS_MAX];
    let mut whole: Option<&[u8]> = None;
    for pair in headers.iter().flat_map(|header| header.split(|byte| *byte == b';')) {
        let pair = pair.trim_ascii();
        let Some(rest) = pair.strip_prefix(full_name.as_bytes()) else { continue };
        let slot = match rest {
            [b'=', value @ ..] => (&mut whole, value),
            [b'.', digit, b'=', value @ ..] => {
                let index = usize::from(digit.wrapping_sub(b'0'));
                let Some(part) = parts.get_mut(index) else { continue };
                (part, value)
            }
            _ => continue,
        };
        if slot.0.replace(slot.1).is_some() {
            return None;
        }
    }
    if let Some(whole) = whole {
        return parts.iter().all(Option::is_none).then(|| text(whole)).flatten();
    }
    let count = parts.iter().take_while(|part| part.is_some()).count();
    if count == 0 || parts[count..].iter().any(Option::is_some) {
        return None;
    }
    text(&parts.into_iter().flatten().flatten().copied().collect::<Vec<u8>>())
}

/// The `Set-Cookie` lines that keep a value; parts of an earlier, longer value are taken away. `None` when it is too long.
pub fn keep(name: &str, value: &str, scope: Scope) -> Option<Vec<String>> {
    let full = full_name(name, scope.secure);
    if value.len() <= PART_BYTES_MAX {
        let mut lines = vec![line(&full, value, scope)];
        lines.extend((0..PARTS_MAX).map(|index| line(&format!("{full}.{index}"), "", gone(scope))));
        return Some(lines);
    }
    let parts: Vec<&[u8]> = value.as_bytes().chunks(PART_BYTES_MAX).collect();
    if parts.len() > PARTS_MAX {
        return None;
    }
    let mut lines = vec![line(&full, "", gone(scope))];
    for index in 0..PARTS_MAX {
        let name = format!("{full}.{index}");
        lines.push(match parts.get(index) {
            Some(part) => line(&name, &String::from_utf8_lossy(part), scope),
            None => line(&name, "", gone(scope)),
        });
    }
    Some(lines)
}

/// The `Set-Cookie` line that keeps a short value, without parts.
pub fn keep_short(name: &str, value: &str, scope: Scope) -> String {
    line(&full_name(name, scope.secure), value, scope)
}

/// The names of the cookies that a browser sent; what is no name is passed over.
pub fn names<'a>(headers: &'a [&'a [u8]]) -> impl Iterator<Item = &'a str> {
    let pairs = headers.iter().flat_map(|header| header.split(|byte| *byte == b';'));
    pairs.filter_map(|pair| {
        let name = pair.trim_ascii().split(|byte| *byte == b'=').next()?;
        let is_name = !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        std::str::from_utf8(name).ok().filter(|_| is_name)
    })
}

/// The line that takes a short value away.
pub fn drop_short(name: &str, secure: bool) -> String {
    line(&full_name(name, secure), "", Scope { secure, max_age: 0 })
}

/// The lines that take a value away.
pub fn drop(name: &str, secure: bool) -> Vec<String> {
    let full = full_name(name, secure);
    let scope = Scope { secure, max_age: 0 };
    let parts = (0..PARTS_MAX).map(|index| format!("{full}.{index}"));
    std::iter::once(full.clone()).chain(parts).map(|name| line(&name, "", scope)).collect()
}

/// `Lax`: the browser sends it when somebody follows a link from elsewhere, which is how the provider sends people back,
/// and not with what another site's page posts or embeds.
fn line(full_name: &str, value: &str, scope: Scope) -> String {
    let secure = if scope.secure { "; Secure" } else { "" };
    format!("{full_name}={value}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", scope.max_age)
}

fn gone(scope: Scope) -> Scope {
    Scope { max_age: 0, ..scope }
}

fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: Scope = Scope { secure: true, max_age: 60 };

    /// What a browser that had nothing sends back.
    fn sent_back(lines: &[String]) -> String {
        let kept = lines.iter().filter(|line| !line.contains("Max-Age=0"));
        kept.filter_map(|line| line.split(';').next()).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_value_comes_back_whole_whatever_its_length() {
        for length in [1, PART_BYTES_MAX, PART_BYTES_MAX + 1, PARTS_MAX * PART_BYTES_MAX] {
            let value = "v".repeat(length);
            let lines = keep("s", &value, SCOPE).expect("it fits");
            let header = format!("other=1; {}; __Host-s2=x", sent_back(&lines));
            assert_eq!(find(&[header.as_bytes()], "__Host-s"), Some(value), "{length}");
            assert!(lines.iter().all(|line| line.len() < 4096), "{length}");
        }
        assert_eq!(keep("s", &"v".repeat(PARTS_MAX * PART_BYTES_MAX + 1), SCOPE), None);
    }

    #[test]
    fn a_shorter_value_leaves_nothing_of_a_longer_one() {
        let taken = |lines: Vec<String>| lines.iter().filter(|line| line.contains("Max-Age=0")).count();
        assert_eq!(taken(keep("s", "v", SCOPE).expect("it fits")), PARTS_MAX);
        assert_eq!(taken(keep("s", &"v".repeat(PART_BYTES_MAX * 2), SCOPE).expect("it fits")), PARTS_MAX - 1);
        assert_eq!(taken(drop("s", true)), PARTS_MAX + 1);
    }

    #[test]
    fn what_nobody_can_put_together_is_nothing() {
        for header in
            ["", "s2=v", "s.1=v", "s.0=v; s.2=v", "s=a; s=b", "s.0=a; s.0=b", "s=a; s.0=b", "s.9=v", "xs=v"]
        {
            assert_eq!(find(&[header.as_bytes()], "s"), None, "{header}");
        }
        assert_eq!(find(&[&b"s.0=a"[..], &b"s.1=b"[..]], "s"), Some("ab".into()), "over two headers");
    }

    #[test]
    fn attributes() {
        assert_eq!(
            keep_short("s", "v", SCOPE),
            "__Host-s=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            keep_short("s", "v", Scope { secure: false, ..SCOPE }),
            "s=v; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"
        );
    }
}
