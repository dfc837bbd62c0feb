//! The client's TLS: a request of curl's, which shows what it was told as others would.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context, Result};
use tokio::process::Command;

use super::{Answered, Request, http};
use crate::http1::Connection;
use crate::scenario::ClientTls;

/// One request on a connection of its own; a handshake that fails is an ending.
pub(super) async fn exchange(target: SocketAddr, request: &Request, tls: &ClientTls) -> Result<Answered> {
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--include", "--insecure", "--http1.1", "--max-time", "20", "--request"])
        .arg(&request.method)
        .args(["--resolve", &format!("{}:{}:{}", tls.sni, target.port(), target.ip())])
        .args(["--header", &format!("host: {}", request.authority)])
        .args(["--header", "user-agent: client", "--header", "accept:"])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    if let Some(version) = &tls.version {
        command.args(["--tls-max", version]).arg(format!("--tlsv{version}"));
    }
    if let Some(ciphers) = &tls.ciphers {
        command.args(["--ciphers", ciphers]);
    }
    if let Some(curves) = &tls.curves {
        command.args(["--curves", curves]);
    }
    if let Some(certificate) = &tls.certificate {
        command.args(["--cert", &format!("{certificate}.pem"), "--key", &format!("{certificate}.key")]);
    }
    for (name, value) in &request.headers {
        command.args(["--header", &format!("{name}: {value}")]);
    }
    if !request.body.is_empty() {
        command.args(["--data-binary", &String::from_utf8_lossy(&request.body)]);
    }
    command.arg(format!("https://{}:{}{}", tls.sni, target.port(), request.path));
    let output = command.output().await.context("curl is not installed")?;
    if !output.status.success() {
        return Ok(Answered { ending: "no answer by TLS".into(), ..Answered::default() });
    }
    let (mut far, near) = tokio::io::duplex(output.stdout.len().max(1));
    tokio::io::AsyncWriteExt::write_all(&mut far, &output.stdout).await?;
    drop(far);
    let mut connection = Connection::new(near);
    let head = connection.read_head().await?.context("curl shows no answer")?;
    http::answered(&mut connection, head, &request.method).await
}
