//! Who answers in the server's place: `fastcgi.server`, `scgi.server`, `proxy.server`, `wstunnel.server`, which share
//! their keys.

use std::sync::Arc;

use super::reading::{
    Reading, boolean, int, key_lists, keyed, named_texts, number, optional_text, short, text, texts,
};
use super::{Named, Text, Texts};
use crate::diagnostic::did_you_mean;
use crate::value::{List, Value};

/// Backends by what paths they answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backend {
    /// In the order of the configuration, the first that fits counts.
    pub extensions: Arc<[BackendExtension]>,
}

/// The backends of a suffix (`.php`), a prefix (`/api`) or of everything (`""`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendExtension {
    /// The suffix, or the prefix when it begins with `/`.
    pub key: Text,
    /// Who answers; one of them is chosen.
    pub hosts: Arc<[Host]>,
}

/// The number of a backend within a program: state belongs to it, however many blocks lead there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BackendId(pub u32);

/// One backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its number.
    pub id: BackendId,
    /// Its name; blank when it has none.
    pub label: Text,
    /// A name or an address; `None` when it is a socket in the file system or started here.
    pub host: Option<Text>,
    /// The port.
    pub port: u16,
    /// A socket in the file system. With `bin_path`, `-N` is appended for each process.
    pub socket: Option<Text>,
    /// Connections that the kernel holds for a process that is started here.
    pub listen_backlog: u32,
    /// The program to start, with its arguments.
    pub bin_path: Option<Text>,
    /// The signal that ends it.
    pub kill_signal: u16,
    /// Whether the path has to be a file.
    pub check_local: bool,
    /// What it does.
    pub mode: HostMode,
    /// The document root as the backend sees it.
    pub docroot: Option<Text>,
    /// Processes at least.
    pub min_procs: u16,
    /// Processes at most.
    pub max_procs: u16,
    /// Requests of a process at a time.
    pub max_load_per_proc: u16,
    /// Seconds after which a process that has nothing to do ends.
    pub idle_timeout: u16,
    /// Seconds for which a backend that failed is spared.
    pub disable_time: u16,
    /// Variables of a process that is started here.
    pub bin_environment: Named<Text>,
    /// Variables that it takes over from ours; `None`: all.
    pub bin_copy_environment: Option<Texts>,
    /// Whether `SCRIPT_FILENAME` is built as PHP's older versions want it.
    pub broken_scriptfilename: bool,
    /// What is cut from the front of `REQUEST_URI`, without a slash at the end.
    pub strip_request_uri: Option<Text>,
    /// Whether `/` as the script's name becomes blank.
    pub fix_root_scriptname: bool,
    /// Whether an answer may name a file to be sent.
    pub x_sendfile: bool,
    /// Below which directories, each ending with a slash.
    pub x_sendfile_docroot: Texts,
    /// Whether the end of a client's bytes is passed on.
    pub tcp_fin_propagate: bool,
    /// Seconds for connecting.
    pub connect_timeout: u32,
    /// Seconds without a byte taken; 0 has no bound.
    pub write_timeout: u32,
    /// Seconds without a byte given; 0 has no bound.
    pub read_timeout: u32,
    /// Whether it may upgrade the connection.
    pub upgrade: bool,
}

/// What a backend does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostMode {
    /// It answers.
    Responder,
    /// It says whether the request may be answered.
    Authorizer,
}

/// How one of several backends is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// `fair`, `least-connection`: the one with the fewest requests.
    LeastConnection,
    /// One after the other.
    RoundRobin,
    /// By the URL.
    Hash,
    /// By the client's address.
    Sticky,
}

/// `cgi.limits`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgiLimits {
    /// Seconds without a byte read from the script; 0 has no bound.
    pub read_timeout: u32,
    /// Seconds without a byte taken by it; 0 has no bound.
    pub write_timeout: u32,
    /// The signal that it gets when the client leaves: a number or a name without `SIG`.
    pub tcp_fin_propagate: Option<Text>,
}

pub(super) fn fastcgi(value: &Value, reading: &mut Reading<'_>) -> Result<Backend, String> {
    read(value, reading, true)
}

pub(super) fn scgi(value: &Value, reading: &mut Reading<'_>) -> Result<Backend, String> {
    let backend = read(value, reading, true)?;
    no_authorizer(backend, "scgi.server")
}

pub(super) fn proxy(value: &Value, reading: &mut Reading<'_>) -> Result<Backend, String> {
    let backend = read(value, reading, false)?;
    no_authorizer(backend, "proxy.server")
}

pub(super) fn wstunnel(value: &Value, reading: &mut Reading<'_>) -> Result<Backend, String> {
    let backend = read(value, reading, false)?;
    no_authorizer(backend, "wstunnel.server")
}

fn no_authorizer(backend: Backend, key: &str) -> Result<Backend, String> {
    let mut hosts = backend.extensions.iter().flat_map(|extension| &*extension.hosts);
    if hosts.any(|host| host.mode == HostMode::Authorizer) {
        return Err(format!("{key} must not define any hosts with attribute \"mode\" = \"authorizer\""));
    }
    Ok(backend)
}

