//! Transport security.

use selvedge_traffic::tls::{
    Certificate, Cipher, Curve, DownstreamTls, NameKind, NameMatch, Pem, SecretFile, SecretRef, SecretSource,
    SecretTarget, SecretTls, Suites, Trust, TrustDomain, UpstreamTls, Validation, Version, Versions,
};
use selvedge_traffic::{ProxyProtocolVersion, Transport, UpstreamTransport};
use selvedge_xds_proto::envoy::config::core::v3::api_config_source::ApiType;
use selvedge_xds_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::google_grpc::SslCredentials;
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::google_grpc::channel_credentials::CredentialSpecifier;
use selvedge_xds_proto::envoy::config::core::v3::grpc_service::{GoogleGrpc, TargetSpecifier};
use selvedge_xds_proto::envoy::config::core::v3::{ConfigSource, DataSource, TransportSocket, data_source};
use selvedge_xds_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use selvedge_xds_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SpiffeCertValidatorConfig, SubjectAltNameMatcher, TlsParameters, UpstreamTlsContext,
};

use super::bounds::{expect, known, not_empty, unpack};
use super::{Reason, duration, proxy_protocol, text};
use crate::any::{holds, transport_socket_config};
use crate::encode::SDS_CLUSTER;

pub(super) fn downstream(
    socket: Option<TransportSocket>,
    handshake_timeout: Option<prost_types::Duration>,
) -> Result<Transport, Reason> {
    let Some(socket) = socket else { return Ok(Transport::Plain) };
    let any = transport_socket_config(socket.config_type);
    if any.as_ref().is_some_and(holds::<RawBuffer>) {
        return Ok(Transport::Plain);
    }
    let context: DownstreamTlsContext = expect(&socket.name, any.as_ref())?;
    let common = context.common_tls_context.unwrap_or_default();
    Ok(Transport::Tls(Box::new(DownstreamTls {
        certificate: certificate(&common)?.ok_or(Reason::Missing("common_tls_context.tls_certificates"))?,
        validation: validation(common.validation_context_type)?,
        require_client_certificate: context.require_client_certificate.unwrap_or_default(),
        require_sni: context.require_sni.unwrap_or_default(),
        alpn: common.alpn_protocols,
        versions: versions(common.tls_params.as_ref())?,
        suites: suites(common.tls_params.as_ref())?,
        without_tickets: context.disable_stateless_session_resumption,
        handshake_timeout: duration::optional("transport_socket_connect_timeout", handshake_timeout)?,
    })))
}

/// The transport of a cluster, and the word that stands before it.
pub(super) fn cluster(
    socket: Option<TransportSocket>,
) -> Result<(UpstreamTransport, Option<ProxyProtocolVersion>), Reason> {
    let any = socket.as_ref().and_then(|socket| transport_socket_config(socket.config_type.clone()));
    match any {
        Some(any) if holds::<ProxyProtocolUpstreamTransport>(&any) => {
            let outer: ProxyProtocolUpstreamTransport = unpack(&any)?;
            let version = proxy_protocol::upstream(&outer)?;
            let inner = outer.transport_socket.ok_or(Reason::Missing("proxy_protocol.transport_socket"))?;
            Ok((upstream(Some(inner))?, Some(version)))
        }
        _ => Ok((upstream(socket)?, None)),
    }
}

fn upstream(socket: Option<TransportSocket>) -> Result<UpstreamTransport, Reason> {
    let Some(socket) = socket else { return Ok(UpstreamTransport::Plain) };
    let any = transport_socket_config(socket.config_type);
    if any.as_ref().is_some_and(holds::<RawBuffer>) {
        return Ok(UpstreamTransport::Plain);
    }
    let context: UpstreamTlsContext = expect(&socket.name, any.as_ref())?;
    for (field, asked) in [
        ("allow_renegotiation", context.allow_renegotiation),
        ("auto_host_sni", context.auto_host_sni),
        ("auto_sni_san_validation", context.auto_sni_san_validation),
    ] {
        if asked {
            return Err(unsupported(field, "true"));
        }
    }
    let common = context.common_tls_context.unwrap_or_default();
    Ok(UpstreamTransport::Tls(Box::new(UpstreamTls {
        certificate: certificate(&common)?,
        validation: validation(common.validation_context_type)?,
        sni: context.sni,
        alpn: common.alpn_protocols,
        versions: versions(common.tls_params.as_ref())?,
        suites: suites(common.tls_params.as_ref())?,
    })))
}

