//! Ciphers and curves by the names that Envoy's configurations have for them.

use serde::Serialize;

/// What may be agreed on in a handshake, the preferred first; an empty list leaves the choice to the proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Suites {
    /// Of TLS 1.2: those of 1.3 are not for choosing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ciphers: Vec<Cipher>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub curves: Vec<Curve>,
}

impl Suites {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

macro_rules! named {
    ($(#[doc = $doc:literal])* $type:ident { $($variant:ident $name:literal),* $(,)? }) => {
        $(#[doc = $doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
        pub enum $type {
            $( #[serde(rename = $name)] $variant, )*
        }

        impl $type {
            /// All that are spoken.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            pub const fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// By its name; `None` of what is not spoken.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.name() == name)
            }
        }
    };
}

named! {
    /// A cipher suite of TLS 1.2: with forward secrecy and an authenticated cipher, all others are out of date.
    Cipher {
        EcdsaAes128Gcm "ECDHE-ECDSA-AES128-GCM-SHA256",
        RsaAes128Gcm "ECDHE-RSA-AES128-GCM-SHA256",
        EcdsaAes256Gcm "ECDHE-ECDSA-AES256-GCM-SHA384",
        RsaAes256Gcm "ECDHE-RSA-AES256-GCM-SHA384",
        EcdsaChaCha20 "ECDHE-ECDSA-CHACHA20-POLY1305",
        RsaChaCha20 "ECDHE-RSA-CHACHA20-POLY1305",
    }
}

named! {
    /// A group in which keys are agreed on.
    Curve {
        X25519 "X25519",
        P256 "P-256",
        P384 "P-384",
        X25519MlKem768 "X25519MLKEM768",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_names_one() {
        for cipher in Cipher::ALL {
            assert_eq!(Cipher::named(cipher.name()), Some(*cipher));
        }
        for curve in Curve::ALL {
            assert_eq!(Curve::named(curve.name()), Some(*curve));
        }
        assert_eq!((Cipher::named("AES128-SHA"), Curve::named("P-521")), (None, None));
    }
}
