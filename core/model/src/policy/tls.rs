//! What App Mesh's TLS cannot say: versions, protocols, pins, names by pattern, revocation.

use super::{Rules, Span, TextMatch};
use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, enumeration, structure};
use crate::violation::Violations;

const PROTOCOL: Shape = Shape::string_of("ApplicationProtocol", 1, 255);
const PROTOCOLS: Shape = Shape::list("ApplicationProtocols", &PROTOCOL, Bounds::between(0, 8));
const NAME: Shape = Shape::string_of("ServerName", 1, 253);
const FILE: Shape = Shape::string_of("FilePath", 1, 255);
const NAMES: Shape = Shape::list("PeerNames", PeerName::SHAPE, Bounds::between(0, 64));
const HASH: Shape = Shape::string_of("Hash", 40, 95);
const HASHES: Shape = Shape::list("Hashes", &HASH, Bounds::between(0, 16));

structure! {
    /// What the spec's own TLS cannot say. It refines what the spec sets up, and sets nothing up by itself.
    pub struct Tls {
        /// Where connections come in.
        optional listener "listener": ListenerTls,
        /// Towards the node, for its callers.
        optional callers "callers": CallerTls,
    }
}

structure! {
    /// Where connections come in.
    pub struct ListenerTls {
        /// The oldest version; 1.2 unless told otherwise.
        optional min_version "minVersion": TlsVersion,
        /// The newest version; 1.3 unless told otherwise.
        optional max_version "maxVersion": TlsVersion,
        /// The ciphers of 1.2 that may be agreed on, the preferred first; all unless told otherwise.
        many ciphers "ciphers": TlsCipher,
        /// The groups in which keys may be agreed on, the preferred first; all unless told otherwise.
        many curves "curves": TlsCurve,
        /// The protocols that are offered by ALPN, in place of the listener's own.
        many alpn "alpn": String => &PROTOCOLS,
        /// Clients that name no server are refused.
        optional require_sni "requireSni": bool,
        /// Clients get no tickets: every handshake is a whole one.
        optional without_tickets "withoutTickets": bool,
        /// The handshake must be over within this.
        optional handshake_timeout "handshakeTimeout": Span,
        /// What clients' certificates must be, where the spec asks for one.
        optional peer "peer": PeerTls,
    }
}

structure! {
    /// Towards the node, for its callers.
    pub struct CallerTls {
        /// The oldest version; 1.2 unless told otherwise.
        optional min_version "minVersion": TlsVersion,
        /// The newest version; 1.2 unless told otherwise, as Envoy has it.
        optional max_version "maxVersion": TlsVersion,
        /// The ciphers of 1.2 that may be agreed on, the preferred first; all unless told otherwise.
        many ciphers "ciphers": TlsCipher,
        /// The groups in which keys may be agreed on, the preferred first; all unless told otherwise.
        many curves "curves": TlsCurve,
        /// The protocols that are offered by ALPN, in place of the listener's own.
        many alpn "alpn": String => &PROTOCOLS,
        /// The server's name that is asked for, in place of the discovered one.
        optional sni "sni": String => &NAME,
        /// What the node's certificate must be, where the caller verifies it.
        optional peer "peer": PeerTls,
    }
}

structure! {
    /// What a certificate must be, besides signed by an authority of the spec's.
    pub struct PeerTls {
        /// Names of which one must be among its own, in place of the spec's.
        many names "names": PeerName => &NAMES,
        /// SHA-256 of the certificate, hexadecimal; one of them.
        many certificate_hashes "certificateHashes": String => &HASHES,
        /// SHA-256 of its public key, base64; one of them.
        many key_hashes "keyHashes": String => &HASHES,
        /// Revocation lists, a file in PEM where the proxy runs.
        optional crl_file "crlFile": String => &FILE,
        /// Only the leaf must be covered by a list.
        optional crl_of_leaf_only "crlOfLeafOnly": bool,
    }
}

structure! {
    /// A name in a certificate.
    pub struct PeerName {
        /// What sort of name.
        required kind "type": PeerNameKind,
        /// What it must be.
        required matches "match": TextMatch,
    }
}

enumeration! {
    /// A sort of name.
    pub enum PeerNameKind {
        Dns "dns",
        Uri "uri",
        Email "email",
        Ip "ip",
    }
}

enumeration! {
    /// A version of the protocol.
    pub enum TlsVersion {
        V12 "1.2",
        V13 "1.3",
    }
}

enumeration! {
    /// A cipher of TLS 1.2.
    pub enum TlsCipher {
        EcdsaAes128Gcm "ECDHE-ECDSA-AES128-GCM-SHA256",
        RsaAes128Gcm "ECDHE-RSA-AES128-GCM-SHA256",
        EcdsaAes256Gcm "ECDHE-ECDSA-AES256-GCM-SHA384",
        RsaAes256Gcm "ECDHE-RSA-AES256-GCM-SHA384",
        EcdsaChaCha20 "ECDHE-ECDSA-CHACHA20-POLY1305",
        RsaChaCha20 "ECDHE-RSA-CHACHA20-POLY1305",
    }
}

enumeration! {
    /// A group in which keys are agreed on.
    pub enum TlsCurve {
        X25519 "X25519",
        P256 "P-256",
        P384 "P-384",
        X25519MlKem768 "X25519MLKEM768",
    }
}

impl Rules for Tls {
    fn check(&self, found: &mut Violations) {
        if self.listener.is_none() && self.callers.is_none() {
            found.rule("spec", "it says nothing of listener or callers");
        }
        let mut side =
            |at: &str, min: Option<TlsVersion>, max: Option<TlsVersion>, peer: &Option<PeerTls>| {
                if min == Some(TlsVersion::V13) && max == Some(TlsVersion::V12) {
                    found.rule(format!("spec.{at}.minVersion"), "it must not be newer than maxVersion");
                }
                let Some(peer) = peer else { return };
                for (index, hash) in peer.certificate_hashes.iter().enumerate() {
                    let hex = hash.bytes().filter(|byte| *byte != b':');
                    if hex.clone().count() != 64 || !hex.clone().all(|byte| byte.is_ascii_hexdigit()) {
                        let text = "a SHA-256 has 64 hexadecimal digits";
                        found.rule(format!("spec.{at}.peer.certificateHashes[{index}]"), text);
                    }
                }
                for (index, hash) in peer.key_hashes.iter().enumerate() {
                    let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/".contains(&byte);
                    let ends = hash.strip_suffix('=').unwrap_or_default();
                    if ends.len() != 43 || !ends.bytes().all(is_base64) {
                        let text = "a SHA-256 in base64 has 43 characters and a =";
                        found.rule(format!("spec.{at}.peer.keyHashes[{index}]"), text);
                    }
                }
                if peer.crl_of_leaf_only == Some(true) && peer.crl_file.is_none() {
                    found.rule(format!("spec.{at}.peer.crlOfLeafOnly"), "there is no list: give crlFile");
                }
            };
        if let Some(one) = &self.listener {
            side("listener", one.min_version, one.max_version, &one.peer);
        }
        if let Some(one) = &self.callers {
            side("callers", one.min_version, one.max_version, &one.peer);
        }
    }
}