/// The bounds.
fn versions(parameters: Option<&TlsParameters>) -> Result<Versions, Reason> {
    let Some(parameters) = parameters else { return Ok(Versions::default()) };
    let bounds = Versions {
        min: version("tls_params.tls_minimum_protocol_version", parameters.tls_minimum_protocol_version)?,
        max: version("tls_params.tls_maximum_protocol_version", parameters.tls_maximum_protocol_version)?,
    };
    if bounds.min.is_some() && bounds.max.is_some() && bounds.min > bounds.max {
        return Err(Reason::Invalid {
            field: "tls_params",
            value: "the minimum version".to_owned(),
            expected: "is above the maximum",
        });
    }
    Ok(bounds)
}

/// What may be agreed on. Ciphers may come in groups of equal preference, `[A|B]`; signature schemes are not ours to choose.
fn suites(parameters: Option<&TlsParameters>) -> Result<Suites, Reason> {
    let Some(parameters) = parameters else { return Ok(Suites::default()) };
    if !parameters.signature_algorithms.is_empty() {
        return Err(unsupported(
            "tls_params.signature_algorithms",
            &parameters.signature_algorithms.join(":"),
        ));
    }
    let ciphers = parameters.cipher_suites.iter().flat_map(|group| group.split(['[', '|', ']', ':']));
    let ciphers = ciphers.filter(|name| !name.is_empty());
    let cipher = |name| Cipher::named(name).ok_or_else(|| unsupported("tls_params.cipher_suites", name));
    let curve = |name: &String| Curve::named(name).ok_or_else(|| unsupported("tls_params.ecdh_curves", name));
    Ok(Suites {
        ciphers: ciphers.map(cipher).collect::<Result<_, _>>()?,
        curves: parameters.ecdh_curves.iter().map(curve).collect::<Result<_, _>>()?,
    })
}

fn version(field: &'static str, version: i32) -> Result<Option<Version>, Reason> {
    match known(field, version)? {
        TlsProtocol::TlsAuto => Ok(None),
        TlsProtocol::TlSv12 => Ok(Some(Version::Tls12)),
        TlsProtocol::TlSv13 => Ok(Some(Version::Tls13)),
        old @ (TlsProtocol::TlSv10 | TlsProtocol::TlSv11) => Err(unsupported(field, old.as_str_name())),
    }
}

fn certificate(common: &CommonTlsContext) -> Result<Option<Certificate>, Reason> {
    match (common.tls_certificates.as_slice(), common.tls_certificate_sds_secret_configs.as_slice()) {
        ([], []) => Ok(None),
        ([files], []) => {
            if files.password.is_some() {
                return Err(unsupported("tls_certificates.password", "a password"));
            }
            Ok(Some(Certificate::Files {
                chain: file("tls_certificates.certificate_chain", files.certificate_chain.as_ref())?,
                key: file("tls_certificates.private_key", files.private_key.as_ref())?,
            }))
        }
        ([], [secret]) => Ok(Some(Certificate::Sds(secret_ref(secret)?))),
        (files, secrets) => Err(Reason::Unsupported {
            field: "common_tls_context",
            value: format!("{} certificates", files.len() + secrets.len()),
        }),
    }
}

fn validation(context: Option<ValidationContextType>) -> Result<Option<Validation>, Reason> {
    Ok(match context {
        None => None,
        Some(ValidationContextType::ValidationContext(context)) => Some(whole(context)?),
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
            Some(Validation::new(Trust::Sds(secret_ref(&secret)?)))
        }
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let secret = combined
                .validation_context_sds_secret_config
                .ok_or(Reason::Missing("combined_validation_context.validation_context_sds_secret_config"))?;
            let trust = Trust::Sds(secret_ref(&secret)?);
            let own = combined.default_validation_context.unwrap_or_default();
            if own.custom_validator_config.is_some() {
                return Err(unsupported("default_validation_context.custom_validator_config", "a validator"));
            }
            Some(rules(trust, own)?)
        }
    })
}

/// A validation context that leans on nothing else.
pub(crate) fn whole(context: CertificateValidationContext) -> Result<Validation, Reason> {
    let trust = trust(&context)?;
    rules(trust, context)
}

