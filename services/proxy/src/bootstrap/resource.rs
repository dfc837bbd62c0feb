//! The name of the resource that a proxy stands for.

use selvedge_telemetry::Dimensions;
use serde_json::{Value, json};
use thiserror::Error;

/// `mesh/<mesh>/<kind>/<name>`, as given by itself or within an ARN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourceName {
    /// As it was given: the proxy's identity towards the control plane.
    pub given: String,
    pub mesh: String,
    pub kind: ResourceKind,
    pub name: String,
}

/// What a proxy can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceKind {
    VirtualNode,
    VirtualGateway,
}

/// A name that is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is neither mesh/<mesh>/virtualNode/<name>, mesh/<mesh>/virtualGateway/<name>, nor the ARN of one"
)]
pub struct ResourceNameInvalid(pub String);

impl ResourceName {
    /// Whether others call it, so that its proxies are instances of a cluster.
    pub(crate) fn has_instances(&self) -> bool {
        self.kind == ResourceKind::VirtualNode
    }

    /// Reads an ARN (`arn:<partition>:appmesh:<region>:<account>:mesh/…`) or what follows its last colon.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(given: &str) -> Result<Self, ResourceNameInvalid> {
        let invalid = || ResourceNameInvalid(given.to_owned());
        let path =
            if given.starts_with("arn:") { given.splitn(6, ':').nth(5).ok_or_else(invalid)? } else { given };
        let parts: Vec<&str> = path.split('/').collect();
        // A mesh that another account shares is named `<mesh>@<owner>`.
        let ["mesh", mesh, kind, name] = parts[..] else { return Err(invalid()) };
        let kind = match kind {
            "virtualNode" => ResourceKind::VirtualNode,
            "virtualGateway" => ResourceKind::VirtualGateway,
            _ => return Err(invalid()),
        };
        if mesh.is_empty() || name.is_empty() {
            return Err(invalid());
        }
        Ok(Self { given: given.to_owned(), mesh: mesh.to_owned(), kind, name: name.to_owned() })
    }

    /// `mesh/<mesh>/<kind>/<name>`
    pub fn path(&self) -> String {
        let kind = match self.kind {
            ResourceKind::VirtualNode => "virtualNode",
            ResourceKind::VirtualGateway => "virtualGateway",
        };
        format!("mesh/{}/{kind}/{}", self.mesh, self.name)
    }

    /// How the metrics of App Mesh's own Envoy build are told apart.
    pub(super) fn dimensions(&self) -> Dimensions {
        let kind = match self.kind {
            ResourceKind::VirtualNode => "VirtualNode",
            ResourceKind::VirtualGateway => "VirtualGateway",
        };
        Dimensions {
            identity: vec![("Mesh", self.mesh.clone()), (kind, self.name.clone())],
            target_node: "TargetVirtualNode",
            target_service: "TargetVirtualService",
            target_prefix: format!("cds_egress_{}_", self.mesh),
        }
    }

    /// `<mesh>/<name>`
    pub(super) fn short(&self) -> String {
        format!("{}/{}", self.mesh, self.name)
    }

    /// What App Mesh's X-Ray segments say of the proxy.
    pub(super) fn in_segments(&self) -> Value {
        let kind = match self.kind {
            ResourceKind::VirtualNode => "virtual_node_name",
            ResourceKind::VirtualGateway => "virtual_gateway_name",
        };
        json!({ "mesh_name": self.mesh, kind: self.name })
    }

    /// The tags that App Mesh's image puts on every statistic.
    pub(super) fn tags(&self) -> Vec<(String, String)> {
        let kind = match self.kind {
            ResourceKind::VirtualNode => "appmesh.virtual_node",
            ResourceKind::VirtualGateway => "appmesh.virtual_gateway",
        };
        vec![("appmesh.mesh".to_owned(), self.mesh.clone()), (kind.to_owned(), self.name.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_and_paths_name_the_same() {
        for given in [
            "mesh/m/virtualNode/n",
            "arn:aws:appmesh:eu-west-1:123456789012:mesh/m/virtualNode/n",
            "arn:aws-cn:appmesh:cn-north-1:123456789012:mesh/m/virtualNode/n",
        ] {
            let name = ResourceName::parse(given).expect(given);
            assert_eq!((name.path().as_str(), name.given.as_str()), ("mesh/m/virtualNode/n", given));
        }
        let gateway = ResourceName::parse("mesh/m@111122223333/virtualGateway/g").expect("a gateway");
        assert_eq!(gateway.kind, ResourceKind::VirtualGateway);
        assert_eq!(gateway.mesh, "m@111122223333");
    }

    #[test]
    fn other_forms_are_refused() {
        for given in [
            "",
            "n",
            "mesh/m",
            "mesh/m/virtualRouter/r",
            "mesh//virtualNode/n",
            "mesh/m/virtualNode/",
            "arn:aws",
            "mesh/m/virtualNode/n/x",
        ] {
            assert!(ResourceName::parse(given).is_err(), "{given}");
        }
    }
}
