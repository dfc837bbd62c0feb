//! Questions by TCP: two bytes of length before each message. (RFC 7766.)

use std::io;
use std::sync::Arc;
use std::time::Duration;

use selvedge_dns::answer::{TCP_BYTES_MAX, encode};
use selvedge_dns::{Received, receive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

use super::{Next, Shared};

/// Connections at a time; more wait in the kernel's queue.
pub const CONNECTIONS_MAX: usize = 256;
/// How long a connection may be without a question, and one may take to arrive. (RFC 7766 section 6.2.3.)
pub const IDLE_MAX: Duration = Duration::from_secs(10);
/// Questions of one connection.
pub const QUESTIONS_MAX: usize = 10_000;
/// Bytes of a question; whoever sends more is cut off.
const QUESTION_BYTES_MAX: usize = 4096;

/// Answers until `drain` turns true.
pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, mut drain: watch::Receiver<bool>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (selvedge_wire::listen::accept(&listener).await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accepted => accepted,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        let Ok((stream, peer)) = accepted else { return };
        if !shared.may_ask(peer.ip()) {
            continue;
        }
        let (shared, mut drain) = (Arc::clone(&shared), drain.clone());
        tokio::spawn(async move {
            tokio::select! {
                // Whoever breaks off wants nothing more.
                _ = converse(&shared, stream) => {}
                _ = drain.wait_for(|drain| *drain) => {}
            }
            drop(permit);
        });
    }
}

async fn converse(shared: &Shared, mut stream: TcpStream) -> io::Result<()> {
    let mut packet = vec![0; QUESTION_BYTES_MAX];
    for _ in 0..QUESTIONS_MAX {
        let arrived = tokio::time::timeout(IDLE_MAX, read(&mut stream, &mut packet)).await;
        let Some(length) = arrived.map_err(|_| io::ErrorKind::TimedOut)?? else { return Ok(()) };
        let answer = match receive(&packet[..length]) {
            Received::Nothing => return Ok(()),
            Received::Refused(answer) => answer,
            Received::Question(question) => {
                let answer = match shared.look_up(&question) {
                    Next::Say(answer) => answer,
                    Next::Ask { so_far, name } => shared.ask(&question, so_far, &name).await,
                };
                encode(&question, &answer, TCP_BYTES_MAX)
            }
        };
        let length = u16::try_from(answer.len()).map_err(|_| io::ErrorKind::InvalidData)?;
        let framed = [&length.to_be_bytes()[..], &answer].concat();
        tokio::time::timeout(IDLE_MAX, stream.write_all(&framed))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
    }
    Ok(())
}

/// The length of the next question; `None` at the end, or for one that is too long.
async fn read(stream: &mut TcpStream, packet: &mut [u8]) -> io::Result<Option<usize>> {
    let mut length = [0; 2];
    if let Err(error) = stream.read_exact(&mut length).await {
        return if error.kind() == io::ErrorKind::UnexpectedEof { Ok(None) } else { Err(error) };
    }
    let length = usize::from(u16::from_be_bytes(length));
    let Some(packet) = packet.get_mut(..length) else { return Ok(None) };
    stream.read_exact(packet).await?;
    Ok(Some(length))
}