fn trust(context: &CertificateValidationContext) -> Result<Trust, Reason> {
    if context.trust_chain_verification == i32::from(TrustChainVerification::AcceptUntrusted) {
        return Ok(Trust::AcceptAny);
    }
    if let Some(custom) = &context.custom_validator_config {
        return spiffe(expect(&custom.name, custom.typed_config.as_ref())?);
    }
    let pinned = !context.verify_certificate_hash.is_empty() || !context.verify_certificate_spki.is_empty();
    match &context.trusted_ca {
        Some(source) => Ok(match pem("validation_context.trusted_ca", Some(source))? {
            Pem::File(chain) => Trust::File { chain },
            Pem::Inline(text) => Trust::Inline(text),
        }),
        None if !context.match_typed_subject_alt_names.is_empty() => Err(Reason::Invalid {
            field: "validation_context.match_typed_subject_alt_names",
            value: "names".to_owned(),
            expected: "mean nothing without a trusted authority",
        }),
        None if pinned => Ok(Trust::Unvouched),
        None => Ok(Trust::AcceptAny),
    }
}

/// What a peer must show besides; what cannot be checked here is refused, never left out.
fn rules(trust: Trust, context: CertificateValidationContext) -> Result<Validation, Reason> {
    if context.require_signed_certificate_timestamp == Some(true) {
        return Err(unsupported("validation_context.require_signed_certificate_timestamp", "true"));
    }
    if let Some(depth) = context.max_verify_depth {
        return Err(unsupported("validation_context.max_verify_depth", &depth.to_string()));
    }
    Ok(Validation {
        trust,
        names: context.match_typed_subject_alt_names.into_iter().map(name).collect::<Result<_, _>>()?,
        certificate_hashes: context.verify_certificate_hash,
        spki_hashes: context.verify_certificate_spki,
        crl: context.crl.as_ref().map(|source| pem("validation_context.crl", Some(source))).transpose()?,
        crl_of_leaf_only: context.only_verify_leaf_cert_crl,
        allow_expired: context.allow_expired_certificate,
    })
}

fn name(matcher: SubjectAltNameMatcher) -> Result<NameMatch, Reason> {
    let kind = match known("match_typed_subject_alt_names.san_type", matcher.san_type)? {
        SanType::Dns => NameKind::Dns,
        SanType::Uri => NameKind::Uri,
        SanType::Email => NameKind::Email,
        SanType::IpAddress => NameKind::Ip,
        other @ (SanType::Unspecified | SanType::OtherName) => {
            return Err(unsupported("match_typed_subject_alt_names.san_type", other.as_str_name()));
        }
    };
    let matcher_text = matcher.matcher.ok_or(Reason::Missing("match_typed_subject_alt_names.matcher"))?;
    Ok(NameMatch { kind, text: text::text("match_typed_subject_alt_names.matcher", matcher_text)? })
}

fn secret_ref(secret: &SdsSecretConfig) -> Result<SecretRef, Reason> {
    Ok(SecretRef {
        name: not_empty("sds_secret_config.name", secret.name.clone())?,
        source: secret_source(secret.sds_config.as_ref())?,
    })
}

fn secret_source(config: Option<&ConfigSource>) -> Result<SecretSource, Reason> {
    match config.and_then(|config| config.config_source_specifier.as_ref()) {
        Some(ConfigSourceSpecifier::Ads(_)) => Ok(SecretSource::Ads),
        Some(ConfigSourceSpecifier::ApiConfigSource(api)) => {
            let kind: ApiType = known("sds_config.api_config_source.api_type", api.api_type)?;
            let delta = match kind {
                ApiType::Grpc => false,
                ApiType::DeltaGrpc => true,
                other => {
                    return Err(unsupported("sds_config.api_config_source.api_type", other.as_str_name()));
                }
            };
            let service = api.grpc_services.first().and_then(|service| service.target_specifier.as_ref());
            match service {
                Some(TargetSpecifier::EnvoyGrpc(grpc)) if grpc.cluster_name == SDS_CLUSTER => {
                    Ok(if delta { SecretSource::DeltaSocket } else { SecretSource::Socket })
                }
                Some(TargetSpecifier::GoogleGrpc(grpc)) => {
                    target(grpc, delta).map(|target| SecretSource::Target(Box::new(target)))
                }
                other => Err(Reason::Unsupported {
                    field: "sds_config.api_config_source",
                    value: format!("{other:?}"),
                }),
            }
        }
        Some(ConfigSourceSpecifier::PathConfigSource(file)) => {
            let watched = file
                .watched_directory
                .as_ref()
                .map(|folder| not_empty("path_config_source.watched_directory.path", folder.path.clone()));
            Ok(SecretSource::File(SecretFile {
                path: not_empty("path_config_source.path", file.path.clone())?,
                watched: watched.transpose()?,
            }))
        }
        None => Err(Reason::Missing("sds_config")),
    }
}

