//! Transport security: what a listener shows, what a caller demands.

use selvedge_model::{
    ClientPolicyTls, ClientTlsCertificate, FileCertificate, ListenerTls, ListenerTlsCertificate,
    ListenerTlsMode, ListenerTlsValidationTrust, PortProtocol, SdsCertificate, ServiceDiscovery,
    SubjectAlternativeNames, TlsValidationTrust, VirtualNode,
};
use selvedge_traffic::matching::TextMatch;
use selvedge_traffic::tls::{
    Certificate, DownstreamTls, NameKind, NameMatch, Suites, Trust, UpstreamTls, Validation, Versions,
};

use crate::secret::Manager;

/// What a listener does with connections.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Downstream {
    /// Encrypted ones are taken like this; `None` refuses them.
    pub(crate) tls: Option<DownstreamTls>,
    /// Whether others are taken.
    pub(crate) plain: bool,
    /// The certificate that cannot be had, where one was asked for.
    pub(crate) unavailable: Option<String>,
}

impl Downstream {
    /// Whether no connection is taken. What would stand behind it must not be made: no proxy would ask for it.
    pub(crate) fn is_closed(&self) -> bool {
        self.tls.is_none() && !self.plain
    }
}

/// What a caller does towards a node's listener.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Upstream {
    Plain,
    Tls(Box<UpstreamTls>),
    /// It must be encrypted, and what that takes cannot be had: nobody may be called.
    Closed(Missing),
}

/// What cannot be had here, and whose specification asks for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Missing {
    /// The caller's policy: other callers are not concerned.
    OfCaller(String),
    /// The listener that is called.
    OfListener(String),
}

/// A listener's side. Where a certificate cannot be had, what would need it is refused, and only what the mode allows
/// without it remains.
pub(crate) fn downstream(
    tls: Option<&ListenerTls>,
    protocol: PortProtocol,
    manager: &mut Manager<'_>,
) -> Downstream {
    let Some(tls) = tls.filter(|tls| tls.mode != ListenerTlsMode::Disabled) else {
        return Downstream { tls: None, plain: true, unavailable: None };
    };
    let plain = tls.mode == ListenerTlsMode::Permissive;
    let certificate = match &tls.certificate {
        ListenerTlsCertificate::File(file) => Ok(of_file(file)),
        ListenerTlsCertificate::Sds(sds) => of_sds(sds, manager),
        ListenerTlsCertificate::Acm(acm) => manager.certificate(&acm.certificate_arn).map(Certificate::Sds),
    };
    let validation = tls.validation.as_ref().map(|validation| {
        let trust = match &validation.trust {
            ListenerTlsValidationTrust::File(file) => Trust::File { chain: file.certificate_chain.clone() },
            ListenerTlsValidationTrust::Sds(sds) => Trust::Sds(manager.named(&sds.secret_name)?),
        };
        let names = name_matches(&names(validation.subject_alternative_names.as_ref()));
        Ok(Validation { names, ..Validation::new(trust) })
    });
    let (certificate, validation) = match (certificate, validation.transpose()) {
        (Ok(certificate), Ok(validation)) => (certificate, validation),
        (Err(missing), _) | (_, Err(missing)) => {
            return Downstream { tls: None, plain, unavailable: Some(missing) };
        }
    };
    if is_nameless(Some(&certificate), validation.as_ref()) {
        return Downstream { tls: None, plain, unavailable: Some(NAMELESS.to_owned()) };
    }
    let tls = DownstreamTls {
        certificate,
        require_client_certificate: validation.is_some(),
        require_sni: false,
        validation,
        alpn: alpn(protocol),
        versions: Versions::default(),
        suites: Suites::default(),
        without_tickets: false,
        handshake_timeout: None,
    };
    Downstream { tls: Some(tls), plain, unavailable: None }
}

/// A caller's side: its policy if that covers the port, else what the listener asks for.
pub(crate) fn upstream(
    policy: Option<&ClientPolicyTls>,
    node: &VirtualNode,
    listener: &selvedge_model::Listener,
    manager: &mut Manager<'_>,
) -> Upstream {
    let port = listener.port_mapping.port;
    let offered = listener.tls.as_ref().filter(|tls| tls.mode != ListenerTlsMode::Disabled);
    let covers = |policy: &&ClientPolicyTls| policy.ports.is_empty() || policy.ports.contains(&port);
    match (policy.filter(covers), offered) {
        (Some(policy), offered) if policy.is_enforced() || offered.is_some() => {
            demanded(policy, node, listener, manager)
        }
        (_, None) => Upstream::Plain,
        (_, Some(offered)) => followed(offered, node, listener, manager),
    }
}

