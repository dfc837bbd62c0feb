//! An application behind the mesh: answers from a script and remembers what reached it.

mod http;
mod http2;
mod tcp;

pub(crate) use http2::flat;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::http1::Headers;
use crate::place;
use crate::scenario::{self, Answer, FullAnswer, Speaks};

/// A running application. It ends when it is dropped.
#[derive(Debug)]
pub struct App {
    pub name: String,
    pub port: u16,
    script: Arc<Script>,
    server: Option<JoinHandle<()>>,
}

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub method: String,
    pub path: String,
    /// The `host` header, or `:authority`.
    pub authority: String,
    pub headers: Headers,
    pub body: String,
    pub trailers: Headers,
}

/// What to answer next, and what was asked.
#[derive(Debug)]
struct Script {
    name: String,
    usual: FullAnswer,
    // A std mutex: it is held for a push or a pop, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    answers: VecDeque<FullAnswer>,
    received: Vec<Received>,
}

// === impl App ===

impl App {
    /// Starts an application on a port that the operating system chooses.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(name: &str, spec: &scenario::App) -> Result<Self> {
        let speaks = spec.speaks;
        let usual = spec.answer.as_ref().map(Answer::full).unwrap_or_default();
        let script = Arc::new(Script { name: name.to_owned(), usual, state: Mutex::default() });
        if speaks == Speaks::Nothing {
            return Ok(Self { name: name.to_owned(), port: place::free_port()?, script, server: None });
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, place::free_port()?));
        let listener = TcpListener::bind(address).await.context("an application could not listen")?;
        let port = listener.local_addr()?.port();
        let server = tokio::spawn(serve(listener, speaks, Arc::clone(&script)));
        Ok(Self { name: name.to_owned(), port, script, server: Some(server) })
    }

    /// Forgets what it saw and takes a new script.
    pub fn rehearse(&self, answers: &[Answer]) {
        *self.script.lock() =
            State { answers: answers.iter().map(Answer::full).collect(), received: Vec::new() };
    }

    /// What reached it since [`App::rehearse`], in the order of arrival.
    pub fn received(&self) -> Vec<Received> {
        self.script.lock().received.clone()
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(server) = &self.server {
            server.abort();
        }
    }
}

async fn serve(listener: TcpListener, speaks: Speaks, script: Arc<Script>) {
    // Connections end with the server: a sidecar sees them close when the application goes.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // Without it, Nagle and delayed acknowledgements add 40 ms to short answers.
        let _ = stream.set_nodelay(true);
        let script = Arc::clone(&script);
        match speaks {
            Speaks::Http => connections.spawn(http::serve(stream, script)),
            Speaks::Http2 => connections.spawn(http2::serve(stream, script)),
            Speaks::Tcp => connections.spawn(tcp::serve(stream, script)),
            Speaks::Nothing => return,
        };
        while connections.try_join_next().is_some() {}
    }
}

// === impl Script ===

impl Script {
    /// Notes a request and returns the answer that is due.
    fn answer(&self, received: Received) -> FullAnswer {
        let mut state = self.lock();
        state.received.push(received);
        let answer = match state.answers.len() {
            0 => self.usual.clone(),
            1 => state.answers[0].clone(),
            _ => state.answers.pop_front().unwrap_or_default(),
        };
        FullAnswer { body: answer.body.or_else(|| Some(self.name.clone())), ..answer }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
