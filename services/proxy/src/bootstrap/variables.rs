//! From environment variables to a [`Bootstrap`].

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};
use thiserror::Error;

use selvedge_telemetry::sink::Dialect;
use selvedge_traffic::Locality;
use selvedge_wire::tls::Trust;

use crate::patience::Patience;

use super::{
    Bootstrap, Drain, ResourceKind, ResourceName, ResourceNameInvalid, SinkTarget, StateFolder, StatsSink,
    XdsEndpoint,
};

/// Where `selvedge up` listens unless told otherwise.
const XDS_ENDPOINT_DEFAULT: &str = "127.0.0.1:7070";
/// No sidecar needs more threads unless somebody says so.
const CONCURRENCY_DEFAULT_MAX: usize = 2;
/// A bound against slips of the finger.
const CONCURRENCY_MAX: usize = 256;

/// An environment that a proxy cannot start in.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum BootstrapError {
    #[error(
        "APPMESH_RESOURCE_ARN is not set: it names the virtual node or virtual gateway that this proxy stands for"
    )]
    NoResource,
    #[error("the resource's name is invalid")]
    Resource(#[from] ResourceNameInvalid),
    #[error("{name}={value:?} is not {expected}")]
    Variable { name: String, value: String, expected: &'static str },
}

impl Bootstrap {
    /// Reads the environment; `processors` is how many the machine has.
    ///
    /// # Errors
    /// A variable is missing or says something that cannot be meant; nothing is guessed.
    pub fn from_env(env: &BTreeMap<String, String>, processors: usize) -> Result<Self, BootstrapError> {
        let env = Env(env);
        let resource = ResourceName::parse(resource(env)?)?;
        let admin = admin(env)?;
        let tagged = env.flag("ENABLE_ENVOY_STATS_TAGS")?;
        Ok(Self {
            cluster: cluster(env).map_or_else(|| resource.path(), str::to_owned),
            xds: xds(env)?,
            sds_socket: sds_socket(env),
            metadata: metadata(env)?,
            locality: locality(env),
            state: state(env, &resource, admin.port()),
            admin,
            log_level: env.get("ENVOY_LOG_LEVEL").unwrap_or("info").to_owned(),
            concurrency: concurrency(env, processors)?,
            initial_fetch_timeout: Some(env.duration(
                "ENVOY_INITIAL_FETCH_TIMEOUT",
                Duration::from_secs(1),
                Duration::ZERO,
            )?)
            .filter(|timeout| !timeout.is_zero()),
            stats_flush_interval: env
                .duration("ENVOY_STATS_FLUSH_INTERVAL", Duration::from_millis(1), Duration::from_secs(5))?
                .max(Duration::from_millis(1)),
            stats_tags: if tagged { resource.tags() } else { Vec::new() },
            stats_sink: stats_sink(env)?,
            tracing: super::tracing::tracing(env, &resource)?,
            metrics_extension: env.flag("APPMESH_METRIC_EXTENSION_VERSION")?.then(|| resource.dimensions()),
            drain: drain(env)?,
            egress_socket: egress_socket(env)?,
            outlier_log: env.get("SELVEDGE_OUTLIER_LOG").map(PathBuf::from),
            hot_restart: env.get("SELVEDGE_HOT_RESTART").map(PathBuf::from),
            patience: patience(env, resource.kind)?,
            resource,
        })
    }
}

/// Where the proxy stands. A region alone says nothing that is weighed.
fn locality(env: Env<'_>) -> Locality {
    let said =
        |ours: &str, other: &str| env.get(ours).or_else(|| env.get(other)).unwrap_or_default().to_owned();
    let zone = said("SELVEDGE_ZONE", "AWS_AVAILABILITY_ZONE");
    let region = if zone.is_empty() { String::new() } else { said("SELVEDGE_REGION", "AWS_REGION") };
    Locality { region, zone, sub_zone: String::new() }
}

/// DogStatsD as the image has it; `SELVEDGE_ENABLE_STATSD` speaks the older protocol, without tags.
fn stats_sink(env: Env<'_>) -> Result<Option<StatsSink>, BootstrapError> {
    let dialect = if env.flag("ENABLE_ENVOY_DOG_STATSD")? {
        Dialect::DogStatsd
    } else if env.flag("SELVEDGE_ENABLE_STATSD")? {
        Dialect::Statsd
    } else {
        return Ok(None);
    };
    let target = match env.get("STATSD_SOCKET_PATH") {
        Some(path) => SinkTarget::Unix(PathBuf::from(path)),
        None => SinkTarget::Udp {
            host: env.get("STATSD_ADDRESS").unwrap_or("127.0.0.1").to_owned(),
            port: env.parsed("STATSD_PORT", "a port")?.unwrap_or(8125),
        },
    };
    Ok(Some(StatsSink { dialect, target }))
}

/// The variable that is meant, then its elder names.
fn resource<'a>(env: Env<'a>) -> Result<&'a str, BootstrapError> {
    ["APPMESH_RESOURCE_ARN", "APPMESH_RESOURCE_NAME", "APPMESH_VIRTUAL_NODE_NAME"]
        .into_iter()
        .find_map(|name| env.get(name))
        .ok_or(BootstrapError::NoResource)
}

