//! The seven kinds of resource.

use std::fmt;

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    Mesh,
    VirtualNode,
    VirtualService,
    VirtualRouter,
    Route,
    VirtualGateway,
    GatewayRoute,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Mesh,
        Self::VirtualNode,
        Self::VirtualService,
        Self::VirtualRouter,
        Self::Route,
        Self::VirtualGateway,
        Self::GatewayRoute,
    ];

    /// The name in messages and operations: `VirtualNode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::VirtualNode => "VirtualNode",
            Self::VirtualService => "VirtualService",
            Self::VirtualRouter => "VirtualRouter",
            Self::Route => "Route",
            Self::VirtualGateway => "VirtualGateway",
            Self::GatewayRoute => "GatewayRoute",
        }
    }

    /// The plural in messages: `VirtualNodes`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Mesh => "Meshes",
            Self::VirtualNode => "VirtualNodes",
            Self::VirtualService => "VirtualServices",
            Self::VirtualRouter => "VirtualRouters",
            Self::Route => "Routes",
            Self::VirtualGateway => "VirtualGateways",
            Self::GatewayRoute => "GatewayRoutes",
        }
    }

    /// The segment of an ARN: `virtualNode`.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Mesh => "mesh",
            Self::VirtualNode => "virtualNode",
            Self::VirtualService => "virtualService",
            Self::VirtualRouter => "virtualRouter",
            Self::Route => "route",
            Self::VirtualGateway => "virtualGateway",
            Self::GatewayRoute => "gatewayRoute",
        }
    }

    /// The member that carries its name: `virtualNodeName`.
    pub const fn name_member(self) -> &'static str {
        match self {
            Self::Mesh => "meshName",
            Self::VirtualNode => "virtualNodeName",
            Self::VirtualService => "virtualServiceName",
            Self::VirtualRouter => "virtualRouterName",
            Self::Route => "routeName",
            Self::VirtualGateway => "virtualGatewayName",
            Self::GatewayRoute => "gatewayRouteName",
        }
    }

    /// The kind that it lives under besides its mesh: a route's router, a gateway route's gateway.
    pub const fn parent(self) -> Option<Self> {
        match self {
            Self::Route => Some(Self::VirtualRouter),
            Self::GatewayRoute => Some(Self::VirtualGateway),
            _ => None,
        }
    }

    /// The kind of that ARN segment.
    pub fn from_segment(segment: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.segment() == segment)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
