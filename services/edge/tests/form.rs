//! What strangers do to an edge that is configured in our own form.

mod server;

use server::{edge_in_form, field, get, ok, service};

/// Threats row 43: the first route that fits decides, so what follows a file's name makes no second name of it.
#[test]
fn a_file_has_one_path() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("page.txt"), "page\n").unwrap();
    std::fs::write(folder.path().join("notes.txt"), "notes\n").unwrap();
    let address = edge_in_form(&format!(
        "[[site]]\n[[site.route]]\npath = \"/notes.txt\"\nrespond = \"no\"\nstatus = 403\n\
         [[site.route]]\npath = \"/*\"\nfiles = \"{}\"\n",
        folder.path().display()
    ));
    assert_eq!(get(address, "GET /page.txt HTTP/1.0\r\n\r\n").code(), 200);
    for path in
        ["/notes.txt", "/notes.txt/", "/notes.txt/x", "/notes.txt/%2e", "//notes.txt", "/%6eotes.txt/x"]
    {
        let found = get(address, &format!("GET {path} HTTP/1.0\r\n\r\n"));
        assert!(matches!(found.code(), 403 | 404), "{path}: {}", found.status);
        assert!(!found.body.contains("notes\n"), "{path}");
    }
}

/// Threats row 40: nobody is believed unless he is named.
#[test]
fn nobody_says_whence_a_request_comes_unless_trusted() {
    let (backend, asked) = service(|_| ok("", ""));
    let route = format!("[[site]]\n[[site.route]]\nproxy = [\"127.0.0.1:{backend}\"]\n");
    let lies = "GET / HTTP/1.0\r\nHost: h\r\nX-Forwarded-For: 9.9.9.9\r\nForwarded: for=9.9.9.9\r\nX-Real-IP: 9.9.9.9\r\n\
                X-Forwarded-Proto: https\r\nX-Forwarded-Port: 999\r\nX-Forwarded-Host: 9.9.9.9\r\nX-Kept: 1\r\n\r\n";
    assert_eq!(get(edge_in_form(&route), lies).code(), 200);
    let head = asked.recv().unwrap();
    assert!(!head.contains("9.9.9.9") && !head.contains("999"), "{head}");
    assert_eq!(field(&head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(field(&head, "x-forwarded-proto"), Some("http"));
    assert_eq!(field(&head, "x-kept"), Some("1"));
    let trusting = format!("[trust]\nforwarded_from = [\"127.0.0.1\"]\n{route}");
    assert_eq!(get(edge_in_form(&trusting), lies).code(), 200);
    let head = asked.recv().unwrap();
    assert_eq!(field(&head, "x-forwarded-for"), Some("9.9.9.9, 127.0.0.1"));
    assert_eq!(field(&head, "x-real-ip"), Some("9.9.9.9"));
}
