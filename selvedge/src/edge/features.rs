//! What `-v` and `-V` print: the lines that programs around lighttpd look for.

/// What there is, in lighttpd's words.
const FEATURES: &[(&str, bool)] = &[
    ("IPv6 support", true),
    ("zlib support", true),
    ("zstd support", true),
    ("bzip2 support", false),
    ("brotli support", true),
    ("crypt support", true),
    ("OpenSSL support", true),
    ("PCRE support", true),
    ("MySQL support", false),
    ("PgSQL support", false),
    ("DBI support", false),
    ("Kerberos support", false),
    ("LDAP support", false),
    ("PAM support", false),
    ("LUA support", false),
    ("xml support", false),
    ("SQLite support", false),
];

pub(super) fn version() -> String {
    concat!("selvedge/", env!("CARGO_PKG_VERSION"), " (ssl) - the edge of a mesh, reads lighttpd.conf\n")
        .to_owned()
}

pub(super) fn features() -> String {
    let mut out = version();
    out.push_str("\nFeatures:\n\n");
    for (name, there) in FEATURES {
        out.push_str(&format!("\t{} {name}\n", if *there { '+' } else { '-' }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_there_that_lighttpds_tests_look_for() {
        let features = features();
        for line in ["+ PCRE support", "+ zlib support", "+ OpenSSL support"] {
            assert_eq!(features.matches(line).count(), 1, "{line}");
        }
    }
}