fn read(value: &Value, reading: &mut Reading<'_>, check_local: bool) -> Result<Backend, String> {
    let mut extensions = Vec::new();
    for (key, list) in key_lists(value, reading)? {
        let mut hosts = Vec::with_capacity(list.len());
        for (label, host) in list.iter() {
            let label = label.cloned().unwrap_or_default();
            let Some(fields) = host.as_list().filter(|fields| fields.is_keyed()) else {
                return Err(format!(
                    "unexpected value for gw.server near [{label}](string); expected ( \"ext\" => ( \"backend-label\" => ( \"key\" => \"value\" )))"
                ));
            };
            let mut host = read_host(fields, label.clone(), reading)?;
            host.check_local &= check_local;
            place(&mut host, &format!("{} = ({key} => ({label} ( ...", reading.key))?;
            hosts.push(host);
        }
        extensions.push(BackendExtension { key: key.clone(), hosts: hosts.into() });
    }
    Ok(Backend { extensions: extensions.into() })
}

/// Keys of a backend.
const KEYS: &[&str] = &[
    "host",
    "port",
    "socket",
    "listen-backlog",
    "bin-path",
    "kill-signal",
    "check-local",
    "mode",
    "docroot",
    "min-procs",
    "max-procs",
    "max-load-per-proc",
    "idle-timeout",
    "disable-time",
    "bin-environment",
    "bin-copy-environment",
    "broken-scriptfilename",
    "strip-request-uri",
    "fix-root-scriptname",
    "allow-x-send-file",
    "x-sendfile",
    "x-sendfile-docroot",
    "tcp-fin-propagate",
    "connect-timeout",
    "write-timeout",
    "read-timeout",
    "upgrade",
];

fn read_host(fields: &List, label: Text, reading: &mut Reading<'_>) -> Result<Host, String> {
    reading.ids.backends += 1;
    let mut host = Host::new(BackendId(reading.ids.backends), label);
    let directive = reading.key;
    for (key, value) in fields.iter() {
        let key = key.map_or("", |key| &**key);
        let mut inner = Reading {
            key,
            condition: reading.condition,
            compat: reading.compat,
            ids: &mut *reading.ids,
            warnings: &mut *reading.warnings,
        };
        let inner = &mut inner;
        match key {
            "host" => host.host = optional_text(value, inner)?,
            "port" => host.port = short(value, inner)?,
            "socket" => host.socket = optional_text(value, inner)?,
            "listen-backlog" => host.listen_backlog = int(value, inner)?,
            "bin-path" => host.bin_path = optional_text(value, inner)?,
            "kill-signal" => host.kill_signal = short(value, inner)?,
            "check-local" => host.check_local = boolean(value, inner)?,
            "mode" => {
                host.mode = match &*text(value, inner)? {
                    "authorizer" => HostMode::Authorizer,
                    "responder" | "" => HostMode::Responder,
                    other => {
                        inner.warn(format!("unknown gw mode: {other} (ignored, mode set to responder)"));
                        HostMode::Responder
                    }
                }
            }
            "docroot" => host.docroot = optional_text(value, inner)?,
            "min-procs" => host.min_procs = short(value, inner)?,
            "max-procs" => host.max_procs = short(value, inner)?,
            "max-load-per-proc" => host.max_load_per_proc = short(value, inner)?,
            "idle-timeout" => host.idle_timeout = short(value, inner)?,
            "disable-time" => host.disable_time = short(value, inner)?,
            "bin-environment" => host.bin_environment = named_texts(value, inner)?,
            "bin-copy-environment" => host.bin_copy_environment = Some(texts(value, inner)?),
            "broken-scriptfilename" => host.broken_scriptfilename = boolean(value, inner)?,
            "strip-request-uri" => {
                let strip = optional_text(value, inner)?;
                host.strip_request_uri = strip.map(|strip| strip.strip_suffix('/').unwrap_or(&strip).into());
            }
            "fix-root-scriptname" => host.fix_root_scriptname = boolean(value, inner)?,
            "allow-x-send-file" | "x-sendfile" => host.x_sendfile = boolean(value, inner)?,
            "x-sendfile-docroot" => host.x_sendfile_docroot = docroots(value, inner)?,
            "tcp-fin-propagate" => host.tcp_fin_propagate = boolean(value, inner)?,
            "connect-timeout" => host.connect_timeout = int(value, inner)?,
            "write-timeout" => host.write_timeout = int(value, inner)?,
            "read-timeout" => host.read_timeout = int(value, inner)?,
            "upgrade" => host.upgrade = boolean(value, inner)?,
            other if other.contains('_') => inner.warn(format!(
                "incorrect directive contains underscore ('_') instead of dash ('-'): {other}"
            )),
            other => {
                let guess = did_you_mean(other, KEYS.iter().copied());
                let guess = guess.map(|guess| format!(" (did you mean {guess}?)")).unwrap_or_default();
                inner.warn(format!("{directive} does not know the key {other}: it is ignored{guess}"));
            }
        }
    }
    Ok(host)
}

