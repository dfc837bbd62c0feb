//! CGI: a program for each request (RFC 3875).

use std::ops::ControlFlow;
use std::process::Stdio;

use selvedge_wire::buffer::Buffers;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::backend::{self, Held, Pipe, Powers, Reader, Wrap};
use super::environment;
use super::programs::Script;
use crate::request::body::{self, Gathered};
use crate::request::{Exchange, Flow, Response};

/// Variables of our own environment that scripts see.
const PASSED_ON: [&str; 2] = ["LD_PRELOAD", "LD_LIBRARY_PATH"];

/// Runs the script that the path leads to, if it is one.
pub(crate) async fn run(x: &mut Exchange<'_>) -> Flow {
    let conf = x.conf.clone();
    let path = &x.physical.path;
    let Some((_, interpreter)) = conf.cgi.assign.iter().find(|(suffix, _)| path.ends_with(&**suffix)) else {
        return ControlFlow::Continue(());
    };
    let Some(facts) = &x.physical.facts else { return ControlFlow::Continue(()) };
    if !facts.is_file() {
        return ControlFlow::Continue(());
    }
    if conf.cgi.execute_x_only && std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o111 == 0 {
        return ControlFlow::Continue(());
    }
    if let Err(response) = body::gather(x).await {
        return ControlFlow::Break(response);
    }
    let variables = environment::of(x, environment::Options::default());
    let input = x.gathered.take().unwrap_or(Gathered::Memory(Vec::new()));
    let patience = conf.cgi.limits.read_timeout;
    let (path, buffers) = (&x.physical.path, &x.worker.buffers);
    let reader = match start(buffers, interpreter, path, &variables, input, patience) {
        Ok(reader) => reader,
        Err(error) => {
            tracing::error!(%error, path = x.physical.path, "a script cannot be started");
            return ControlFlow::Break(Response::status(500));
        }
    };
    let powers = Powers {
        x_sendfile: conf.cgi.x_sendfile.then_some(&*conf.cgi.x_sendfile_docroot),
        local_redir: conf.cgi.local_redir,
        silent: 500,
    };
    ControlFlow::Break(backend::gateway_response(x, reader, powers).await)
}

fn start(
    buffers: &Buffers,
    interpreter: &str,
    path: &str,
    variables: &[(String, Vec<u8>)],
    input: Gathered,
    patience: u32,
) -> std::io::Result<Box<Reader>> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;
    let mut command = match interpreter {
        "" => Command::new(path),
        interpreter => {
            let mut command = Command::new(interpreter);
            command.arg(path);
            command
        }
    };
    command.env_clear();
    for name in PASSED_ON {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    for (name, value) in variables {
        command.env(name, OsStr::from_bytes(value));
    }
    if let Some((folder, _)) = path.rsplit_once('/') {
        command.current_dir(if folder.is_empty() { "/" } else { folder });
    }
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut rest = Vec::new();
    match input {
        Gathered::Memory(bytes) if bytes.is_empty() => {
            command.stdin(Stdio::null());
        }
        Gathered::Memory(bytes) => {
            rest = bytes;
            command.stdin(Stdio::piped());
        }
        Gathered::File { file, .. } => {
            command.stdin(Stdio::from(file));
        }
    }
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    if let Some(mut stdin) = child.stdin.take() {
        // Ends when it is written or the script no longer reads.
        tokio::task::spawn_local(async move {
            let _ = stdin.write_all(&rest).await;
        });
    }
    let held = Held { _script: Some(Script::new(child)), ..Held::default() };
    Ok(Reader::new(buffers, Pipe::Script(stdout), Wrap::None, patience, held))
}
