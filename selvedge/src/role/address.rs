//! Which addresses may be bound.

use std::net::SocketAddr;

use crate::exit::Failure;

/// The option that allows more than loopback.
pub(crate) const FLAG: &str = "--allow-unauthenticated-remote";

/// Refuses an address that other machines can reach, unless that was asked for.
///
/// # Errors
/// [`Failure::Usage`] with what binding there would mean.
pub(crate) fn check(address: SocketAddr, allow_remote: bool) -> Result<(), Failure> {
    if address.ip().is_loopback() || allow_remote {
        return Ok(());
    }
    Err(Failure::Usage(format!(
        "{address} can be reached from other machines, and requests are not authenticated: whoever reaches it can read and change \
         every mesh and connect as any node.\nListen on 127.0.0.1, or pass {FLAG} if the network itself keeps strangers out."
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_bound_without_being_asked() {
        for (address, allowed) in [
            ("127.0.0.1:7070", true),
            ("127.9.9.9:0", true),
            ("[::1]:7070", true),
            ("0.0.0.0:7070", false),
            ("[::]:7070", false),
            ("192.0.2.1:7070", false),
        ] {
            let address: SocketAddr = address.parse().expect(address);
            assert_eq!(check(address, false).is_ok(), allowed, "{address}");
            assert!(check(address, true).is_ok(), "{address}");
        }
    }
}