/// Settles where the backend is, from what was said.
fn place(host: &mut Host, near: &str) -> Result<(), String> {
    if (host.host.is_some() || host.port != 0) && host.socket.is_some() {
        return Err(format!("either host/port or socket have to be set in: {near}"));
    }
    if host.host.as_deref().is_some_and(|host| host.starts_with('/')) {
        host.socket = host.host.take();
    }
    if let Some(socket) = &host.socket {
        if socket.len() > SOCKET_PATH_BYTES_MAX {
            return Err(format!("unixsocket is too long in: {near}"));
        }
    } else {
        if host.host.is_none() && host.bin_path.is_none() {
            return Err(format!("host or bin-path have to be set in: {near}"));
        }
        host.port = if host.port == 0 { 80 } else { host.port };
        host.host.get_or_insert_with(|| "127.0.0.1".into());
    }
    if host.bin_path.is_some() {
        host.min_procs = host.min_procs.min(host.max_procs);
    } else {
        (host.min_procs, host.max_procs) = (1, 1);
    }
    Ok(())
}

/// What the kernel takes as a socket's path, less what is appended for processes.
const SOCKET_PATH_BYTES_MAX: usize = 105;

/// Directories, each with a slash at its end.
pub(super) fn docroots(value: &Value, reading: &mut Reading<'_>) -> Result<Texts, String> {
    texts(value, reading)?
        .iter()
        .map(|path| {
            if !path.starts_with('/') {
                return Err(format!("{} paths must begin with '/'; invalid: \"{path}\"", reading.key));
            }
            Ok(if path.ends_with('/') { path.clone() } else { format!("{path}/").into() })
        })
        .collect()
}

pub(super) fn balance(value: &Value, reading: &mut Reading<'_>) -> Result<Balance, String> {
    Ok(match &*text(value, reading)? {
        "" | "fair" | "least-connection" => Balance::LeastConnection,
        "round-robin" => Balance::RoundRobin,
        "hash" => Balance::Hash,
        "sticky" => Balance::Sticky,
        other => {
            reading.warn(format!(
                "xxxxx.balance has to be one of: least-connection, round-robin, hash, sticky, but not: {other}"
            ));
            Balance::LeastConnection
        }
    })
}

pub(super) fn scgi_protocol(value: &Value, reading: &mut Reading<'_>) -> Result<bool, String> {
    match &*text(value, reading)? {
        "scgi" => Ok(false),
        "uwsgi" => Ok(true),
        other => {
            Err(format!("unexpected type for key: scgi.protocol expected \"scgi\" or \"uwsgi\", not {other}"))
        }
    }
}

pub(super) fn cgi_limits(value: &Value, reading: &mut Reading<'_>) -> Result<CgiLimits, String> {
    let mut limits = CgiLimits::default();
    let seconds = |value: &Value| match value {
        Value::Integer(number) => u32::try_from(*number).unwrap_or(0),
        Value::Text(text) => number(text).and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        Value::List(_) => 0,
    };
    for (key, value) in keyed(value, reading)?.iter() {
        match key.map_or("", |key| &**key) {
            "read-timeout" => limits.read_timeout = seconds(value),
            "write-timeout" => limits.write_timeout = seconds(value),
            "tcp-fin-propagate" => {
                limits.tcp_fin_propagate = Some(match value {
                    Value::Integer(number) => number.to_string().into(),
                    Value::Text(name) => {
                        let name = name.to_ascii_uppercase();
                        name.strip_prefix("SIG").unwrap_or(&name).into()
                    }
                    Value::List(_) => "TERM".into(),
                });
            }
            other => reading.warn(format!("unrecognized cgi.limits param: {other}")),
        }
    }
    Ok(limits)
}

// === impl Host ===

impl Host {
    /// A backend of which nothing was said.
    pub(crate) fn new(id: BackendId, label: Text) -> Self {
        const SIGTERM: u16 = 15;
        Self {
            id,
            label,
            host: None,
            port: 0,
            socket: None,
            listen_backlog: 1024,
            bin_path: None,
            kill_signal: SIGTERM,
            check_local: true,
            mode: HostMode::Responder,
            docroot: None,
            min_procs: 4,
            max_procs: 4,
            max_load_per_proc: 1,
            idle_timeout: 60,
            disable_time: 1,
            bin_environment: Arc::from([]),
            bin_copy_environment: None,
            broken_scriptfilename: false,
            strip_request_uri: None,
            fix_root_scriptname: false,
            x_sendfile: false,
            x_sendfile_docroot: Arc::from([]),
            tcp_fin_propagate: false,
            connect_timeout: 8,
            write_timeout: 0,
            read_timeout: 0,
            upgrade: false,
        }
    }
}