fn cluster(env: Env<'_>) -> Option<&str> {
    env.get("APPMESH_RESOURCE_CLUSTER").or_else(|| env.get("APPMESH_VIRTUAL_NODE_CLUSTER"))
}

/// `host:port`, `[v6]:port`, either after `https://`, or `unix://<path>`.
fn xds(env: Env<'_>) -> Result<XdsEndpoint, BootstrapError> {
    const NAME: &str = "APPMESH_XDS_ENDPOINT";
    let given = env.get(NAME).unwrap_or(XDS_ENDPOINT_DEFAULT);
    if let Some(path) = given.strip_prefix("unix://").or_else(|| given.strip_prefix("unix:")) {
        return Ok(XdsEndpoint::Unix(PathBuf::from(path)));
    }
    let invalid = || env.invalid(NAME, "host:port, https://host:port or unix://path");
    let (is_https, given) = match given.strip_prefix("https://") {
        Some(rest) => (true, rest.strip_suffix('/').unwrap_or(rest)),
        None => (false, given),
    };
    let (host, port) = given.rsplit_once(':').ok_or_else(invalid)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() || host.contains('/') {
        return Err(invalid());
    }
    let tls = trust(env, is_https)?;
    Ok(XdsEndpoint::Tcp { host: host.to_owned(), port: port.parse().map_err(|_| invalid())?, tls })
}

/// Whom a control plane that is called by TLS must be; naming an authority asks for TLS as `https://` does.
fn trust(env: Env<'_>, is_https: bool) -> Result<Option<Trust>, BootstrapError> {
    let path = |name| env.get(name).map(PathBuf::from);
    let authority = path("SELVEDGE_XDS_CA");
    let certificate = match (path("SELVEDGE_XDS_CERT"), path("SELVEDGE_XDS_KEY")) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (Some(_), None) => return Err(env.invalid("SELVEDGE_XDS_CERT", "of use without SELVEDGE_XDS_KEY")),
        (None, Some(_)) => return Err(env.invalid("SELVEDGE_XDS_KEY", "of use without SELVEDGE_XDS_CERT")),
    };
    let name = env.get("SELVEDGE_XDS_NAME").map(str::to_owned);
    let is_asked = is_https || authority.is_some();
    if !is_asked && (certificate.is_some() || name.is_some()) {
        let named = if name.is_some() { "SELVEDGE_XDS_NAME" } else { "SELVEDGE_XDS_CERT" };
        return Err(env.invalid(named, "of use without TLS: write APPMESH_XDS_ENDPOINT=https://host:port"));
    }
    Ok(is_asked.then_some(Trust { authority, certificate, name }))
}

