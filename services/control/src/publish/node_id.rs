//! Node ids, as `APPMESH_RESOURCE_ARN` gives them.

use selvedge_model::{Arn, Key, Kind};

/// The resource behind a full ARN, or behind `mesh/M[@owner]/virtualNode/N` or `…/virtualGateway/N`.
pub(super) fn parse(id: &str) -> Option<Key> {
    let mut key = match id.parse::<Arn>() {
        Ok(arn) => arn.key,
        Err(_) => Arn::parse_key(id)?,
    };
    if let Some((mesh, _owner)) = key.mesh.split_once('@') {
        key.mesh = mesh.to_owned();
    }
    matches!(key.kind, Kind::VirtualNode | Kind::VirtualGateway).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_both_forms_name_nodes_and_gateways() {
        let node = |mesh: &str| Some(Key::in_mesh(mesh, Kind::VirtualNode, "n"));
        for (id, expected) in [
            ("mesh/m/virtualNode/n", node("m")),
            ("mesh/m@123456789012/virtualNode/n", node("m")),
            ("arn:aws:appmesh:us-east-1:123456789012:mesh/m/virtualNode/n", node("m")),
            ("arn:aws:appmesh:us-east-1:123456789012:mesh/m@210987654321/virtualNode/n", node("m")),
            ("mesh/m/virtualGateway/g", Some(Key::in_mesh("m", Kind::VirtualGateway, "g"))),
            ("mesh/m/virtualRouter/r", None),
            ("mesh/m", None),
            ("", None),
            ("sidecar~10.0.0.1~x", None),
        ] {
            assert_eq!(parse(id), expected, "{id}");
        }
    }
}
