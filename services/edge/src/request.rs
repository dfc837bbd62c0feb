//! The life of a request: guard → normalise → identify → reshape → admit → answer → dress → record.
//!
//! ```text
//! guard      what no request may be                              guard
//! normalise  the target, once                                    core/http target
//! identify   who asks: forwarding headers, then basic or digest  identify
//! reshape    rewrites (conditions are judged again), redirects   reshape
//! admit      access lists, rates                                 admit
//! answer     status page · backend by prefix · file, script,
//!            backend by suffix, directory                        answer
//! dress      headers, expiry, ranges, compression                dress
//! record     access log, counters                                record
//! ```
//! The order in which lighttpd's modules would act is fixed here, but for redirects, which have their turn where
//! `server.modules` has mod_redirect; a step that answers ends the way to the answer. A head that comes again in the same bytes may
//! begin at the answer ([`crate::way`]).

pub(crate) mod body;
mod case;
pub(crate) mod exchange;
mod guard;
mod host;
pub(crate) mod page;
mod physical;
mod reshape;
pub(crate) mod response;
pub(crate) mod send;

use std::ops::ControlFlow;
use std::rc::Rc;

pub(crate) use case::Case;
pub(crate) use exchange::{Exchange, Peer, User, used};
pub(crate) use physical::{join, to_folder};
pub(crate) use response::{Body, Response};
use selvedge_http::parse::RequestError;

use crate::ready::Ready;
use crate::site::Redirects;
use crate::stats::OfWorker;
use crate::way::Learning;
use crate::{admit, answer, dress, early, identify, record, trace, who};

/// What a step says: go on, or this is the answer.
pub(crate) type Flow = ControlFlow<Response>;

/// How often one request may be turned into another: by rewrites, error handlers and scripts.
const TURNS_MAX: u8 = 20;

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Keep,
    Close,
    /// Nothing more can be sent.
    Cut,
}

/// Serves one request whose head has been read. `refused` says why a head was not understood.
pub(crate) async fn serve(x: &mut Exchange<'_>, refused: Option<RequestError>) -> After {
    let _active = Active::begin(x.worker.counts());
    if refused.is_none()
        && let Some(ready) = ready(x)
    {
        let after = send::ready(x, &ready).await;
        if let Some(slot) = &x.slot {
            slot.end();
        }
        trace::begin(x);
        record::record(x, after);
        return after;
    }
    if let Some(slot) = &x.slot {
        slot.begin(x);
    }
    let answered = match refused {
        Some(error) => guard::refuse(x, error),
        None => Box::pin(respond(x)).await,
    };
    let mut answered = dress::finish(x, answered);
    if answered.is_file && x.site.keeps_files {
        x.worker.shelf.borrow_mut().keep(x, &mut answered);
    }
    let after = send::send(x, answered).await;
    record::record(x, after);
    if let Some(slot) = &x.slot {
        slot.end();
    }
    x.worker.give_back_fields(std::mem::take(&mut x.response_fields));
    after
}

/// A request's place in the count of those under way.
pub(crate) struct Active<'a>(&'a OfWorker);

impl<'a> Active<'a> {
    pub(crate) fn begin(counts: &'a OfWorker) -> Self {
        counts.active.add(1);
        Self(counts)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.sub(1);
    }
}

/// The answer that is ready because the same was asked for a moment ago.
fn ready(x: &Exchange<'_>) -> Option<Rc<Ready>> {
    x.worker.shelf.borrow_mut().find(&x.site, x.peer, x.head, &x.facts, x.begun)
}