/// The policy speaks: encrypted and verified, or not at all.
fn demanded(
    policy: &ClientPolicyTls,
    node: &VirtualNode,
    listener: &selvedge_model::Listener,
    manager: &mut Manager<'_>,
) -> Upstream {
    let trust = match &policy.validation.trust {
        TlsValidationTrust::File(file) => Ok(Trust::File { chain: file.certificate_chain.clone() }),
        TlsValidationTrust::Sds(sds) => manager.named(&sds.secret_name).map(Trust::Sds),
        TlsValidationTrust::Acm(acm) => {
            let arns = acm.certificate_authority_arns.iter().map(String::as_str);
            manager.authorities(arns).map(Trust::Sds)
        }
    };
    let trust = match trust {
        Ok(trust) => trust,
        Err(missing) => return Upstream::Closed(Missing::OfCaller(missing)),
    };
    let mut accepted = names(policy.validation.subject_alternative_names.as_ref());
    if accepted.is_empty() {
        accepted.extend(discovered_name(node));
    }
    let certificate = policy.certificate.as_ref().map(|certificate| match certificate {
        ClientTlsCertificate::File(file) => Ok(of_file(file)),
        ClientTlsCertificate::Sds(sds) => of_sds(sds, manager),
    });
    let certificate = match certificate.transpose() {
        Ok(certificate) => certificate,
        Err(missing) => return Upstream::Closed(Missing::OfCaller(missing)),
    };
    let validation = Some(Validation { names: name_matches(&accepted), ..Validation::new(trust) });
    if is_nameless(certificate.as_ref(), validation.as_ref()) {
        return Upstream::Closed(Missing::OfCaller(NAMELESS.to_owned()));
    }
    Upstream::Tls(Box::new(UpstreamTls {
        certificate,
        validation,
        sni: server_name(node),
        alpn: alpn(listener.port_mapping.protocol),
        versions: Versions::default(),
        suites: Suites::default(),
    }))
}

/// No policy: as the listener wishes, unverified unless its certificate comes from a certificate manager.
fn followed(
    offered: &ListenerTls,
    node: &VirtualNode,
    listener: &selvedge_model::Listener,
    manager: &mut Manager<'_>,
) -> Upstream {
    let trust = match &offered.certificate {
        ListenerTlsCertificate::Acm(acm) => match manager.authority_of(&acm.certificate_arn) {
            Ok(secret) => Trust::Sds(secret),
            Err(_) if offered.mode == ListenerTlsMode::Permissive => return Upstream::Plain,
            Err(missing) => return Upstream::Closed(Missing::OfListener(missing)),
        },
        ListenerTlsCertificate::File(_) | ListenerTlsCertificate::Sds(_) => Trust::AcceptAny,
    };
    Upstream::Tls(Box::new(UpstreamTls {
        certificate: None,
        validation: Some(Validation::new(trust)),
        sni: server_name(node),
        alpn: alpn(listener.port_mapping.protocol),
        versions: Versions::default(),
        suites: Suites::default(),
    }))
}

/// What is said of a secret that cannot be asked for.
const NAMELESS: &str = "a secret without a name";

/// Whether anything is to come from the secret discovery service under no name: proxies refuse that.
fn is_nameless(certificate: Option<&Certificate>, validation: Option<&Validation>) -> bool {
    let certificate = matches!(certificate, Some(Certificate::Sds(secret)) if secret.name.is_empty());
    let trust =
        validation.is_some_and(|one| matches!(&one.trust, Trust::Sds(secret) if secret.name.is_empty()));
    certificate || trust
}

fn of_file(file: &FileCertificate) -> Certificate {
    Certificate::Files { chain: file.certificate_chain.clone(), key: file.private_key.clone() }
}

fn of_sds(sds: &SdsCertificate, manager: &mut Manager<'_>) -> Result<Certificate, String> {
    manager.named(&sds.secret_name).map(Certificate::Sds)
}

fn names(names: Option<&SubjectAlternativeNames>) -> Vec<String> {
    names.map(|names| names.matchers.exact.clone()).unwrap_or_default()
}

/// App Mesh names DNS names and SPIFFE URIs in one list.
fn name_matches(names: &[String]) -> Vec<NameMatch> {
    let of = |name: &String| NameMatch {
        kind: if name.contains("://") { NameKind::Uri } else { NameKind::Dns },
        text: TextMatch::exact(name),
    };
    names.iter().map(of).collect()
}

/// The name that a node's certificate is expected to carry where a policy names none.
fn discovered_name(node: &VirtualNode) -> Option<String> {
    match node.spec.service_discovery.as_ref()? {
        ServiceDiscovery::Dns(dns) => Some(dns.hostname.clone()),
        ServiceDiscovery::AwsCloudMap(map) => Some(format!("{}.{}", map.service_name, map.namespace_name)),
    }
}

/// The host name that the connection asks for; an address is none.
fn server_name(node: &VirtualNode) -> String {
    match &node.spec.service_discovery {
        Some(ServiceDiscovery::Dns(dns)) if dns.hostname.parse::<std::net::IpAddr>().is_err() => {
            dns.hostname.clone()
        }
        _ => String::new(),
    }
}

fn alpn(protocol: PortProtocol) -> Vec<String> {
    match protocol {
        PortProtocol::Http => vec!["http/1.1".to_owned()],
        PortProtocol::Http2 | PortProtocol::Grpc => vec!["h2".to_owned()],
        PortProtocol::Tcp => Vec::new(),
    }
}
