//! What refines the encryption that specifications set up.

use selvedge_model::policy::{self, PeerName, PeerNameKind, PeerTls, TlsCipher, TlsCurve, TlsVersion};
use selvedge_traffic::matching::header::PatternInvalid;
use selvedge_traffic::tls::{
    Cipher, Curve, DownstreamTls, NameKind, NameMatch, Pem, Suites, Trust, UpstreamTls, Validation, Version,
    Versions,
};

use super::filters::text;

/// # Errors
/// When an expression cannot be used.
pub(super) fn check(spec: &policy::Tls) -> Result<(), PatternInvalid> {
    let peers = [
        spec.listener.as_ref().and_then(|side| side.peer.as_ref()),
        spec.callers.as_ref().and_then(|side| side.peer.as_ref()),
    ];
    peers
        .into_iter()
        .flatten()
        .flat_map(|peer| &peer.names)
        .try_for_each(|name| text(&name.matches).map(drop))
}

/// # Errors
/// As [`check`].
pub(super) fn listener(spec: &policy::ListenerTls, tls: &mut DownstreamTls) -> Result<(), PatternInvalid> {
    tls.versions = versions(spec.min_version, spec.max_version);
    tls.suites = suites(&spec.ciphers, &spec.curves);
    if !spec.alpn.is_empty() {
        tls.alpn.clone_from(&spec.alpn);
    }
    tls.require_sni = spec.require_sni.unwrap_or(false);
    tls.without_tickets = spec.without_tickets.unwrap_or(false);
    tls.handshake_timeout = spec.handshake_timeout.map(|span| span.0);
    refine(spec.peer.as_ref(), tls.validation.as_mut())
}

/// # Errors
/// As [`check`].
pub(super) fn callers(spec: &policy::CallerTls, tls: &mut UpstreamTls) -> Result<(), PatternInvalid> {
    tls.versions = versions(spec.min_version, spec.max_version);
    tls.suites = suites(&spec.ciphers, &spec.curves);
    if !spec.alpn.is_empty() {
        tls.alpn.clone_from(&spec.alpn);
    }
    if let Some(sni) = &spec.sni {
        tls.sni.clone_from(sni);
    }
    refine(spec.peer.as_ref(), tls.validation.as_mut())
}

fn versions(min: Option<TlsVersion>, max: Option<TlsVersion>) -> Versions {
    let version = |version| match version {
        TlsVersion::V12 => Version::Tls12,
        TlsVersion::V13 => Version::Tls13,
    };
    // A caller's newest is 1.2 unless told otherwise: one that must speak 1.3 is told.
    let max = max.or_else(|| min.filter(|min| *min == TlsVersion::V13));
    Versions { min: min.map(version), max: max.map(version) }
}

/// The words are Envoy's.
fn suites(ciphers: &[TlsCipher], curves: &[TlsCurve]) -> Suites {
    Suites {
        ciphers: ciphers.iter().filter_map(|cipher| Cipher::named(cipher.as_str())).collect(),
        curves: curves.iter().filter_map(|curve| Curve::named(curve.as_str())).collect(),
    }
}

fn refine(peer: Option<&PeerTls>, validation: Option<&mut Validation>) -> Result<(), PatternInvalid> {
    let (Some(peer), Some(validation)) = (peer, validation) else { return Ok(()) };
    // Who verifies nobody has nothing to refine: names without anybody who vouches for them are refused by proxies.
    if validation.trust == Trust::AcceptAny {
        return Ok(());
    }
    if !peer.names.is_empty() {
        validation.names = peer.names.iter().map(name).collect::<Result<_, _>>()?;
    }
    let plain = |hash: &String| hash.replace(':', "").to_ascii_lowercase();
    validation.certificate_hashes = peer.certificate_hashes.iter().map(plain).collect();
    validation.spki_hashes.clone_from(&peer.key_hashes);
    validation.crl = peer.crl_file.clone().map(Pem::File);
    validation.crl_of_leaf_only = peer.crl_of_leaf_only.unwrap_or(false);
    Ok(())
}

fn name(spec: &PeerName) -> Result<NameMatch, PatternInvalid> {
    let kind = match spec.kind {
        PeerNameKind::Dns => NameKind::Dns,
        PeerNameKind::Uri => NameKind::Uri,
        PeerNameKind::Email => NameKind::Email,
        PeerNameKind::Ip => NameKind::Ip,
    };
    Ok(NameMatch { kind, text: text(&spec.matches)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_for_a_cipher_or_a_curve_is_understood() {
        let suites = suites(TlsCipher::ALL, TlsCurve::ALL);
        assert_eq!(suites.ciphers, Cipher::ALL);
        assert_eq!(suites.curves, Curve::ALL);
    }
}
