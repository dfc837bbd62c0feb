//! FastCGI authorizers (FastCGI 1.0 §6.3): the edge asks, lets in and turns away as lighttpd does.

mod server;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use server::{Answer, LIGHTTPD, Lighttpd, edge, get};

/// Kinds of records (§8).
const BEGIN: u8 = 1;
const END: u8 = 3;
const PARAMS: u8 = 4;
const STDOUT: u8 = 6;

/// What an authorizer was told: its role and the variables.
type Asked = (u16, BTreeMap<String, String>);

/// One that decides by the path, and tells what it was asked. `None`: it says nothing and hangs up.
fn authorizer(says: fn(&str) -> Option<&'static str>) -> (u16, Receiver<Asked>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = answer(stream, says, |asked| tell.send(asked).unwrap());
        }
    });
    (port, told)
}

fn answer(
    mut stream: TcpStream,
    says: fn(&str) -> Option<&'static str>,
    tell: impl Fn(Asked),
) -> std::io::Result<()> {
    let (mut role, mut params) = (0, Vec::new());
    loop {
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        let length = usize::from(u16::from_be_bytes([head[4], head[5]]));
        let mut content = vec![0; length + usize::from(head[6])];
        stream.read_exact(&mut content)?;
        content.truncate(length);
        match head[1] {
            BEGIN => role = u16::from_be_bytes([content[0], content[1]]),
            PARAMS if length > 0 => params.extend(content),
            PARAMS => break,
            _ => {}
        }
    }
    let params = pairs(&params);
    let said = says(params.get("REQUEST_URI").map_or("", String::as_str));
    tell((role, params));
    let Some(said) = said else { return Ok(()) };
    let mut out = record(STDOUT, said.as_bytes());
    out.extend(record(STDOUT, b""));
    out.extend(record(END, &[0; 8]));
    stream.write_all(&out)
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, length[0], length[1], 0, 0], content].concat()
}

fn pairs(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    while !bytes.is_empty() {
        let mut length = || {
            let long = bytes[0] & 0x80 != 0;
            let (digits, rest) = bytes.split_at(if long { 4 } else { 1 });
            bytes = rest;
            digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)) & 0x7fff_ffff
        };
        let (name, value) = (length(), length());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        out.insert(text(&bytes[..name]), text(&bytes[name..name + value]));
        bytes = &bytes[name + value..];
    }
    out
}

fn configuration(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "server.document-root = \"{folder}\"\nserver.modules = ( \"mod_fastcgi\", \"mod_cgi\" )\nindex-file.names = ( \"a.txt\" )\n\
         cgi.assign = ( \".sh\" => \"/bin/sh\" )\n\
         fastcgi.server = ( \"/\" => (( \"host\" => \"127.0.0.1\", \"port\" => {port}, \"mode\" => \"authorizer\",\n\
         \"check-local\" => \"disable\", \"docroot\" => \"{folder}\" )) )\n"
    )
}

fn says(target: &str) -> Option<&'static str> {
    Some(match target.split(['?', '/']).nth(1)? {
        "silent" => return None,
        "closed" => "Status: 403 Forbidden\r\nContent-Type: text/plain\r\nX-Why: because\r\n\r\nno\n",
        "challenge" => "Status: 401 Unauthorized\r\nWWW-Authenticate: Own\r\n\r\n",
        "elsewhere" => "Status: 302 Found\r\nLocation: /login\r\n\r\n",
        "created" => "Status: 201 Created\r\n\r\nmade\n",
        "without" => "Content-Type: text/plain\r\n\r\nunsaid\n",
        _ => {
            "Status: 200 OK\r\nVariable-ROLE: admin\r\nVariable-AUTH-METHOD: own\r\nX-Own: 1\r\nSet-Cookie: a=b\r\n\r\nnot shown\n"
        }
    })
}

