//! What is about TLS.

use super::*;

directives! {
    /// mod_openssl and its siblings.
    ssl: Ssl {
        /// Whether the socket speaks TLS.
        engine: bool = false, "ssl.engine" Socket boolean;
        /// The chain, perhaps with the key.
        pemfile: Option<Text> = None, "ssl.pemfile" Connection optional_text;
        /// The key.
        privkey: Option<Text> = None, "ssl.privkey" Connection optional_text;
        /// Intermediate certificates, or the authorities of clients.
        ca_file: Option<Text> = None, "ssl.ca-file" Connection optional_text;
        /// The authorities that are named to clients.
        ca_dn_file: Option<Text> = None, "ssl.ca-dn-file" Connection optional_text;
        /// Revoked clients.
        ca_crl_file: Option<Text> = None, "ssl.ca-crl-file" Connection optional_text;
        /// Ciphers in OpenSSL's words; of no consequence here: all that are spoken have forward secrecy and authenticate.
        cipher_list: Option<Text> = None, "ssl.cipher-list" Socket server::ciphers;
        /// Whether TLS 1.2 is not spoken unless `MinProtocol` says so.
        only_1_3: bool = false;
        /// OpenSSL's configuration commands: `MinProtocol`, `MaxProtocol`, `CipherString`, `Ciphersuites`, `Curves`, `Options`, ….
        openssl_ssl_conf_cmd: Named<Text> = named_empty(), "ssl.openssl.ssl-conf-cmd" Socket named_texts;
        /// Where challenge certificates are.
        acme_tls_1: Option<Text> = None, "ssl.acme-tls-1" Connection optional_text;
        /// Of no consequence here.
        read_ahead: bool = false, "ssl.read-ahead" Connection boolean;
        /// Of no consequence here: clients never renegotiate.
        disable_client_renegotiation: bool = true, "ssl.disable-client-renegotiation" Connection boolean;
        /// The authority's word that the certificate is good, in DER.
        stapling_file: Option<Text> = None, "ssl.stapling-file" Connection optional_text;
        /// Keys of session tickets.
        stek_file: Option<Text> = None, "ssl.stek-file" Server optional_text;
        /// Whether clients are asked for a certificate.
        verifyclient_activate: bool = false, "ssl.verifyclient.activate" Connection boolean;
        /// Revoked clients.
        verifyclient_ca_crl_file: Option<Text> = None, "ssl.verifyclient.ca-crl-file" Connection optional_text;
        /// The authorities that are named to clients.
        verifyclient_ca_dn_file: Option<Text> = None, "ssl.verifyclient.ca-dn-file" Connection optional_text;
        /// The authorities that clients are held to.
        verifyclient_ca_file: Option<Text> = None, "ssl.verifyclient.ca-file" Connection optional_text;
        /// How long a chain may be.
        verifyclient_depth: u16 = 9, "ssl.verifyclient.depth" Connection short;
        /// Whether a client without a certificate is refused.
        verifyclient_enforce: bool = true, "ssl.verifyclient.enforce" Connection boolean;
        /// Whether backends are shown the certificate.
        verifyclient_exportcert: bool = false, "ssl.verifyclient.exportcert" Connection boolean;
        /// The part of its name that becomes `REMOTE_USER`.
        verifyclient_username: Option<Text> = None, "ssl.verifyclient.username" Connection optional_text;
    }
}
