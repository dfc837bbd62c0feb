//! What `-v` and `-V` print: the lines that programs around lighttpd look for.

/// What there is, section by section, in lighttpd's words.
const SECTIONS: &[(&str, &[(&str, bool)])] = &[
    (
        "Event Handlers",
        &[
            ("select (generic)", false),
            ("poll (Unix)", false),
            ("epoll (Linux)", true),
            ("/dev/poll (Solaris)", false),
            ("eventports (Solaris)", false),
            ("kqueue (FreeBSD)", false),
        ],
    ),
    (
        "Network handler",
        &[
            ("linux-sendfile", true),
            ("freebsd-sendfile", false),
            ("darwin-sendfile", false),
            ("solaris-sendfilev", false),
            ("writev", true),
            ("write", true),
            ("mmap support", false),
        ],
    ),
    (
        "Features",
        &[
            ("IPv6 support", true),
            ("zlib support", true),
            ("zstd support", true),
            ("bzip2 support", false),
            ("brotli support", true),
            ("crypt support", true),
            ("OpenSSL support", true),
            ("mbedTLS support", false),
            ("NSS crypto support", false),
            ("GnuTLS support", false),
            ("WolfSSL support", false),
            ("Nettle support", false),
            ("PCRE support", true),
            ("MySQL support", false),
            ("PgSQL support", false),
            ("DBI support", false),
            ("Kerberos support", false),
            ("LDAP support", false),
            ("PAM support", false),
            ("FAM support", false),
            ("LUA support", false),
            ("xml support", false),
            ("SQLite support", false),
            ("Y2038 support", true),
        ],
    ),
];

pub(super) fn version() -> String {
    concat!("selvedge/", env!("CARGO_PKG_VERSION"), " (ssl) - the edge of a mesh, reads lighttpd.conf\n")
        .to_owned()
}

pub(super) fn features() -> String {
    let mut out = version();
    for (title, lines) in SECTIONS {
        out.push_str(&format!("\n{title}:\n\n"));
        for (name, there) in *lines {
            out.push_str(&format!("\t{} {name}\n", if *there { '+' } else { '-' }));
        }
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
