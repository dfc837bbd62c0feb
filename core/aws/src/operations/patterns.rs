//! The patterns of the generated tables, decided without a regular expression engine: some of them look ahead.

/// `^[a-zA-Z0-9!-~]+$`
pub(super) fn is_visible(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Visible characters, with blanks anywhere but at the start. The inner class ends in an optional visible character, so
/// that a blank may stand at the end.
pub(super) fn is_visible_with_inner_blanks(text: &str) -> bool {
    let is_fine = |byte: u8| matches!(byte, b' ' | b'\t') || byte.is_ascii_graphic();
    !text.starts_with([' ', '\t']) && text.bytes().all(is_fine)
}

/// `[0-9a-zA-Z-_.]+`
pub(super) fn is_schedule_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// `^[0-9a-zA-Z_/:.@-]+$`
pub(super) fn is_instance_id(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_/:.@-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_fine)
}

/// `^[!-~]{1,1024}$`
pub(super) fn is_visible_to_1024(text: &str) -> bool {
    is_visible(text) && text.len() <= 1024
}

/// The same, but no ARN.
pub(super) fn is_visible_to_1024_and_no_arn(text: &str) -> bool {
    is_visible_to_1024(text) && !text.starts_with("arn:")
}

/// `^(?!arn:)[!-~]{1,253}$`
pub(super) fn is_visible_to_253_and_no_arn(text: &str) -> bool {
    is_visible(text) && text.len() <= 253 && !text.starts_with("arn:")
}

/// Two or more labels of letters, digits and inner hyphens.
pub(super) fn is_public_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(is_label)
}

/// Labels of letters, digits, underscores and inner hyphens, 127 characters at most; or a dot alone.
pub(super) fn is_service_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        (1..=63).contains(&label.len())
            && label.bytes().all(is_word)
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label != "_"
    };
    text == "." || (text.len() <= 127 && text.split('.').all(is_label))
}

/// Letters, digits, `_`, `-` and `.`, and not digits alone.
pub(super) fn is_alias_name(text: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    text.bytes().all(is_fine) && text.bytes().any(|byte| !byte.is_ascii_digit())
}

/// `\p{ASCII}*`
pub(super) fn is_ascii(text: &str) -> bool {
    text.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_services_are_labels() {
        for (text, is_one) in [
            ("web", true),
            ("_http._tcp.web", true),
            ("a", true),
            (".", true),
            ("_", false),
            ("", false),
            ("-web", false),
            ("web-", false),
            ("a..b", false),
            ("web!", false),
        ] {
            assert_eq!(is_service_name(text), is_one, "{text}");
        }
        assert!(is_service_name(&["x".repeat(63), "y".repeat(63)].join(".")));
        assert!(!is_service_name(&["x".repeat(63), "y".repeat(64)].join(".")));
    }

    #[test]
    fn values_may_have_blanks_inside() {
        for (text, is_one) in [("", true), ("a b\tc", true), ("a ", true), (" a", false), ("é", false)] {
            assert_eq!(is_visible_with_inner_blanks(text), is_one, "{text:?}");
        }
    }

    #[test]
    fn no_namespace_is_named_like_an_arn() {
        assert!(is_visible_to_1024_and_no_arn("shop.local"));
        assert!(!is_visible_to_1024_and_no_arn("arn:aws"));
        assert!(!is_visible_to_253_and_no_arn(&"x".repeat(254)));
        assert!(is_public_domain("example.com") && !is_public_domain("example") && !is_public_domain("a.-b"));
    }
}
