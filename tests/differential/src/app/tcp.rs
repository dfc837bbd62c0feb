//! The application's TCP: it says its name, then sends back whatever comes.

use std::sync::Arc;

use tokio::net::TcpStream;

use super::{Received, Script};
use crate::http1::Connection;

pub(super) async fn serve(stream: TcpStream, script: Arc<Script>) {
    let received = Received {
        method: "CONNECTION".into(),
        path: String::new(),
        authority: String::new(),
        headers: Vec::new(),
        body: String::new(),
        trailers: Vec::new(),
    };
    let answer = script.answer(received);
    let mut connection = Connection::new(stream);
    if answer.close {
        // Closing on unread bytes would be a reset now and an end then.
        let _ = connection.read_exactly(1).await;
        return;
    }
    let greeting = answer.raw.unwrap_or_else(|| format!("{}:", script.name));
    if connection.write(greeting.as_bytes()).await.is_err() {
        return;
    }
    while let Ok(bytes) = connection.read_exactly(1).await {
        if bytes.is_empty() || connection.write(&bytes).await.is_err() {
            return;
        }
    }
}