/// A service by its address.
fn target(grpc: &GoogleGrpc, delta: bool) -> Result<SecretTarget, Reason> {
    const CREDENTIALS: &str = "google_grpc.channel_credentials";
    let credentials = grpc.channel_credentials.as_ref().and_then(|it| it.credential_specifier.as_ref());
    let tls = match credentials {
        None | Some(CredentialSpecifier::LocalCredentials(_)) => None,
        Some(CredentialSpecifier::SslCredentials(ssl)) => Some(secret_tls(ssl)?),
        Some(CredentialSpecifier::GoogleDefault(())) => {
            return Err(unsupported(CREDENTIALS, "google_default"));
        }
    };
    if !grpc.credentials_factory_name.is_empty() {
        let name = &grpc.credentials_factory_name;
        return Err(unsupported("google_grpc.credentials_factory_name", name));
    }
    Ok(SecretTarget { uri: not_empty("google_grpc.target_uri", grpc.target_uri.clone())?, delta, tls })
}

/// Files, so that they can be renewed without a new configuration.
fn secret_tls(ssl: &SslCredentials) -> Result<SecretTls, Reason> {
    const ROOTS: &str = "ssl_credentials.root_certs";
    const CHAIN: &str = "ssl_credentials.cert_chain";
    const KEY: &str = "ssl_credentials.private_key";
    let roots = ssl.root_certs.as_ref().map(|roots| file(ROOTS, Some(roots))).transpose()?;
    let certificate = match (&ssl.cert_chain, &ssl.private_key) {
        (None, None) => None,
        (chain, key) => Some((file(CHAIN, chain.as_ref())?, file(KEY, key.as_ref())?)),
    };
    Ok(SecretTls { roots, certificate })
}

/// Envoy's SPIFFE validator.
fn spiffe(config: SpiffeCertValidatorConfig) -> Result<Trust, Reason> {
    if config.trust_bundles.is_some() {
        return Err(unsupported("custom_validator_config.trust_bundles", "a bundle map"));
    }
    let mut domains: Vec<TrustDomain> = Vec::new();
    for domain in config.trust_domains {
        let name = not_empty("custom_validator_config.trust_domains.name", domain.name)?;
        if domains.iter().any(|known| known.name == name) {
            return Err(Reason::Invalid {
                field: "custom_validator_config.trust_domains.name",
                value: name,
                expected: "is there twice",
            });
        }
        let bundle = pem("custom_validator_config.trust_domains.trust_bundle", domain.trust_bundle.as_ref())?;
        domains.push(TrustDomain { name, bundle });
    }
    match domains.is_empty() {
        true => Err(Reason::Missing("custom_validator_config.trust_domains")),
        false => Ok(Trust::Spiffe(domains)),
    }
}

fn unsupported(field: &'static str, value: &str) -> Reason {
    Reason::Unsupported { field, value: value.to_owned() }
}

/// A text that is no secret: by its file, or as it is.
pub(crate) fn pem(field: &'static str, source: Option<&DataSource>) -> Result<Pem, Reason> {
    let inline = |bytes: &[u8]| match std::str::from_utf8(bytes) {
        Ok(text) => not_empty(field, text.to_owned()).map(Pem::Inline),
        Err(_) => Err(Reason::Invalid { field, value: "the content".to_owned(), expected: "is no text" }),
    };
    match source.and_then(|source| source.specifier.as_ref()) {
        None => Err(Reason::Missing(field)),
        Some(data_source::Specifier::Filename(path)) => not_empty(field, path.clone()).map(Pem::File),
        Some(data_source::Specifier::InlineBytes(bytes)) => inline(bytes),
        Some(data_source::Specifier::InlineString(text)) => inline(text.as_bytes()),
    }
}

/// Keys, and the certificates that belong to them, are only taken by reference: nothing secret travels in a configuration.
fn file(field: &'static str, source: Option<&DataSource>) -> Result<String, Reason> {
    match source.and_then(|source| source.specifier.as_ref()) {
        None => Err(Reason::Missing(field)),
        Some(data_source::Specifier::Filename(path)) => not_empty(field, path.clone()),
        Some(_) => Err(Reason::Unsupported { field, value: "inline content".to_owned() }),
    }
}
