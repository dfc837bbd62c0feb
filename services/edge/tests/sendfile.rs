//! Files that programs and backends name in place of an answer (`X-Sendfile`): beneath the folders that are named, and nowhere else.

mod server;

use server::{edge, get, ok, service};

#[test]
fn a_program_hands_out_files_of_its_folders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for made in ["www", "files/sub", "files-secret"] {
        std::fs::create_dir_all(root.join(made)).unwrap();
    }
    std::fs::write(root.join("files/a b.txt"), "handed out\n").unwrap();
    std::fs::write(root.join("files/sub/c.txt"), "handed out\n").unwrap();
    std::fs::write(root.join("files-secret/s.txt"), "secret\n").unwrap();
    std::fs::write(root.join("secret.txt"), "secret\n").unwrap();
    std::os::unix::fs::symlink(root.join("secret.txt"), root.join("files/link.txt")).unwrap();
    // What the query says, as it stands there.
    std::fs::write(
        root.join("www/give.sh"),
        "printf 'X-Sendfile: %s\\r\\nContent-Type: text/plain\\r\\n\\r\\nthe script' \"$QUERY_STRING\"\n",
    )
    .unwrap();
    let given = root.display().to_string();
    let (backend, _) = service(move |head| {
        let named = head.split(' ').nth(1).and_then(|target| target.split_once('?')).unwrap_or_default().1;
        ok(&format!("X-Sendfile: {named}\r\n"), "the backend")
    });
    let address = edge(&format!(
        "server.document-root = \"{given}/www\"\nserver.modules = ( \"mod_cgi\", \"mod_proxy\" )\n\
         server.follow-symlink = \"disable\"\ncgi.assign = ( \".sh\" => \"/bin/sh\" )\n\
         cgi.x-sendfile = \"enable\"\ncgi.x-sendfile-docroot = ( \"{given}/files\" )\n\
         $HTTP[\"url\"] =^ \"/back\" {{ proxy.server = ( \"\" => (( \"host\" => \"127.0.0.1\", \"port\" => {backend},\n\
         \"x-sendfile\" => \"enable\", \"x-sendfile-docroot\" => ( \"{given}/files\" ) )) ) }}\n"
    ));
    for asked in ["/give.sh", "/back"] {
        for path in ["files/a%20b.txt", "files/sub/c.txt", "files//sub/./c.txt", "files/sub/../sub/c.txt"] {
            let found = get(address, &format!("GET {asked}?{given}/{path} HTTP/1.0\r\n\r\n"));
            assert_eq!((found.code(), found.body.as_str()), (200, "handed out\n"), "{asked} {path}");
        }
        for path in [
            "secret.txt",
            "files-secret/s.txt",
            "files/../secret.txt",
            "files/%2e%2e/secret.txt",
            "files/..%2fsecret.txt",
            "files/sub/../../secret.txt",
            "files/link.txt",
            "files/../files-secret/s.txt",
            "files/nothing.txt",
            "files",
            "files/",
            "files/sub",
        ] {
            let found = get(address, &format!("GET {asked}?{given}/{path} HTTP/1.0\r\n\r\n"));
            assert!(matches!(found.code(), 403 | 404 | 502), "{asked} {path}: {}", found.status);
            assert!(!found.body.contains("secret\n"), "{asked} {path}");
        }
        for path in ["/etc/hostname", "etc/hostname", "", "/proc/self/environ", "files/a%00b.txt"] {
            let found = get(address, &format!("GET {asked}?{path} HTTP/1.0\r\n\r\n"));
            assert!(found.code() >= 400 || path.is_empty(), "{asked} {path}: {}", found.status);
        }
    }
}
