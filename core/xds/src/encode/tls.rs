//! Transport security.

use selvedge_traffic::tls::{Certificate, Trust, Validation};
use selvedge_traffic::{Transport, UpstreamTransport};
use selvedge_xds_proto::envoy::config::core::v3::{
    DataSource, TransportSocket, data_source, transport_socket,
};
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SubjectAltNameMatcher, TlsCertificate, UpstreamTlsContext,
};
use selvedge_xds_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher};

use super::source;
use crate::any::pack;

const SOCKET_NAME: &str = "envoy.transport_sockets.tls";

pub(super) fn downstream(transport: &Transport) -> Option<TransportSocket> {
    let Transport::Tls(tls) = transport else { return None };
    let context = DownstreamTlsContext {
        common_tls_context: Some(common(Some(&tls.certificate), tls.validation.as_ref(), &tls.alpn)),
        require_client_certificate: tls.require_client_certificate.then_some(true),
    };
    Some(TransportSocket {
        name: SOCKET_NAME.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&context))),
    })
}

pub(super) fn upstream(transport: &UpstreamTransport) -> Option<TransportSocket> {
    let UpstreamTransport::Tls(tls) = transport else { return None };
    let context = UpstreamTlsContext {
        common_tls_context: Some(common(tls.certificate.as_ref(), tls.validation.as_ref(), &tls.alpn)),
        sni: tls.sni.clone(),
    };
    Some(TransportSocket {
        name: SOCKET_NAME.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&context))),
    })
}

fn common(
    certificate: Option<&Certificate>,
    validation: Option<&Validation>,
    alpn: &[String],
) -> CommonTlsContext {
    let mut context = CommonTlsContext { alpn_protocols: alpn.to_vec(), ..CommonTlsContext::default() };
    match certificate {
        Some(Certificate::Files { chain, key }) => context
            .tls_certificates
            .push(TlsCertificate { certificate_chain: Some(file(chain)), private_key: Some(file(key)) }),
        Some(Certificate::Sds { name }) => context.tls_certificate_sds_secret_configs.push(secret(name)),
        None => {}
    }
    context.validation_context_type = validation.map(validation_context);
    context
}

fn validation_context(validation: &Validation) -> ValidationContextType {
    let mut context = CertificateValidationContext {
        match_typed_subject_alt_names: validation
            .subject_alternative_names
            .iter()
            .map(|name| san(name))
            .collect(),
        ..CertificateValidationContext::default()
    };
    match &validation.trust {
        Trust::File { chain } => context.trusted_ca = Some(file(chain)),
        Trust::AcceptAny => context.trust_chain_verification = TrustChainVerification::AcceptUntrusted.into(),
        Trust::Sds { name } if validation.subject_alternative_names.is_empty() => {
            return ValidationContextType::ValidationContextSdsSecretConfig(secret(name));
        }
        Trust::Sds { name } => {
            return ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(context),
                validation_context_sds_secret_config: Some(secret(name)),
            });
        }
    }
    ValidationContextType::ValidationContext(context)
}

/// App Mesh names DNS names and SPIFFE URIs in one list.
fn san(name: &str) -> SubjectAltNameMatcher {
    let san_type = if name.contains("://") { SanType::Uri } else { SanType::Dns };
    SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(StringMatcher {
            match_pattern: Some(string_matcher::MatchPattern::Exact(name.to_owned())),
            ..StringMatcher::default()
        }),
    }
}

fn secret(name: &str) -> SdsSecretConfig {
    SdsSecretConfig { name: name.to_owned(), sds_config: Some(source::sds()) }
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(data_source::Specifier::Filename(path.to_owned())) }
}
