//! Who may pass an edge, how often, and when its certificates are renewed: the decisions, without a socket.
//!
//! - Who: sign-in by OpenID Connect ([`sign_in`]), bearer tokens ([`bearer`]), another service's word ([`forward`]); what is
//!   known of a caller is an [`Identity`], which rules on its [`claims`] admit or refuse.
//! - How often: [`rate`], by a [`client`]'s key; and which nonces of digest sign-in have been used: [`nonce`].
//! - What may be called on somebody's word: [`address`], and for an edge [`reach`].
//! - When a certificate is renewed, and tried again: [`renewal`].
//!
//! Time is an argument, in seconds since 1970 or as time since the process began; so is every random byte.

pub mod address;
pub mod bearer;
pub mod call;
pub mod claims;
pub mod client;
pub mod cookie;
pub mod form;
pub mod forward;
pub mod identity;
pub mod nonce;
pub mod rate;
pub mod reach;
pub mod renewal;
pub mod seal;
pub mod sign_in;

pub use identity::Identity;
