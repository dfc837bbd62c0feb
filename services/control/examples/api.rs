//! The API on a socket, over an empty store in memory or over SQLite: for trying clients on it.
//!
//! ```text
//! cargo run -p selvedge-control --example api -- [--strict] [DATA-DIR]
//! ```
//! Prints the address as its only line, and serves until SIGTERM.

use std::sync::Arc;
use std::time::Duration;

use selvedge_control::api::{Api, Hosts, Readiness, System};
use selvedge_control::certificates::{Certificates, LIFE_DEFAULT};
use selvedge_control::operations::Settings;
use selvedge_control::server::Server;
use selvedge_model::Strictness;
use selvedge_store::memory::Memory;
use selvedge_store::sqlite::Sqlite;
use selvedge_store::{SECRETS_KEY_BYTES, Store, Vault};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut settings = Settings::default();
    let mut store: Arc<dyn Store> = Arc::new(Memory::new());
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--strict" => settings.strictness = Strictness::Strict,
            folder => store = Arc::new(Sqlite::open(std::path::Path::new(folder))?),
        }
    }
    let certificates = Certificates::new(
        Arc::clone(&store),
        settings.clone(),
        Arc::new(System),
        Vault::new(&[0; SECRETS_KEY_BYTES])?,
        LIFE_DEFAULT,
    );
    let api = Api::new(store, settings, Arc::new(System), Readiness::default(), Hosts::default())
        .with_service(certificates.acm());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    #[expect(clippy::print_stdout, reason = "the address is this example's output")]
    {
        println!("http://{}", listener.local_addr()?);
    }
    let (drain, is_draining) = tokio::sync::watch::channel(false);
    let server = Server::new(Arc::new(api), None).run(listener, is_draining, Duration::from_secs(5));
    let mut terminate = signal(SignalKind::terminate())?;
    let ended = async {
        terminate.recv().await;
        drain.send_replace(true);
    };
    tokio::join!(server, ended);
    Ok(())
}
