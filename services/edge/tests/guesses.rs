//! Passwords that are guessed. Alone in its process, whose threads it counts.

mod server;

use server::{edge, get};

/// Whoever guesses passwords whose hashes are slow has a few threads busy, and everybody else is served.
#[test]
fn guessed_passwords_are_checked_a_few_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    // bcrypt, 2^7 rounds.
    let hash = "$2b$07$LLq3gr.czFUu9LVjo9G6s.KviWR/76mRbghntPhFpdQuH.6WxLDx6";
    std::fs::write(folder.path().join("users"), format!("ann:{hash}\n")).unwrap();
    std::fs::write(folder.path().join("a.txt"), "12345\n").unwrap();
    let address = edge(&format!(
        "server.document-root = \"{0}\"\nserver.modules = ( \"mod_auth\", \"mod_authn_file\" )\n\
         auth.backend = \"htpasswd\"\nauth.backend.htpasswd.userfile = \"{0}/users\"\n\
         auth.require = ( \"/own\" => ( \"method\" => \"basic\", \"realm\" => \"r\", \"require\" => \"valid-user\" ) )\n",
        folder.path().display()
    ));
    // Threads that have work, of which the test has one and the worker another.
    let busy = || {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
        stats.filter(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" R"))).count()
    };
    let guess = || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        // ann:wrong
        let request = "GET /own HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YW5uOndyb25n\r\n\r\n";
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        stream
    };
    let guessing: Vec<_> = (0..24).map(|_| guess()).collect();
    let mut most = 0;
    for mut stream in guessing {
        // Asked for behind all guesses.
        assert_eq!(get(address, "GET /a.txt HTTP/1.0\r\n\r\n").code(), 200);
        most = most.max(busy());
        let mut answer = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut answer).unwrap();
        assert_eq!(server::answer(&answer).code(), 401);
    }
    let right = "GET /own HTTP/1.0\r\nAuthorization: Basic YW5uOnJpZ2h0\r\n\r\n";
    assert_eq!(get(address, right).code(), 404, "ann:right is let in");
    // Four, the test, the worker, and whoever has just finished.
    assert!(most <= 8, "{most} threads are busy");
}
