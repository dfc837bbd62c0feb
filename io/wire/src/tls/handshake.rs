//! Handshakes: rustls decides, we read and write.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::UnixTime;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use rustls::{Error, ExtractedSecrets, SignatureScheme};
use selvedge_identity::Verifier;
use tokio::io::AsyncWrite;

use super::facts::{Facts, Tls};
use super::failure::Failure;
use super::hello::{self, HELLO_BYTES_MAX, Hello, Inspected};
use super::record::Cipher;
use super::session::{Kernel, Session};
use super::verify::take_scheme;
use super::{ClientContext, ServerContext};
use crate::io::Io;

/// A handshake is over within this, unless a listener sets another time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes that a peer may send in a handshake.
const HANDSHAKE_BYTES_MAX: u64 = 256 * 1024;

/// Content type and codes of alerts (RFC 8446 §5.1 and §6).
const ALERT: u8 = 21;
const HANDSHAKE_FAILURE: u8 = 40;
const CERTIFICATE_REQUIRED: u8 = 116;

/// Answers a client; `io` is encrypted afterwards.
///
/// # Errors
/// See [`Failure`]; the client has been told by an alert where there is one for it.
pub async fn accept(io: &mut Io, context: &ServerContext) -> Result<(), Failure> {
    let hello = match hello::read(io).await? {
        None => return Err(Failure::Closed),
        Some(Inspected::Tls(hello)) => hello,
        Some(_) if io.unread().len() > HELLO_BYTES_MAX => {
            return Err(Failure::Tls(Error::General("the client's first message is too long".into())));
        }
        // rustls knows the right alert for whatever else calls itself TLS.
        Some(Inspected::Plain | Inspected::Undecided) if io.unread().first() == Some(&22) => Hello::default(),
        Some(_) => return Err(if is_http(io.unread()) { Failure::PlainHttp } else { Failure::NotTls }),
    };
    if context.require_sni && hello.server_name.is_none() {
        return Err(Failure::NoServerName);
    }
    let mut connection = context.connection(&hello)?;
    let driven = drive(io, &mut connection).await?;
    let mut facts =
        Facts::of(&connection, Some(context.material.certificate.clone()), context.edition, driven.scheme);
    facts.server_name = hello.server_name;
    settle(&mut facts, context.verifier.as_deref())?;
    let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
    take_over(io, facts, secrets, Kernel::Server(Box::new(kernel)), &driven.early)
}

/// Calls a host; `io` is encrypted afterwards.
///
/// # Errors
/// See [`Failure`].
pub async fn connect(io: &mut Io, context: &ClientContext, host: IpAddr) -> Result<(), Failure> {
    let mut connection = context.connection(host)?;
    let driven = drive(io, &mut connection).await?;
    let local = context.material.as_ref().map(|material| material.certificate.clone());
    let mut facts = Facts::of(&connection, local, context.edition, driven.scheme);
    settle(&mut facts, Some(&context.verifier))?;
    let (secrets, kernel) = connection.dangerous_into_kernel_connection()?;
    take_over(io, facts, secrets, Kernel::Client(Box::new(kernel)), &driven.early)
}