/// A path, with or without `unix:`.
fn sds_socket(env: Env<'_>) -> Option<PathBuf> {
    let given = env.get("APPMESH_SDS_SOCKET_PATH")?;
    let path = given.strip_prefix("unix://").or_else(|| given.strip_prefix("unix:")).unwrap_or(given);
    Some(PathBuf::from(path))
}

/// Loopback, unless an address is asked for: who reads the admin endpoint reads the whole configuration.
fn admin(env: Env<'_>) -> Result<SocketAddr, BootstrapError> {
    if let Some(mode) = env.get("ENVOY_ADMIN_MODE")
        && mode != "tcp"
    {
        return Err(env.invalid("ENVOY_ADMIN_MODE", "tcp, the only mode there is"));
    }
    let v6 = env.flag("ENVOY_ADMIN_ACCESS_ENABLE_IPV6")?;
    let loopback = if v6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    let address = env.parsed("SELVEDGE_ADMIN_BIND", "an IP address")?.unwrap_or(loopback);
    Ok(SocketAddr::new(address, env.parsed("ENVOY_ADMIN_ACCESS_PORT", "a port")?.unwrap_or(9901)))
}

/// What is asked for, `none`, or a folder below the user's own state. Its name tells instances of one resource on one
/// machine apart by their admin ports, for their listeners differ.
fn state(env: Env<'_>, resource: &ResourceName, admin_port: u16) -> StateFolder {
    match env.get("SELVEDGE_STATE_DIR") {
        Some("none") => return StateFolder::Nowhere,
        Some(folder) => return StateFolder::Given(PathBuf::from(folder)),
        None => {}
    }
    let base = match (env.get("XDG_STATE_HOME"), env.get("HOME")) {
        (Some(state), _) => PathBuf::from(state),
        (None, Some(home)) => PathBuf::from(home).join(".local/state"),
        (None, None) => return StateFolder::Nowhere,
    };
    let name: String = resource
        .path()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.@".contains(c) { c } else { '_' })
        .collect();
    StateFolder::Default(base.join("selvedge").join(format!("{name}-{admin_port}")))
}

fn concurrency(env: Env<'_>, processors: usize) -> Result<usize, BootstrapError> {
    const EXPECTED: &str = "a number of threads from 1 to 256, or -1 for as many as fit";
    let given: i64 = env.parsed("ENVOY_CONCURRENCY", EXPECTED)?.unwrap_or(-1);
    match usize::try_from(given) {
        Err(_) if given == -1 => Ok(processors.clamp(1, CONCURRENCY_DEFAULT_MAX)),
        // Envoy's 0 is one thread, too.
        Ok(count) if count <= CONCURRENCY_MAX => Ok(count.max(1)),
        _ => Err(env.invalid("ENVOY_CONCURRENCY", EXPECTED)),
    }
}

fn drain(env: Env<'_>) -> Result<Drain, BootstrapError> {
    let default = Drain::default();
    let second = Duration::from_secs(1);
    let deadline = env.duration("APPNET_LISTENER_DRAIN_WAIT_TIME_S", second, default.deadline)?;
    Ok(Drain {
        accept: env.duration("SELVEDGE_DRAIN_ACCEPT_S", second, default.accept)?.min(deadline),
        deadline,
        exit_without_connections: env.get("SELVEDGE_EXIT_ON_ZERO_ACTIVE_CONNECTIONS").is_none()
            || env.flag("SELVEDGE_EXIT_ON_ZERO_ACTIVE_CONNECTIONS")?,
    })
}