/// The answer to a request, the answer of an error handler included.
async fn respond(x: &mut Exchange<'_>) -> Response {
    let mut answered = turns(x).await;
    let intercepts = x.conf.server.error_intercept;
    if let Some(Handler { target, of }) = error_handler(x, &answered) {
        let status = answered.head.status;
        x.begin_error_handler(&target, status, of);
        answered = turns(x).await;
        let own = answered.head.status;
        // A program says how it went; a file has no word of its own.
        let speaks = answered.from_backend && !x.conf.server.error_intercept;
        // In a lighttpd.conf a file that stands for 404 is sent as found; in our own form what is not found stays so.
        let stays = of == Handled::Any || !x.site.program.judges_again();
        if !speaks && (stays || matches!(own, 403 | 404)) {
            answered.head.status = status;
        }
    } else if answered.from_backend && intercepts && (400..600).contains(&answered.head.status) {
        answered = intercepted(&answered);
    }
    // Whatever follows a status of success is the tunnel to a client that wished for one on its stream (RFC 8441 §5).
    let agreed = (200..300).contains(&answered.head.status);
    if agreed && x.is_on_stream() && !matches!(answered.body, Body::Tunnel(_)) {
        answered = Response::status(405);
    }
    if answered.is_bare_error() {
        page::fill(x, &mut answered);
    }
    answered
}

/// A backend's error without what the backend says about it, but for how to sign in.
fn intercepted(answered: &Response) -> Response {
    let mut bare = Response::status(answered.head.status);
    for value in answered.head.fields.all_named("www-authenticate") {
        bare.head.fields.append(b"www-authenticate", value);
    }
    bare
}

struct Handler {
    target: String,
    of: Handled,
}

/// Which directive names a handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handled {
    /// `server.error-handler`: it is asked by GET, and a file that answers has the status that there was.
    Any,
    /// `server.error-handler-404`: it gets the request as it came, with its method and body, as a front controller does.
    Missing,
}

fn error_handler(x: &Exchange<'_>, answered: &Response) -> Option<Handler> {
    let server = &x.conf.server;
    let status = answered.head.status;
    if status < 400 || answered.from_backend && !server.error_intercept || x.in_error_handler {
        return None;
    }
    let configured = |text: &Option<selvedge_site::directive::Text>| {
        text.as_deref().filter(|text| text.starts_with('/')).map(str::to_owned)
    };
    if let Some(target) = configured(&server.error_handler) {
        return Some(Handler { target, of: Handled::Any });
    }
    let is_missing = status == 404 || status == 403 && server.error_handler_of_403;
    let target = configured(&server.error_handler_404).filter(|_| is_missing)?;
    Some(Handler { target, of: Handled::Missing })
}

async fn turns(x: &mut Exchange<'_>) -> Response {
    for _ in 0..TURNS_MAX {
        match once(x).await {
            ControlFlow::Break(response) if response.turn.is_some() => {
                if let Some(target) = response.turn {
                    x.turn_to(&target);
                }
            }
            ControlFlow::Break(response) => return response,
            ControlFlow::Continue(()) => return nobody(x),
        }
    }
    Response::status(500)
}

async fn once(x: &mut Exchange<'_>) -> Flow {
    if x.take_arrived() {
        if let Some(slot) = &x.slot {
            slot.resolved(x);
        }
    } else {
        reach_answer(x).await?;
        x.learn();
    }
    answer::by_path(x).await?;
    // What a file is depends on the disk.
    x.learning = Learning::Nothing;
    physical::find(x)?;
    answer::by_file(x).await
}

/// Brings a request to where it is answered, or ends it on its way.
async fn reach_answer(x: &mut Exchange<'_>) -> Flow {
    #[cfg(test)]
    tests::panic_if_asked(x);
    guard::check(x)?;
    x.normalise()?;
    answer::workflow::adopt(x);
    identify::forwarded(x);
    if !std::mem::take(&mut x.settled) {
        x.resolve()?;
    }
    trace::begin(x);
    guard::misdirected(x)?;
    who::strip(x);
    crate::acme::answer(x).await?;
    if x.ticket.is_none() {
        reshape::rewrite(x)?;
        // Other rules hold for another path, and other headers are ours alone by them.
        if x.turned {
            who::strip(x);
        }
    }
    dress::request_headers(x);
    reshape::to_https(x)?;
    let turn = x.site.redirects;
    if turn == Redirects::First {
        reshape::redirect(x)?;
    }
    admit::admit(x)?;
    if turn == Redirects::AfterAccess {
        reshape::redirect(x)?;
    }
    if let Some(slot) = &x.slot {
        slot.resolved(x);
    }
    identify::authenticate(x).await?;
    if turn == Redirects::AfterSignIn {
        reshape::redirect(x)?;
    }
    who::identify(x).await?;
    admit::rate_by_identity(x)?;
    early::hint(x).await;
    ControlFlow::Continue(())
}

