//! Transport security.

use selvedge_traffic::tls::{
    Certificate, NameKind, NameMatch, Pem, SecretRef, Suites, Trust, TrustDomain, Validation, Version,
    Versions,
};
use selvedge_traffic::{Transport, UpstreamTransport};
use selvedge_xds_proto::envoy::config::core::v3::{
    DataSource, TransportSocket, TypedExtensionConfig, data_source, transport_socket,
};
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use selvedge_xds_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig,
    SpiffeCertValidatorConfig, SubjectAltNameMatcher, TlsCertificate, TlsParameters, UpstreamTlsContext,
    spiffe_cert_validator_config, tls_parameters,
};

use super::{source, text};
use crate::any::pack;

const SOCKET_NAME: &str = "envoy.transport_sockets.tls";
const SPIFFE_VALIDATOR: &str = "envoy.tls.cert_validator.spiffe";

pub(super) fn downstream(transport: &Transport) -> Option<TransportSocket> {
    let Transport::Tls(tls) = transport else { return None };
    let context = DownstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: parameters(tls.versions, &tls.suites),
            ..common(Some(&tls.certificate), tls.validation.as_ref(), &tls.alpn)
        }),
        require_client_certificate: tls.require_client_certificate.then_some(true),
        require_sni: tls.require_sni.then_some(true),
        disable_stateless_session_resumption: tls.without_tickets,
    };
    Some(TransportSocket {
        name: SOCKET_NAME.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&context))),
    })
}

pub(super) fn upstream(transport: &UpstreamTransport) -> Option<TransportSocket> {
    let UpstreamTransport::Tls(tls) = transport else { return None };
    let context = UpstreamTlsContext {
        common_tls_context: Some(CommonTlsContext {
            tls_params: parameters(tls.versions, &tls.suites),
            ..common(tls.certificate.as_ref(), tls.validation.as_ref(), &tls.alpn)
        }),
        sni: tls.sni.clone(),
        ..UpstreamTlsContext::default()
    };
    Some(TransportSocket {
        name: SOCKET_NAME.to_owned(),
        config_type: Some(transport_socket::ConfigType::TypedConfig(pack(&context))),
    })
}

fn parameters(versions: Versions, suites: &Suites) -> Option<TlsParameters> {
    let protocol = |version: Option<Version>| match version {
        None => tls_parameters::TlsProtocol::TlsAuto,
        Some(Version::Tls12) => tls_parameters::TlsProtocol::TlSv12,
        Some(Version::Tls13) => tls_parameters::TlsProtocol::TlSv13,
    };
    let is_default = versions == Versions::default() && suites.is_default();
    (!is_default).then(|| TlsParameters {
        tls_minimum_protocol_version: protocol(versions.min).into(),
        tls_maximum_protocol_version: protocol(versions.max).into(),
        cipher_suites: suites.ciphers.iter().map(|cipher| cipher.name().to_owned()).collect(),
        ecdh_curves: suites.curves.iter().map(|curve| curve.name().to_owned()).collect(),
        ..TlsParameters::default()
    })
}

fn common(
    certificate: Option<&Certificate>,
    validation: Option<&Validation>,
    alpn: &[String],
) -> CommonTlsContext {
    let mut context = CommonTlsContext { alpn_protocols: alpn.to_vec(), ..CommonTlsContext::default() };
    match certificate {
        Some(Certificate::Files { chain, key }) => context.tls_certificates.push(TlsCertificate {
            certificate_chain: Some(file(chain)),
            private_key: Some(file(key)),
            password: None,
        }),
        Some(Certificate::Sds(secret)) => {
            context.tls_certificate_sds_secret_configs.push(secret_config(secret))
        }
        None => {}
    }
    context.validation_context_type = validation.map(validation_context);
    context
}

fn validation_context(validation: &Validation) -> ValidationContextType {
    let context = whole(validation);
    match &validation.trust {
        Trust::Sds(secret) if context == CertificateValidationContext::default() => {
            ValidationContextType::ValidationContextSdsSecretConfig(secret_config(secret))
        }
        Trust::Sds(secret) => {
            ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
                default_validation_context: Some(context),
                validation_context_sds_secret_config: Some(secret_config(secret)),
            })
        }
        _ => ValidationContextType::ValidationContext(context),
    }
}

/// All but what a secret adds.
pub(crate) fn whole(validation: &Validation) -> CertificateValidationContext {
    let mut context = CertificateValidationContext {
        match_typed_subject_alt_names: validation.names.iter().map(name).collect(),
        verify_certificate_hash: validation.certificate_hashes.clone(),
        verify_certificate_spki: validation.spki_hashes.clone(),
        crl: validation.crl.as_ref().map(pem),
        only_verify_leaf_cert_crl: validation.crl_of_leaf_only,
        allow_expired_certificate: validation.allow_expired,
        ..CertificateValidationContext::default()
    };
    match &validation.trust {
        Trust::File { chain } => context.trusted_ca = Some(file(chain)),
        Trust::Inline(text) => context.trusted_ca = Some(inline(text.as_bytes().to_vec())),
        Trust::AcceptAny => context.trust_chain_verification = TrustChainVerification::AcceptUntrusted.into(),
        Trust::Spiffe(domains) => context.custom_validator_config = Some(spiffe(domains)),
        Trust::Unvouched | Trust::Sds(_) => {}
    }
    context
}

fn spiffe(domains: &[TrustDomain]) -> TypedExtensionConfig {
    let domain = |domain: &TrustDomain| spiffe_cert_validator_config::TrustDomain {
        name: domain.name.clone(),
        trust_bundle: Some(pem(&domain.bundle)),
    };
    let config = SpiffeCertValidatorConfig {
        trust_domains: domains.iter().map(domain).collect(),
        trust_bundles: None,
    };
    TypedExtensionConfig { name: SPIFFE_VALIDATOR.to_owned(), typed_config: Some(pack(&config)) }
}

fn name(name: &NameMatch) -> SubjectAltNameMatcher {
    let san_type = match name.kind {
        NameKind::Dns => SanType::Dns,
        NameKind::Uri => SanType::Uri,
        NameKind::Email => SanType::Email,
        NameKind::Ip => SanType::IpAddress,
    };
    SubjectAltNameMatcher { san_type: san_type.into(), matcher: Some(text::text(&name.text)) }
}

fn secret_config(secret: &SecretRef) -> SdsSecretConfig {
    SdsSecretConfig { name: secret.name.clone(), sds_config: Some(source::secrets(&secret.source)) }
}

pub(crate) fn pem(pem: &Pem) -> DataSource {
    match pem {
        Pem::File(path) => file(path),
        Pem::Inline(text) => inline(text.as_bytes().to_vec()),
    }
}

pub(crate) fn inline(content: Vec<u8>) -> DataSource {
    DataSource { specifier: Some(data_source::Specifier::InlineBytes(content.into())) }
}

pub(crate) fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(data_source::Specifier::Filename(path.to_owned())) }
}
