//! Questions by UDP.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use selvedge_dns::answer::{ResponseCode, come_by_tcp, encode};
use selvedge_dns::rate::Verdict;
use selvedge_dns::{Question, Rate, Received, receive};
use selvedge_wire::udp::{Asker, Server};
use tokio::sync::{Semaphore, watch};

use super::{Next, Shared};

/// Bytes of a question; what is longer is cut, and so is no question.
const QUESTION_BYTES_MAX: usize = 4096;
/// Questions of one socket that wait for others' answers at a time; more are told to come again.
pub const WAITING_MAX: usize = 1_024;

/// Answers until `drain` turns true.
pub(super) async fn serve(shared: Arc<Shared>, socket: Server, mut drain: watch::Receiver<bool>) {
    let socket = Arc::new(socket);
    // Shared with the tasks of those who wait; held for one answer.
    let rate = Arc::new(Mutex::new(Rate::default()));
    let waiting = Arc::new(Semaphore::new(WAITING_MAX));
    let mut packet = vec![0; QUESTION_BYTES_MAX];
    loop {
        let received = tokio::select! {
            received = socket.receive(&mut packet) => received,
            _ = drain.wait_for(|drain| *drain) => return,
        };
        // An error is about an answer that did not arrive, or a shortage that passes.
        let Ok((length, peer)) = received else { continue };
        let question = match receive(&packet[..length]) {
            Received::Question(question) => question,
            Received::Refused(answer) => {
                send(&socket, &rate, peer, None, &answer).await;
                continue;
            }
            Received::Nothing => continue,
        };
        if !shared.may_ask(peer.address.ip()) {
            send(&socket, &rate, peer, None, &question.refusal(ResponseCode::Refused)).await;
            continue;
        }
        match shared.look_up(&question) {
            Next::Say(answer) => {
                let answer = encode(&question, &answer, question.udp_bytes());
                send(&socket, &rate, peer, Some(&question), &answer).await;
            }
            Next::Ask { so_far, name } => {
                let Ok(permit) = Arc::clone(&waiting).try_acquire_owned() else {
                    let answer = question.refusal(ResponseCode::ServFail);
                    send(&socket, &rate, peer, Some(&question), &answer).await;
                    continue;
                };
                let (shared, socket, rate) = (Arc::clone(&shared), Arc::clone(&socket), Arc::clone(&rate));
                tokio::spawn(async move {
                    let answer = shared.ask(&question, so_far, &name).await;
                    let answer = encode(&question, &answer, question.udp_bytes());
                    send(&socket, &rate, peer, Some(&question), &answer).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Sends an answer, unless the asker's network has had enough.
async fn send(socket: &Server, rate: &Mutex<Rate>, peer: Asker, question: Option<&Question>, answer: &[u8]) {
    let verdict = rate.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now(), peer.address.ip());
    // Whoever cannot be reached is not waited for.
    let _ = match (verdict, question) {
        (Verdict::Send, _) => socket.answer(answer, &peer).await,
        (Verdict::Slip, Some(question)) => socket.answer(&come_by_tcp(question), &peer).await,
        (Verdict::Slip | Verdict::Drop, _) => return,
    };
}
