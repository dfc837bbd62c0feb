//! Transport security.

use selvedge_traffic::tls::{Certificate, DownstreamTls, Trust, UpstreamTls, Validation};
use selvedge_traffic::{Transport, UpstreamTransport};
use selvedge_xds_proto::envoy::config::core::v3::{DataSource, TransportSocket, data_source};
use selvedge_xds_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, UpstreamTlsContext,
};
use selvedge_xds_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::Reason;
use super::bounds::{expect, not_empty};
use crate::any::{holds, transport_socket_config};

pub(super) fn downstream(socket: Option<TransportSocket>) -> Result<Transport, Reason> {
    let Some(socket) = socket else { return Ok(Transport::Plain) };
    let any = transport_socket_config(socket.config_type);
    if any.as_ref().is_some_and(holds::<RawBuffer>) {
        return Ok(Transport::Plain);
    }
    let context: DownstreamTlsContext = expect(&socket.name, any.as_ref())?;
    let common = context.common_tls_context.unwrap_or_default();
    Ok(Transport::Tls(DownstreamTls {
        certificate: certificate(&common)?.ok_or(Reason::Missing("common_tls_context.tls_certificates"))?,
        validation: validation(common.validation_context_type)?,
        require_client_certificate: context.require_client_certificate.unwrap_or_default(),
        alpn: common.alpn_protocols,
    }))
}

pub(super) fn upstream(socket: Option<TransportSocket>) -> Result<UpstreamTransport, Reason> {
    let Some(socket) = socket else { return Ok(UpstreamTransport::Plain) };
    let any = transport_socket_config(socket.config_type);
    if any.as_ref().is_some_and(holds::<RawBuffer>) {
        return Ok(UpstreamTransport::Plain);
    }
    let context: UpstreamTlsContext = expect(&socket.name, any.as_ref())?;
    let common = context.common_tls_context.unwrap_or_default();
    Ok(UpstreamTransport::Tls(UpstreamTls {
        certificate: certificate(&common)?,
        validation: validation(common.validation_context_type)?,
        sni: context.sni,
        alpn: common.alpn_protocols,
    }))
}

fn certificate(common: &CommonTlsContext) -> Result<Option<Certificate>, Reason> {
    match (common.tls_certificates.as_slice(), common.tls_certificate_sds_secret_configs.as_slice()) {
        ([], []) => Ok(None),
        ([files], []) => Ok(Some(Certificate::Files {
            chain: file("tls_certificates.certificate_chain", files.certificate_chain.as_ref())?,
            key: file("tls_certificates.private_key", files.private_key.as_ref())?,
        })),
        ([], [secret]) => Ok(Some(Certificate::Sds { name: secret_name(secret)? })),
        (files, secrets) => Err(Reason::Unsupported {
            field: "common_tls_context",
            value: format!("{} certificates", files.len() + secrets.len()),
        }),
    }
}

fn validation(context: Option<ValidationContextType>) -> Result<Option<Validation>, Reason> {
    Ok(match context {
        None => None,
        Some(ValidationContextType::ValidationContext(context)) => {
            let trust = trust(&context)?;
            Some(Validation {
                trust,
                subject_alternative_names: names(context.match_typed_subject_alt_names)?,
            })
        }
        Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => Some(Validation {
            trust: Trust::Sds { name: secret_name(&secret)? },
            subject_alternative_names: Vec::new(),
        }),
        Some(ValidationContextType::CombinedValidationContext(combined)) => {
            let secret = combined
                .validation_context_sds_secret_config
                .ok_or(Reason::Missing("combined_validation_context.validation_context_sds_secret_config"))?;
            let default = combined.default_validation_context.unwrap_or_default();
            Some(Validation {
                trust: Trust::Sds { name: secret_name(&secret)? },
                subject_alternative_names: names(default.match_typed_subject_alt_names)?,
            })
        }
    })
}

fn trust(context: &CertificateValidationContext) -> Result<Trust, Reason> {
    let accept = context.trust_chain_verification == i32::from(TrustChainVerification::AcceptUntrusted);
    match &context.trusted_ca {
        None => Ok(Trust::AcceptAny),
        Some(_) if accept => Ok(Trust::AcceptAny),
        Some(source) => Ok(Trust::File { chain: file("validation_context.trusted_ca", Some(source))? }),
    }
}

fn names(matchers: Vec<SubjectAltNameMatcher>) -> Result<Vec<String>, Reason> {
    matchers
        .into_iter()
        .map(|matcher| match matcher.matcher.and_then(|matcher| matcher.match_pattern) {
            Some(MatchPattern::Exact(name)) => Ok(name),
            other => Err(Reason::Unsupported {
                field: "match_typed_subject_alt_names.matcher",
                value: format!("{other:?}"),
            }),
        })
        .collect()
}

fn secret_name(secret: &SdsSecretConfig) -> Result<String, Reason> {
    not_empty("sds_secret_config.name", secret.name.clone())
}

/// Keys and certificates are only taken by reference: nothing secret travels in a configuration.
fn file(field: &'static str, source: Option<&DataSource>) -> Result<String, Reason> {
    match source.and_then(|source| source.specifier.as_ref()) {
        None => Err(Reason::Missing(field)),
        Some(data_source::Specifier::Filename(path)) => not_empty(field, path.clone()),
        Some(_) => Err(Reason::Unsupported { field, value: "inline content".to_owned() }),
    }
}