/// Whether bytes look like a request of HTTP without TLS.
fn is_http(bytes: &[u8]) -> bool {
    [&b"GET "[..], b"POST", b"HEAD", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI "]
        .iter()
        .any(|method| bytes.starts_with(method))
}

/// Judges the peer of a session that was taken up: it was believed once, which may be long ago.
fn settle(facts: &mut Facts, verifier: Option<&Verifier>) -> Result<(), Failure> {
    let (Some(verifier), Some(peer)) = (verifier, &facts.peer) else { return Ok(()) };
    facts.verified = verifier.is_asking();
    if facts.resumed {
        verifier.verify_resumed(peer, UnixTime::now()).map_err(Failure::Resumed)?;
    }
    Ok(())
}

fn take_over(
    io: &mut Io,
    facts: Facts,
    secrets: ExtractedSecrets,
    kernel: Kernel,
    early: &[u8],
) -> Result<(), Failure> {
    let version: Tls = facts.version;
    let unknown = || Failure::Tls(Error::General("a cipher that was not offered".into()));
    let rx = Cipher::new(version, secrets.rx).ok_or_else(unknown)?;
    let tx = Cipher::new(version, secrets.tx).ok_or_else(unknown)?;
    let rest = io.unread();
    let session = Session::new(facts, (rx, tx), kernel, early, rest, io.buffers());
    io.begin_tls(session);
    Ok(())
}

/// What a handshake wants next.
enum Turn {
    Again,
    Write,
    Read,
    Done,
}

/// A side's connection, one turn at a time.
trait Handshake {
    /// Works on the bytes at hand: what to do next, and how many of them are used up. What is to be written goes to
    /// `output`, content that came early to `early`.
    fn turn(
        &mut self,
        input: &mut [u8],
        output: &mut Vec<u8>,
        early: &mut Vec<u8>,
    ) -> (usize, Result<Turn, Error>);
}

macro_rules! handshake {
    ($($connection:ty),*) => {$(
        impl Handshake for $connection {
            fn turn(
                &mut self,
                input: &mut [u8],
                output: &mut Vec<u8>,
                early: &mut Vec<u8>,
            ) -> (usize, Result<Turn, Error>) {
                let UnbufferedStatus { mut discard, state } = self.process_tls_records(input);
                let state = match state {
                    Ok(state) => state,
                    Err(error) => return (discard, Err(error)),
                };
                let turn = match state {
                    ConnectionState::EncodeTlsData(mut data) => {
                        let begin = output.len();
                        output.resize(begin + 1024, 0);
                        loop {
                            match data.encode(&mut output[begin..]) {
                                Ok(written) => {
                                    output.truncate(begin + written);
                                    break Ok(Turn::Again);
                                }
                                Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) => {
                                    output.resize(begin + required_size, 0);
                                }
                                Err(EncodeError::AlreadyEncoded) => break Ok(Turn::Again),
                            }
                        }
                    }
                    ConnectionState::TransmitTlsData(data) => {
                        data.done();
                        Ok(Turn::Write)
                    }
                    ConnectionState::BlockedHandshake => Ok(Turn::Read),
                    ConnectionState::WriteTraffic(_) => Ok(Turn::Done),
                    ConnectionState::ReadTraffic(mut traffic) => {
                        let mut failed = None;
                        while let Some(record) = traffic.next_record() {
                            match record {
                                Ok(record) => {
                                    discard += record.discard;
                                    early.extend_from_slice(record.payload);
                                }
                                Err(error) => failed = Some(error),
                            }
                        }
                        failed.map_or(Ok(Turn::Again), Err)
                    }
                    // The peer has said goodbye; what it said before is still content, and the end shows when it is read.
                    ConnectionState::PeerClosed => Ok(Turn::Again),
                    ConnectionState::Closed => Ok(Turn::Done),
                    _ => Err(Error::General("early data was not offered".into())),
                };
                (discard, turn)
            }
        }
    )*};
}

handshake!(UnbufferedServerConnection, UnbufferedClientConnection);

/// What comes out of a handshake besides the connection.
struct Driven {
    /// Content that came with its last flight.
    early: Vec<u8>,
    /// What the peer signed with.
    scheme: Option<SignatureScheme>,
}

/// Goes through a handshake.
async fn drive(io: &mut Io, connection: &mut impl Handshake) -> Result<Driven, Failure> {
    let (mut output, mut early) = (Vec::new(), Vec::new());
    let mut scheme = None;
    loop {
        let (discard, turn) = connection.turn(io.unread_mut(), &mut output, &mut early);
        io.consume(discard);
        scheme = take_scheme().or(scheme);
        match turn {
            Ok(Turn::Again) => {}
            Ok(Turn::Write) => write(io, &mut output).await?,
            Ok(Turn::Done) => {
                write(io, &mut output).await?;
                return Ok(Driven { early, scheme });
            }
            Ok(Turn::Read) => {
                write(io, &mut output).await?;
                if io.bytes_read > HANDSHAKE_BYTES_MAX {
                    return Err(Failure::Tls(Error::General("the peer's handshake is too long".into())));
                }
                if poll_fn(|cx| io.poll_fill(cx)).await? == 0 {
                    return Err(Failure::Closed);
                }
            }
            Err(error) => {
                // The alert that tells the peer why is next in the queue. One turn and no more: with another, what was
                // wrong would be looked at again.
                let _ = connection.turn(io.unread_mut(), &mut output, &mut early);
                // rustls tells a client of 1.2, too, that a certificate is required; that version knows no such alert
                // (RFC 5246 §7.4.6 has handshake_failure).
                if let Some([ALERT, 3, _, 0, 2, 2, code @ CERTIFICATE_REQUIRED]) =
                    output.last_chunk_mut::<7>()
                {
                    *code = HANDSHAKE_FAILURE;
                }
                let _ = write(io, &mut output).await;
                return Err(Failure::Tls(error));
            }
        }
    }
}

async fn write(io: &mut Io, output: &mut Vec<u8>) -> io::Result<()> {
    let mut sent = 0;
    while sent < output.len() {
        let written = poll_fn(|cx| Pin::new(io.stream()).poll_write(cx, &output[sent..])).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        sent += written;
    }
    output.clear();
    Ok(())
}
