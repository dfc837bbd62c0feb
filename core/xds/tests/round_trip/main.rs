//! Whatever can be said in traffic's types arrives as it was sent: `decode(encode(x)) == x`.

mod clusters;
mod fields;
mod filters;
mod leaves;
mod listeners;
mod routes;
mod tracing;

use proptest::prelude::*;
use selvedge_traffic::Resource;
use selvedge_xds::secret::Secret;
use selvedge_xds::{decode, encode};

fn check(resource: &Resource) -> Result<(), TestCaseError> {
    let encoded = encode(resource);
    prop_assert_eq!(encoded.name.as_ref(), resource.name());
    let back = decode(encoded.kind, &encoded.value)
        .map_err(|rejection| TestCaseError::fail(rejection.to_string()))?;
    prop_assert_eq!(&back, resource);
    prop_assert_eq!(encode(&back), encoded, "equal content has an equal version");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_cluster_survives_the_wire(cluster in clusters::cluster()) {
        check(&Resource::Cluster(cluster))?;
    }

    #[test]
    fn endpoints_survive_the_wire(assignment in clusters::assignment()) {
        check(&Resource::Endpoints(assignment))?;
    }

    #[test]
    fn a_listener_survives_the_wire(listener in listeners::listener()) {
        check(&Resource::Listener(listener))?;
    }

    #[test]
    fn a_route_table_survives_the_wire(table in routes::table()) {
        check(&Resource::Routes(table))?;
    }

    #[test]
    fn a_secret_survives_the_wire(secret in leaves::secret_content()) {
        let back = Secret::decode(&secret.encode()).map_err(|reason| TestCaseError::fail(reason.to_string()))?;
        prop_assert_eq!(&back, &secret);
        prop_assert!(!format!("{secret:?}").contains("key"), "nothing of a secret is printed");
    }

    #[test]
    fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Secret::decode(&bytes);
        for kind in selvedge_traffic::ResourceKind::ALL {
            // The answer does not matter, only that there is one.
            let _ = decode(kind, &bytes);
        }
    }

    #[test]
    fn a_damaged_message_never_panics(listener in listeners::listener(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let encoded = encode(&Resource::Listener(listener));
        let mut bytes = encoded.value.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = decode(encoded.kind, &bytes);
    }
}
