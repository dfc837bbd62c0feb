//! `odd.txt`: configurations that make use of what few know, and what is asked of each.

use std::fs;

/// A configuration and what is asked of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) conf: String,
    pub(crate) requests: Vec<String>,
}

/// Prints what a script is told, but for what is another each time.
const TOLD: &str = "printf 'Content-Type: text/plain\\r\\n\\r\\n'; env | grep -v -e '^REMOTE_PORT=' -e '^SERVER_PORT=' -e '^PWD=' -e '^OLDPWD=' -e '^_=' -e '^SHLVL=' -e '^LD_LIBRARY_PATH=' -e '^HTTP_CONTENT_LENGTH=' | sort; cat\n";

/// What the configurations serve.
const FILES: &[(&str, &str)] = &[
    ("www/index.html", "<p>index</p>\n"),
    ("www/a.txt", "12345\n"),
    ("www/dir/c.txt", "c\n"),
    ("www/sp ace.txt", "space\n"),
    ("www/ü.txt", "u\n"),
    ("www/a%b.txt", "percent\n"),
    ("www/a+b.txt", "plus\n"),
    ("www/list/HEADER.txt", "header <b>\n"),
    ("www/list/README.txt", "readme <b>\n"),
    ("www/list/x.txt", "x"),
    ("www/list/y.tmp", "y"),
    ("www/list/Z.txt", "z"),
    ("www/list/sub/q", "q"),
    ("www/list/.dot", "d"),
    ("www/list/a&<b>.txt", "q"),
    ("www/list/b~", "q"),
    ("www/up/index.php", "<?php"),
    ("www/n.json", "{}"),
    ("www/env.sh", TOLD),
    ("www/exec", "#!/bin/sh\n"),
    ("www/loc.sh", "printf 'Location: /a.txt?x=1\\r\\n\\r\\n'\n"),
    ("www/locabs.sh", "printf 'Location: http://other/x\\r\\n\\r\\n'\n"),
    ("www/loccgi.sh", "printf 'Location: /env.sh?from=loc\\r\\n\\r\\n'\n"),
    ("www/locst.sh", "printf 'Status: 302 Found\\r\\nLocation: /a.txt\\r\\n\\r\\nbody'\n"),
    ("www/locself.sh", "printf 'Location: /locself.sh\\r\\n\\r\\n'\n"),
    ("www/nph.sh", "printf 'HTTP/1.1 203 Own\\r\\nX-A: 1\\r\\n\\r\\nnph'\n"),
    ("www/st.sh", "printf 'Status: 404\\r\\nContent-Type: text/plain\\r\\n\\r\\nown 404'\n"),
    (
        "www/dup.sh",
        "printf 'X-A: 1\\nX-A: 2\\nSet-Cookie: a=1\\nSet-Cookie: b=2\\nContent-Type: text/plain\\n\\nx'\n",
    ),
    ("www/cl.sh", "printf 'Content-Length: 3\\nContent-Type: text/plain\\n\\nabcdef'\n"),
    ("www/lf.sh", "printf 'X-A: 1\\n\\nx'\n"),
    ("www/date.sh", "printf 'Server: own\\nContent-Type: text/plain\\n\\nx'\n"),
    ("www/nohead.sh", "exit 3\n"),
    ("www/304.sh", "printf 'Status: 304 Not Modified\\nETag: \"x\"\\n\\n'\n"),
    ("www/204.sh", "printf 'Status: 204 No Content\\n\\n'\n"),
    ("www/range.sh", "printf 'Content-Type: text/plain\\nAccept-Ranges: bytes\\n\\n0123456789'\n"),
    ("www/xs.sh", "printf 'X-Sendfile: ROOT/other/b.txt\\r\\nContent-Type: text/x-own\\r\\n\\r\\nignored'\n"),
    ("www/xs2.sh", "printf 'X-Sendfile: /etc/hostname\\r\\n\\r\\n'\n"),
    ("other/b.txt", "b\n"),
    ("other/index.html", "other\n"),
    ("foo/in.txt", "in\n"),
    ("foosecret/s.txt", "secret\n"),
    ("hosts/e/example/f.txt", "e/example\n"),
    ("hosts/two/example/f.txt", "two/example\n"),
    ("homes/jan/pub/h.txt", "home\n"),
    ("homes/jan/pub/index.html", "home\n"),
    ("homes/j/jan/pub/h.txt", "letter home\n"),
    ("homes/eva/pub/h.txt", "eva\n"),
    ("errors/404.html", "<p>gone</p>\n"),
    ("errors/403.html", "<p>refused</p>\n"),
    ("users", "jan:jan\nanna:anna\n"),
];

/// Document roots of hosts.
const HOSTS: [&str; 8] =
    ["one", "two.example.org", "example.org", "two", "example", "org", "t", "www.two.example.org"];

pub(crate) fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap().to_owned();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("ROOT", &root)).unwrap();
    };
    for (path, text) in FILES {
        write(path, text);
    }
    for host in HOSTS {
        write(&format!("hosts/{host}/f.txt"), &format!("{host}\n"));
        write(&format!("hosts/{host}/htdocs/f.txt"), &format!("{host} htdocs\n"));
    }
    write("www/exec", &format!("#!/bin/sh\n{TOLD}"));
    write("www/big.txt", &"line of text\n".repeat(3000));
    write("www/pre.css", &"p{}\n".repeat(100));
    write("www/pre.css.gz", "x");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.path().join("www/exec"), executable).unwrap();
    std::os::unix::fs::symlink(folder.path().join("www/a.txt"), folder.path().join("www/link.txt")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("other"), folder.path().join("www/dlink")).unwrap();
    folder
}

/// The sections of `odd.txt`.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("odd.txt").lines().filter(|line| !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix("== ") {
            cases.push(Case { name: name.to_owned(), conf: String::new(), requests: Vec::new() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        match line.strip_prefix("-- ") {
            Some(request) => case.requests.push(spelled(request)),
            None => {
                case.conf.push_str(line);
                case.conf.push('\n');
            }
        }
    }
    cases
}

/// `POST /path | X-Y: z << body` as it is sent.
fn spelled(short: &str) -> String {
    let (head, body) = short.split_once(" << ").unwrap_or((short, ""));
    let mut parts = head.split(" | ");
    let target = parts.next().unwrap_or_default();
    let (method, target) = match target.split_once(" /") {
        Some((method, path)) if method.bytes().all(|byte| byte.is_ascii_uppercase()) => {
            (method, format!("/{path}"))
        }
        _ => ("GET", target.to_owned()),
    };
    let fields: Vec<&str> = parts.collect();
    let is_old = fields.contains(&"HTTP/1.0");
    let has_host = fields.iter().any(|field| field.starts_with("Host:"));
    let mut request = format!("{method} {target} HTTP/1.{}\r\n", u8::from(!is_old));
    if !is_old && !has_host {
        request.push_str("Host: h\r\n");
    }
    request.push_str("Connection: close\r\n");
    for field in fields.iter().filter(|field| **field != "HTTP/1.0") {
        request.push_str(field);
        request.push_str("\r\n");
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", if body == "LONG" { 5000 } else { body.len() }));
    }
    request + "\r\n" + body
}