/// What of an answer counts here.
fn shown(answer: &Answer) -> (u16, String, Vec<(String, String)>) {
    let of = ["www-authenticate", "location", "x-why", "x-own", "set-cookie", "content-type"];
    let headers = answer.headers.iter().filter(|(name, _)| of.contains(&name.as_str())).cloned().collect();
    let is_ours = answer.body.starts_with("<?xml");
    (answer.code(), if is_ours { String::new() } else { answer.body.clone() }, headers)
}

#[test]
fn an_authorizer_is_asked_and_heard_as_lighttpd_does() {
    assert!(Path::new(LIGHTTPD).exists(), "Debian's lighttpd is installed");
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["a.txt", "silent", "closed", "challenge", "elsewhere", "created", "without"] {
        std::fs::write(folder.path().join(name), "the file\n").unwrap();
    }
    let script =
        "printf 'Content-Type: text/plain\\r\\n\\r\\n%s %s %s\\n' \"$ROLE\" \"$AUTH_METHOD\" \"$X_OWN\"\n";
    std::fs::write(folder.path().join("env.sh"), script).unwrap();
    let (our_port, ours_asked) = authorizer(says);
    let (their_port, theirs_asked) = authorizer(says);
    let ours = edge(&configuration(folder.path(), our_port));
    let theirs = Lighttpd::start(folder.path(), &configuration(folder.path(), their_port));
    let mut wrong = Vec::new();
    for request in [
        "GET /a.txt HTTP/1.1",
        "HEAD /a.txt HTTP/1.1",
        "GET /env.sh?x=1 HTTP/1.1",
        "POST /env.sh HTTP/1.1\r\nContent-Length: 3",
        "GET /nowhere HTTP/1.1",
        "GET /closed HTTP/1.1",
        "HEAD /closed HTTP/1.1",
        "GET /challenge HTTP/1.1",
        "GET /elsewhere HTTP/1.1",
        "GET /created HTTP/1.1",
        "GET /without HTTP/1.1",
        "GET /%63losed HTTP/1.1",
        "GET /x/../closed HTTP/1.1",
    ] {
        let body = if request.starts_with("POST") { "abc" } else { "" };
        let text = format!("{request}\r\nHost: h\r\nX-Client: says\r\nConnection: close\r\n\r\n{body}");
        let (our, their) = (get(ours, &text), get(theirs.address, &text));
        if shown(&our) != shown(&their) {
            wrong.push(format!("{request}: {:?}\n  and lighttpd {:?}", shown(&our), shown(&their)));
        }
        let (our, mut their): (Vec<Asked>, Vec<Asked>) =
            (ours_asked.try_iter().collect(), theirs_asked.try_iter().collect());
        // What each has of its own.
        for (ours, theirs) in our.iter().zip(&mut their) {
            // differences.txt: the length that counts is CONTENT_LENGTH, and an authorizer gets no body.
            theirs.1.remove("HTTP_CONTENT_LENGTH");
            for name in ["SERVER_PORT", "REMOTE_PORT", "SERVER_SOFTWARE"] {
                if let Some(value) = ours.1.get(name) {
                    theirs.1.insert(name.to_owned(), value.clone());
                }
            }
        }
        if our != their {
            wrong.push(format!("{request}: it was asked\n  {our:?}\n  and by lighttpd\n  {their:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One that cannot be asked, or says nothing, lets nobody in.
#[test]
fn an_authorizer_that_is_away_lets_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("silent"), "the file\n").unwrap();
    let (port, _asked) = authorizer(says);
    let silent = get(edge(&configuration(folder.path(), port)), "GET /silent HTTP/1.0\r\n\r\n");
    assert!(silent.code() >= 500 && !silent.body.contains("the file"), "{silent:?}");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let away = get(edge(&configuration(folder.path(), gone)), "GET /silent HTTP/1.0\r\n\r\n");
    assert_eq!((away.code(), away.body.contains("the file")), (503, false));
}
