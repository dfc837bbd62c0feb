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

/// An ARN of AWS Certificate Manager.
pub(super) fn is_acm_arn(text: &str) -> bool {
    is_arn(text, "acm")
}

/// An ARN of its private authorities.
pub(super) fn is_acm_pca_arn(text: &str) -> bool {
    is_arn(text, "acm-pca")
}

fn is_arn(text: &str, service: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_+=,.@-".contains(&byte);
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [scheme, partition, named, region, account, resource] = parts[..] else { return false };
    let is_plain = |text: &str| text.bytes().all(|byte| is_word(byte) || byte == b'/');
    scheme == "arn"
        && named == service
        && !partition.is_empty()
        && [partition, region].into_iter().all(is_plain)
        && account.bytes().all(|byte| byte.is_ascii_digit())
        && resource.split('/').all(|part| !part.is_empty() && part.bytes().all(is_word))
}

/// `([\p{L}\p{Z}\p{N}_.:/=+\-@]*)`
pub(super) fn is_tag(text: &str) -> bool {
    let is_fine = |character: char| {
        character.is_alphanumeric()
            || character.is_whitespace() && !character.is_control()
            || "_.:/=+-@".contains(character)
    };
    text.chars().all(is_fine)
}

/// Two or more labels of letters, digits and inner hyphens, the last of two characters at least; an asterisk in front.
pub(super) fn is_certificate_domain(text: &str) -> bool {
    let text = text.strip_prefix("*.").unwrap_or(text);
    is_public_domain(text) && text.rsplit('.').next().is_some_and(|last| last.len() >= 2)
}

/// `[\u0009\u000A\u000D\u0020-\u00FF]*`
pub(super) fn is_latin(text: &str) -> bool {
    text.chars().all(|character| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
}

/// `\w+`
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Sections of PEM and nothing else: lines of base64 between a beginning and its end.
pub(super) fn is_pem(text: &str) -> bool {
    let mut label = None;
    for line in text.lines() {
        let marked = |mark: &str| line.strip_prefix(mark)?.strip_suffix("-----");
        match (label, marked("-----BEGIN "), marked("-----END ")) {
            (None, Some(begun), _) => label = Some(begun),
            (Some(begun), _, Some(ended)) if begun == ended => label = None,
            (Some(_), None, None)
                if line.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte)) => {}
            _ => return false,
        }
    }
    label.is_none() && !text.is_empty()
}

/// `[A-Za-z]{2}`
pub(super) fn is_country(text: &str) -> bool {
    text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

/// `[a-zA-Z0-9'()+-.?:/= ]*`
pub(super) fn is_printable(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"'()+,-.?:/= ".contains(&byte))
}

/// `1.3.6.1.4.1`
pub(super) fn is_object_identifier(text: &str) -> bool {
    let parts: Vec<&str> = text.split('.').collect();
    let [first, second, rest @ ..] = &parts[..] else { return false };
    let is_second = is_digits(second) && second.len() <= 2 && second.parse::<u8>().is_ok_and(|arc| arc < 40);
    matches!(*first, "0" | "1" | "2")
        && is_second
        && rest.len() <= 126
        && rest.iter().all(|arc| is_digits(arc))
}

/// `[-a-zA-Z0-9;/?:@&=+$,%_.!~*()']*`
pub(super) fn is_url_text(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-;/?:@&=+$,%_.!~*()'".contains(&byte))
}

/// A slash alone, or parts of a path without one at either end.
pub(super) fn is_url_path(text: &str) -> bool {
    text == "/" || is_url_text(text) && text.split('/').all(|part| !part.is_empty())
}

/// `[-a-zA-Z0-9._/]+`
pub(super) fn is_bucket_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte))
}

/// `[0-9]+`
pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Base64 with its padding.
pub(super) fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len().is_multiple_of(4) && text.len() - digits.len() <= 2 && digits.bytes().all(is_digit)
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

    #[test]
    fn arns_of_certificates_are_told_from_others() {
        let certificate = "arn:aws:acm:eu-west-1:123456789012:certificate/6f-0a";
        assert!(is_acm_arn(certificate) && !is_acm_pca_arn(certificate));
        assert!(is_acm_pca_arn("arn:aws:acm-pca:eu-west-1:1:certificate-authority/6f/certificate/4c"));
        for text in ["", "arn", "arn:aws:acm:r:a:certificate/x", "arn:aws:acm:r:1:", "arn:aws:acm:r:1:a//b"] {
            assert!(!is_acm_arn(text), "{text}");
        }
        assert!(is_certificate_domain("*.shop.local") && is_certificate_domain("a.b.io"));
        assert!(
            !is_certificate_domain("local")
                && !is_certificate_domain("a.b")
                && !is_certificate_domain("*.*.io")
        );
        assert!(is_tag("Größe 1_.:/=+-@") && !is_tag("a;b") && !is_tag("a\tb"));
        assert!(is_latin("a\tÿ") && !is_latin("\u{100}") && !is_latin("\u{0}"));
        assert!(is_word("a_1") && !is_word("") && !is_word("a-1"));
    }

    #[test]
    fn what_authorities_are_described_with_has_its_characters() {
        let pem = "-----BEGIN CERTIFICATE-----\nQUJD\nQQ==\n-----END CERTIFICATE-----\n";
        assert!(is_pem(pem) && is_pem(&pem.repeat(2)) && !is_pem("") && !is_pem(&pem[..40]));
        assert!(!is_pem(&pem.replace("QUJD", "!")) && !is_pem(&pem.replace("END C", "END X")));
        assert!(is_country("de") && !is_country("d") && !is_country("d1"));
        assert!(is_printable("a (b), c-d") && !is_printable("a*"));
        for (text, is_one) in [
            ("1.3.6.1", true),
            ("2.39", true),
            ("3.1", false),
            ("1.40", false),
            ("1", false),
            ("1.3.", false),
        ] {
            assert_eq!(is_object_identifier(text), is_one, "{text}");
        }
        assert!(is_url_path("/") && is_url_path("a/b") && !is_url_path("/a") && !is_url_path("a//b"));
        assert!(is_bucket_name("a/b.c") && !is_bucket_name("") && !is_bucket_name("a b"));
        assert!(is_base64("QUJD") && is_base64("QQ==") && !is_base64("QQ=") && !is_base64("Q==="));
    }
}