/// A gateway has strangers for clients, a node its neighbours.
fn patience(env: Env<'_>, kind: ResourceKind) -> Result<Patience, BootstrapError> {
    let default = match kind {
        ResourceKind::VirtualNode => Patience::with_neighbours(),
        ResourceKind::VirtualGateway => Patience::with_strangers(),
    };
    let rate = env.parsed("SELVEDGE_BODY_RATE_MIN", "a number of bytes a second")?;
    let stall = env.duration(
        "SELVEDGE_WRITE_STALL_S",
        Duration::from_secs(1),
        default.write_stall.unwrap_or(Duration::ZERO),
    )?;
    Ok(Patience {
        body_rate: rate.or(default.body_rate).filter(|rate| *rate > 0),
        write_stall: Some(stall).filter(|stall| !stall.is_zero()),
        connections_max: env
            .parsed("SELVEDGE_CONNECTIONS_MAX", "a number")?
            .unwrap_or(default.connections_max),
        listener_connections_max: env
            .parsed("SELVEDGE_LISTENER_CONNECTIONS_MAX", "a number")?
            .unwrap_or(default.listener_connections_max),
        ..default
    })
}

/// Where a sidecar listens without interception unless told otherwise: where the rules lead with it.
const INGRESS_PORT: u16 = 15000;
const EGRESS_PORT: u16 = 15001;

/// How the proxy stands to its application, for the control plane that writes its listeners.
/// It leads to the listener of direct mode, whose routes know services by name.
fn egress_socket(env: Env<'_>) -> Result<Option<PathBuf>, BootstrapError> {
    let Some(path) = env.get("SELVEDGE_EGRESS_SOCKET") else { return Ok(None) };
    if env.get("SELVEDGE_INTERCEPTION") != Some("none") {
        return Err(env.invalid("SELVEDGE_EGRESS_SOCKET", "set beside SELVEDGE_INTERCEPTION=none"));
    }
    Ok(Some(PathBuf::from(path)))
}

fn metadata(env: Env<'_>) -> Result<Map<String, Value>, BootstrapError> {
    let mut selvedge = Map::new();
    if let Some(interception) = env.get("SELVEDGE_INTERCEPTION") {
        if !["none", "redirect"].contains(&interception) {
            return Err(env.invalid("SELVEDGE_INTERCEPTION", "none or redirect"));
        }
        selvedge.insert("interception".to_owned(), interception.into());
    }
    if let Some(bind) = env.parsed::<IpAddr>("SELVEDGE_BIND", "an IP address")? {
        selvedge.insert("bind".to_owned(), bind.to_string().into());
    }
    let is_direct = env.get("SELVEDGE_INTERCEPTION") == Some("none");
    for (name, member, default) in [
        ("SELVEDGE_INGRESS_PORT", "ingress_port", INGRESS_PORT),
        ("SELVEDGE_EGRESS_PORT", "egress_port", EGRESS_PORT),
    ] {
        let default = is_direct.then_some(default);
        if let Some(port) = env.parsed::<u16>(name, "a port")?.or(default) {
            selvedge.insert(member.to_owned(), port.into());
        }
    }
    if let Some(host) = env.get("SELVEDGE_APP_HOST") {
        selvedge.insert("app_host".to_owned(), host.into());
    }
    let mut app_ports = Map::new();
    for (name, _) in env.0.range("SELVEDGE_APP_PORT_".to_owned()..) {
        let Some(listener) = name.strip_prefix("SELVEDGE_APP_PORT_") else { break };
        let _: u16 = listener.parse().map_err(|_| env.invalid(name, "named after a listener's port"))?;
        if let Some(port) = env.parsed::<u16>(name, "a port")? {
            app_ports.insert(listener.to_owned(), port.into());
        }
    }
    if !app_ports.is_empty() {
        selvedge.insert("app_port".to_owned(), app_ports.into());
    }
    let mut metadata = Map::new();
    if !selvedge.is_empty() {
        metadata.insert("selvedge".to_owned(), selvedge.into());
    }
    Ok(metadata)
}