/// The path is there and nobody answers for it.
fn nobody(x: &Exchange<'_>) -> Response {
    match x.head.method() {
        "OPTIONS" => answer::options(),
        "GET" | "HEAD" | "POST" => Response::status(403),
        "CONNECT" => Response::status(405).closing(),
        _ => Response::status(501),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::{Duration, Instant};

    use selvedge_site::lighttpd::{Alone, Level, Options as Reading, compile, parse};
    use selvedge_site::{Compat, Program};

    use super::Exchange;

    /// The query of death: only in these tests is there one that is known.
    pub(super) fn panic_if_asked(x: &Exchange<'_>) {
        assert!(x.path() != "/deadly" && x.head.path() != "/deadly", "a fault of ours, asked for by a test");
    }

    fn program(text: String) -> Program {
        let options = Reading { compat: Compat::V1_4_69, allow_shell: false };
        let Ok(document) = parse("test.conf", &mut Alone(text), options) else { panic!("it does not parse") };
        compile(&document, Compat::V1_4_69, Level::Modules).program.expect("it compiles")
    }

    /// It is moved onto the heap once for each request.
    const STATE_BYTES_MAX: usize = 3072;

    fn state_bytes<'a, F>(_: impl FnOnce(&'a mut Exchange<'a>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_state_of_a_request_is_small() {
        let bytes = state_bytes(|x| super::respond(x));
        assert!(bytes <= STATE_BYTES_MAX, "{bytes} bytes: what few requests need is boxed where it begins");
    }

    fn connect(address: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream, path: &str) -> String {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut text = String::new();
        let mut part = [0; 4096];
        while !text.ends_with("12345\n") {
            match stream.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(read) => text.push_str(&String::from_utf8_lossy(&part[..read])),
            }
        }
        text
    }

    /// Threats row 52: on one worker, by HTTP/1 and by HTTP/2, again and again.
    #[test]
    fn a_request_that_panics_harms_no_other() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "12345\n").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = program(format!(
            "server.document-root = \"{}\"\nserver.bind = \"127.0.0.1\"\nserver.port = {port}\n\
             server.modules = ( \"mod_status\" )\nstatus.status-url = \"/status\"\n\
             server.feature-flags = ( \"server.h2c\" => \"enable\" )\n",
            folder.path().display()
        ));
        std::thread::spawn(move || {
            let options = crate::Options { workers: Some(1), ..crate::Options::default() };
            crate::run(program, options).unwrap_or_else(|error| panic!("{error}"));
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let until = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "nobody listens");
        }
        let mut bystander = connect(address);
        for _ in 0..20 {
            assert!(ask(&mut bystander, "/a.txt").ends_with("12345\n"));
            // Its connection ends, and no word is said.
            assert_eq!(ask(&mut connect(address), "/deadly"), "");
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
            let driven = tokio::spawn(connection);
            let uri = |path: &str| http::Request::get(format!("http://h{path}")).body(()).unwrap();
            let (fine, _) = client.send_request(uri("/a.txt"), true).unwrap();
            assert_eq!(fine.await.unwrap().status(), 200);
            let (deadly, _) = client.send_request(uri("/deadly"), true).unwrap();
            assert!(deadly.await.is_err());
            // The connection on which it came is given up, as that of HTTP/1 is.
            let reason = driven.await.unwrap().unwrap_err().reason();
            assert_eq!(reason, Some(h2::Reason::INTERNAL_ERROR));
        });
        assert!(ask(&mut bystander, "/a.txt").ends_with("12345\n"));
        let page = {
            let mut stream = connect(address);
            write!(stream, "GET /status?prometheus HTTP/1.0\r\n\r\n").unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).unwrap();
            page
        };
        assert!(page.contains("selvedge_edge_panics_total 21\n"), "{page}");
        assert!(page.contains("selvedge_edge_requests_active 1\n"), "{page}");
    }
}