/// The environment; an empty variable counts as none.
#[derive(Clone, Copy)]
pub(super) struct Env<'a>(pub(super) &'a BTreeMap<String, String>);

impl<'a> Env<'a> {
    pub(super) fn get(self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    pub(super) fn parsed<T: FromStr>(
        self,
        name: &str,
        expected: &'static str,
    ) -> Result<Option<T>, BootstrapError> {
        self.get(name).map(|value| value.parse().map_err(|_| self.invalid(name, expected))).transpose()
    }

    pub(super) fn flag(self, name: &str) -> Result<bool, BootstrapError> {
        match self.get(name) {
            None | Some("0" | "false" | "FALSE" | "False") => Ok(false),
            Some("1" | "true" | "TRUE" | "True") => Ok(true),
            Some(_) => Err(self.invalid(name, "1 or 0")),
        }
    }

    /// A number of `unit`s, or a number with `ms` or `s`.
    pub(super) fn duration(
        self,
        name: &str,
        unit: Duration,
        default: Duration,
    ) -> Result<Duration, BootstrapError> {
        let Some(value) = self.get(name) else { return Ok(default) };
        let (digits, unit) = if let Some(digits) = value.strip_suffix("ms") {
            (digits, Duration::from_millis(1))
        } else if let Some(digits) = value.strip_suffix('s') {
            (digits, Duration::from_secs(1))
        } else {
            (value, unit)
        };
        let number: u32 =
            digits.parse().map_err(|_| self.invalid(name, "a duration, such as 5s or 500ms"))?;
        Ok(unit * number)
    }

    pub(super) fn invalid(self, name: &str, expected: &'static str) -> BootstrapError {
        let value = self.get(name).unwrap_or_default().to_owned();
        BootstrapError::Variable { name: name.to_owned(), value, expected }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Bootstrap, BootstrapError> {
        let mut env: BTreeMap<String, String> =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        env.entry("APPMESH_RESOURCE_ARN".to_owned()).or_insert_with(|| "mesh/m/virtualNode/n".to_owned());
        Bootstrap::from_env(&env, 16)
    }

    #[test]
    fn a_name_is_all_that_it_takes() {
        let bootstrap = read(&[]).expect("valid");
        assert_eq!(bootstrap.cluster, "mesh/m/virtualNode/n");
        assert_eq!(bootstrap.xds, XdsEndpoint::Tcp { host: "127.0.0.1".to_owned(), port: 7070, tls: None });
        assert_eq!(bootstrap.admin, SocketAddr::from(([127, 0, 0, 1], 9901)));
        assert_eq!((bootstrap.concurrency, bootstrap.initial_fetch_timeout), (2, None));
        assert_eq!(bootstrap.stats_flush_interval, Duration::from_secs(5));
        assert!(bootstrap.metadata.is_empty() && bootstrap.stats_tags.is_empty());
        let error = Bootstrap::from_env(&BTreeMap::new(), 1).expect_err("no name");
        assert_eq!(error, BootstrapError::NoResource);
    }

    #[test]
    fn the_elder_names_of_the_resource_are_honoured() {
        for name in ["APPMESH_RESOURCE_NAME", "APPMESH_VIRTUAL_NODE_NAME"] {
            let env = BTreeMap::from([(name.to_owned(), "mesh/m/virtualNode/old".to_owned())]);
            assert_eq!(Bootstrap::from_env(&env, 1).expect("valid").resource.name, "old");
        }
        let both = read(&[("APPMESH_VIRTUAL_NODE_NAME", "mesh/m/virtualNode/old")]).expect("valid");
        assert_eq!(both.resource.name, "n", "the newer one wins");
    }

    #[test]
    fn endpoints_are_hosts_with_ports_or_sockets() {
        let tcp = |host: &str, port| Some(XdsEndpoint::Tcp { host: host.to_owned(), port, tls: None });
        for (given, expected) in [
            ("control.mesh:18000", tcp("control.mesh", 18000)),
            ("[::1]:1", tcp("::1", 1)),
            ("unix:///run/xds.sock", Some(XdsEndpoint::Unix(PathBuf::from("/run/xds.sock")))),
            ("control", None),
            ("control:99999", None),
            (":80", None),
            ("http://control:80", None),
        ] {
            assert_eq!(
                read(&[("APPMESH_XDS_ENDPOINT", given)]).ok().map(|read| read.xds),
                expected,
                "{given}"
            );
        }
    }

    #[test]
    fn a_control_plane_is_called_by_tls_where_that_is_said() {
        let tls = |more: &[(&str, &str)]| {
            let all = [&[("APPMESH_XDS_ENDPOINT", "https://[fd00::1]:7443/")], more].concat();
            read(&all).map(|read| match read.xds {
                XdsEndpoint::Tcp { host, port: 7443, tls } if host == "fd00::1" => tls,
                other => panic!("{other:?}"),
            })
        };
        assert_eq!(tls(&[]), Ok(Some(Trust::default())));
        let pair = [("SELVEDGE_XDS_CERT", "/c.pem"), ("SELVEDGE_XDS_KEY", "/k.pem")];
        let shown = tls(&pair).expect("valid").expect("tls").certificate;
        assert_eq!(shown, Some(("/c.pem".into(), "/k.pem".into())));
        assert!(tls(&pair[..1]).is_err() && tls(&pair[1..]).is_err());
        // AWS's image has no scheme: an authority says as much.
        let XdsEndpoint::Tcp { tls, .. } =
            read(&[("APPMESH_XDS_ENDPOINT", "control:7443"), ("SELVEDGE_XDS_CA", "/ca.pem")])
                .expect("valid")
                .xds
        else {
            panic!("no host")
        };
        assert_eq!(tls.and_then(|tls| tls.authority), Some("/ca.pem".into()));
        assert!(read(&[("SELVEDGE_XDS_NAME", "control")]).is_err(), "without TLS");
    }

    #[test]
    fn the_place_beside_the_application_travels_as_metadata() {
        let bootstrap = read(&[
            ("SELVEDGE_INTERCEPTION", "none"),
            ("SELVEDGE_BIND", "127.0.0.1"),
            ("SELVEDGE_INGRESS_PORT", "15100"),
            ("SELVEDGE_EGRESS_PORT", "15101"),
            ("SELVEDGE_APP_HOST", "127.0.0.2"),
            ("SELVEDGE_APP_PORT_8080", "31234"),
            ("SELVEDGE_APP_PORT_9090", "31235"),
        ])
        .expect("valid");
        assert_eq!(
            Value::Object(bootstrap.metadata),
            json!({ "selvedge": {
                "interception": "none", "bind": "127.0.0.1", "ingress_port": 15100, "egress_port": 15101,
                "app_host": "127.0.0.2", "app_port": { "8080": 31234, "9090": 31235 },
            }})
        );
    }

    #[test]
    fn without_interception_the_ports_are_those_of_the_rules() {
        for (variables, expected) in [
            (&[][..], json!({})),
            (
                &[("SELVEDGE_INTERCEPTION", "none")],
                json!({ "selvedge": { "interception": "none", "ingress_port": 15000, "egress_port": 15001 } }),
            ),
            (
                &[("SELVEDGE_INTERCEPTION", "none"), ("SELVEDGE_EGRESS_PORT", "16001")],
                json!({ "selvedge": { "interception": "none", "ingress_port": 15000, "egress_port": 16001 } }),
            ),
        ] {
            assert_eq!(Value::Object(read(variables).expect("valid").metadata), expected, "{variables:?}");
        }
    }

    #[test]
    fn the_last_configuration_is_kept_below_the_users_state_unless_told_otherwise() {
        let folder = |path: &str| StateFolder::Default(PathBuf::from(path));
        for (variables, expected) in [
            (&[][..], StateFolder::Nowhere),
            (&[("HOME", "/h")][..], folder("/h/.local/state/selvedge/mesh_m_virtualNode_n-9901")),
            (
                &[("HOME", "/h"), ("XDG_STATE_HOME", "/x"), ("ENVOY_ADMIN_ACCESS_PORT", "1")],
                folder("/x/selvedge/mesh_m_virtualNode_n-1"),
            ),
            (&[("HOME", "/h"), ("SELVEDGE_STATE_DIR", "/s")], StateFolder::Given(PathBuf::from("/s"))),
            (&[("HOME", "/h"), ("SELVEDGE_STATE_DIR", "none")], StateFolder::Nowhere),
        ] {
            assert_eq!(read(variables).expect("valid").state, expected, "{variables:?}");
        }
    }

    #[test]
    fn a_zone_makes_a_place_and_a_region_alone_does_not() {
        let place = |variables: &[(&str, &str)]| {
            let read = read(variables).expect("valid");
            let local = read.local_cluster();
            assert_eq!(local.locality, read.locality);
            (local.name, read.locality.region, read.locality.zone)
        };
        let is = |name: &str, region: &str, zone: &str| (name.to_owned(), region.to_owned(), zone.to_owned());
        assert_eq!(place(&[("AWS_REGION", "r")]), is("", "", ""));
        assert_eq!(place(&[("SELVEDGE_ZONE", "a")]), is("cds_local_m_n", "", "a"));
        let aws = [("AWS_AVAILABILITY_ZONE", "r-a"), ("AWS_REGION", "r")];
        assert_eq!(place(&aws), is("cds_local_m_n", "r", "r-a"));
        let envoy = super::super::envoy_bootstrap(&read(&aws).expect("valid"));
        assert_eq!(envoy["cluster_manager"]["local_cluster_name"], "cds_local_m_n");
        assert_eq!(envoy["node"]["locality"]["zone"], "r-a");
    }

    #[test]
    fn tags_and_durations_are_read() {
        let bootstrap = read(&[
            ("ENABLE_ENVOY_STATS_TAGS", "1"),
            ("ENVOY_STATS_FLUSH_INTERVAL", "500ms"),
            ("ENVOY_INITIAL_FETCH_TIMEOUT", "15"),
            ("APPNET_LISTENER_DRAIN_WAIT_TIME_S", "1"),
            ("ENVOY_CONCURRENCY", "3"),
        ])
        .expect("valid");
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(bootstrap.stats_tags, [tag("appmesh.mesh", "m"), tag("appmesh.virtual_node", "n")]);
        assert_eq!(bootstrap.stats_flush_interval, Duration::from_millis(500));
        assert_eq!(bootstrap.initial_fetch_timeout, Some(Duration::from_secs(15)));
        assert_eq!(
            bootstrap.drain,
            Drain { accept: Duration::from_secs(1), deadline: Duration::from_secs(1), ..Drain::default() }
        );
        assert_eq!(bootstrap.concurrency, 3);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (name, value) in [
            ("ENVOY_ADMIN_ACCESS_PORT", "70000"),
            ("ENVOY_ADMIN_MODE", "uds"),
            ("ENVOY_CONCURRENCY", "-2"),
            ("ENVOY_CONCURRENCY", "100000"),
            ("ENABLE_ENVOY_STATS_TAGS", "maybe"),
            ("SELVEDGE_INTERCEPTION", "magic"),
            ("SELVEDGE_APP_PORT_http", "80"),
            ("SELVEDGE_INGRESS_PORT", "x"),
            ("ENVOY_STATS_FLUSH_INTERVAL", "soon"),
        ] {
            let error = read(&[(name, value)]).expect_err(name);
            assert!(
                matches!(&error, BootstrapError::Variable { name: named, .. } if named == name),
                "{error}"
            );
        }
    }
}
