//! App Mesh's 38 operations.
//!
//! Create is PUT on a collection, update PUT on an item. The paths of routes and gateway routes say `virtualRouter` and
//! `virtualGateway` in the singular. (App Mesh service model 2019-01-25.)

use selvedge_model::{
    ACCOUNT_ID, Bounds, Form, GatewayRouteSpec, Member, MeshSpec, Presence, RESOURCE_NAME, RouteSpec,
    SERVICE_NAME, Shape, Shaped, Tag, VirtualGatewaySpec, VirtualNodeSpec, VirtualRouterSpec,
    VirtualServiceSpec,
};

use crate::error::ErrorShape;
use crate::operations::{Operation, Pagination};
use crate::service::Service;

/// App Mesh.
pub static SERVICE: Service = Service {
    name: "appmesh",
    aliases: &["appmesh-preview"],
    target_prefix: "AppMesh_20190125",
    version: "2019-01-25",
    is_rest: true,
    operations: OPERATIONS,
    bad_request: BAD_REQUEST,
    internal: INTERNAL_SERVER_ERROR,
};

pub const BAD_REQUEST: ErrorShape = ErrorShape { code: "BadRequestException", status: 400 };
pub const CONFLICT: ErrorShape = ErrorShape { code: "ConflictException", status: 409 };
pub const FORBIDDEN: ErrorShape = ErrorShape { code: "ForbiddenException", status: 403 };
pub const INTERNAL_SERVER_ERROR: ErrorShape =
    ErrorShape { code: "InternalServerErrorException", status: 500 };
pub const LIMIT_EXCEEDED: ErrorShape = ErrorShape { code: "LimitExceededException", status: 400 };
pub const NOT_FOUND: ErrorShape = ErrorShape { code: "NotFoundException", status: 404 };
pub const RESOURCE_IN_USE: ErrorShape = ErrorShape { code: "ResourceInUseException", status: 409 };
pub const SERVICE_UNAVAILABLE: ErrorShape = ErrorShape { code: "ServiceUnavailableException", status: 503 };
pub const TOO_MANY_REQUESTS: ErrorShape = ErrorShape { code: "TooManyRequestsException", status: 429 };
pub const TOO_MANY_TAGS: ErrorShape = ErrorShape { code: "TooManyTagsException", status: 400 };

/// Elements of a page when the caller names no limit, and at most.
pub const PAGE_MAX: usize = 100;
/// Tags of a page when the caller names no limit, and at most.
pub const TAGS_PAGE_MAX: usize = 50;

const READ: &[ErrorShape] =
    &[BAD_REQUEST, FORBIDDEN, INTERNAL_SERVER_ERROR, NOT_FOUND, SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS];
const WRITE: &[ErrorShape] = &[
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    LIMIT_EXCEEDED,
    NOT_FOUND,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
];
const WRITE_WITHOUT_QUOTA: &[ErrorShape] = &[
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    NOT_FOUND,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
];
const DELETE: &[ErrorShape] = &[
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    NOT_FOUND,
    RESOURCE_IN_USE,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
];
const TAG: &[ErrorShape] = &[
    BAD_REQUEST,
    FORBIDDEN,
    INTERNAL_SERVER_ERROR,
    NOT_FOUND,
    SERVICE_UNAVAILABLE,
    TOO_MANY_REQUESTS,
    TOO_MANY_TAGS,
];

const ARN: Shape = Shape::string("Arn");
const LIMIT: Shape = Shape::integer("ListLimit", Bounds::between(1, 100));
const TAGS_LIMIT: Shape = Shape::integer("TagsLimit", Bounds::between(1, 50));
const LONG: Shape = Shape::long("Long", Bounds::OPEN);
const TAG_LIST: Shape = Shape::list("TagList", Tag::SHAPE, Bounds::between(0, 50));
const TAG_KEY_LIST: Shape = Shape::list("TagKeyList", Tag::KEY, Bounds::between(0, 50));
const TIMESTAMP: Shape = Shape { name: "Timestamp", form: Form::Timestamp };

const CLIENT_TOKEN: Member =
    optional("clientToken", String::SHAPE, "Identifies the request, so that it can be repeated.");
const MESH_OWNER: Member =
    optional("meshOwner", &ACCOUNT_ID, "The account that owns the mesh, if it is shared.");
const NEXT_TOKEN: Member = optional("nextToken", String::SHAPE, "Where the page before ended.");
const TAGS: Member = optional("tags", &TAG_LIST, "Labels for the resource.");

const RESOURCE_METADATA: Shape = structure(
    "ResourceMetadata",
    &[
        required("arn", &ARN, "The full ARN."),
        required("createdAt", &TIMESTAMP, "When it was created."),
        required("lastUpdatedAt", &TIMESTAMP, "When it was last updated."),
        required("meshOwner", &ACCOUNT_ID, "The account that owns the mesh."),
        required("resourceOwner", &ACCOUNT_ID, "The account that owns the resource."),
        required("uid", String::SHAPE, "Its unique identifier."),
        required("version", &LONG, "How often it was written."),
    ],
);

const STATUS: Shape = structure(
    "Status",
    &[required(
        "status",
        &Shape::enumeration("StatusCode", &["ACTIVE", "INACTIVE", "DELETED"]),
        "Its condition.",
    )],
);

/// The model does not require the member in a mesh's status, alone of all.
const MESH_STATUS: Shape = structure(
    "MeshStatus",
    &[optional(
        "status",
        &Shape::enumeration("MeshStatusCode", &["ACTIVE", "INACTIVE", "DELETED"]),
        "Its condition.",
    )],
);

const fn required(name: &'static str, shape: &'static Shape, doc: &'static str) -> Member {
    Member { name, presence: Presence::Required, shape, doc }
}

const fn optional(name: &'static str, shape: &'static Shape, doc: &'static str) -> Member {
    Member { name, presence: Presence::Optional, shape, doc }
}

const fn structure(name: &'static str, members: &'static [Member]) -> Shape {
    Shape { name, form: Form::Structure { members } }
}

/// The five operations of one kind of resource. `parents` name what it lives under; `owner` and `describe_owner` hold
/// [`MESH_OWNER`] where an operation takes one.
macro_rules! noun {
    (
        $module:ident: $noun:literal / $nouns:literal, $command:literal / $commands:literal,
        wrapper $wrapper:literal / $list:literal, path $path:literal,
        name $name:literal: $name_shape:expr, spec $presence:ident $spec:ty, status $status:ident,
        parents [$($parent:literal),*], owner [$($owner:ident $owner_query:literal)?],
        describe_owner [$($describe_owner:ident)?], update_errors $update_errors:ident
    ) => {
        mod $module {
            use super::*;

            const NAME: Member = required($name, $name_shape, "The resource's name.");
            const SPEC: Member = $presence("spec", <$spec as Shaped>::SHAPE, "The specification.");
            const DATA: Shape = structure(concat!($noun, "Data"), &[
                $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                NAME,
                required("metadata", &RESOURCE_METADATA, "What the mesh keeps about it."),
                required("spec", <$spec as Shaped>::SHAPE, "The specification, as sent."),
                required("status", &$status, "Its condition."),
            ]);
            const REFERENCE: Shape = structure(concat!($noun, "Ref"), &[
                $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                NAME,
                required("arn", &ARN, "The full ARN."),
                required("createdAt", &TIMESTAMP, "When it was created."),
                required("lastUpdatedAt", &TIMESTAMP, "When it was last updated."),
                required("meshOwner", &ACCOUNT_ID, "The account that owns the mesh."),
                required("resourceOwner", &ACCOUNT_ID, "The account that owns the resource."),
                required("version", &LONG, "How often it was written."),
            ]);
            const OUTPUT: Shape = structure(concat!($noun, "Output"), &[required($wrapper, &DATA, "The resource.")]);

            const BASE: Operation = Operation {
                name: "",
                command: "",
                method: "PUT",
                path: concat!("/v20190125", $path, "/{", $name, "}"),
                query: &[$($owner_query)?],
                input: &OUTPUT,
                output: &OUTPUT,
                payload: Some($wrapper),
                idempotency_token: None,
                errors: READ,
                pagination: None,
            };

            pub(super) const CREATE: Operation = Operation {
                name: concat!("Create", $noun),
                command: concat!("create-", $command),
                path: concat!("/v20190125", $path),
                input: &structure(concat!("Create", $noun, "Input"), &[
                    $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                    NAME, SPEC, CLIENT_TOKEN, $( $owner, )? TAGS,
                ]),
                idempotency_token: Some("clientToken"),
                errors: WRITE,
                ..BASE
            };
            pub(super) const UPDATE: Operation = Operation {
                name: concat!("Update", $noun),
                command: concat!("update-", $command),
                input: &structure(concat!("Update", $noun, "Input"), &[
                    $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                    NAME, SPEC, CLIENT_TOKEN, $( $owner, )?
                ]),
                idempotency_token: Some("clientToken"),
                errors: $update_errors,
                ..BASE
            };
            pub(super) const DESCRIBE: Operation = Operation {
                name: concat!("Describe", $noun),
                command: concat!("describe-", $command),
                method: "GET",
                query: &["meshOwner"],
                input: &structure(concat!("Describe", $noun, "Input"), &[
                    $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                    NAME, $( $describe_owner, )?
                ]),
                ..BASE
            };
            pub(super) const DELETE_: Operation = Operation {
                name: concat!("Delete", $noun),
                command: concat!("delete-", $command),
                method: "DELETE",
                input: &structure(concat!("Delete", $noun, "Input"), &[
                    $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                    NAME, $( $owner, )?
                ]),
                errors: DELETE,
                ..BASE
            };
            pub(super) const LIST: Operation = Operation {
                name: concat!("List", $nouns),
                command: concat!("list-", $commands),
                method: "GET",
                path: concat!("/v20190125", $path),
                query: &["limit", "nextToken", $($owner_query)?],
                input: &structure(concat!("List", $nouns, "Input"), &[
                    $( required($parent, &RESOURCE_NAME, "What it lives under."), )*
                    optional("limit", &LIMIT, "Elements of a page, 1 to 100."),
                    NEXT_TOKEN, $( $owner, )?
                ]),
                output: &structure(concat!("List", $nouns, "Output"), &[
                    required($list, &Shape::list(concat!($noun, "List"), &REFERENCE, Bounds::OPEN), "The page."),
                    NEXT_TOKEN,
                ]),
                payload: None,
                pagination: Some(pages("limit", $list)),
                ..BASE
            };
        }
    };
}

const fn pages(limit: &'static str, result: &'static str) -> Pagination {
    Pagination { input_token: "nextToken", output_token: "nextToken", limit, result }
}

noun! {
    mesh: "Mesh" / "Meshes", "mesh" / "meshes", wrapper "mesh" / "meshes", path "/meshes",
    name "meshName": &RESOURCE_NAME, spec optional MeshSpec, status MESH_STATUS,
    parents [], owner [], describe_owner [MESH_OWNER], update_errors WRITE_WITHOUT_QUOTA
}

noun! {
    virtual_node: "VirtualNode" / "VirtualNodes", "virtual-node" / "virtual-nodes",
    wrapper "virtualNode" / "virtualNodes", path "/meshes/{meshName}/virtualNodes",
    name "virtualNodeName": &RESOURCE_NAME, spec required VirtualNodeSpec, status STATUS,
    parents ["meshName"], owner [MESH_OWNER "meshOwner"], describe_owner [MESH_OWNER], update_errors WRITE
}

noun! {
    virtual_service: "VirtualService" / "VirtualServices", "virtual-service" / "virtual-services",
    wrapper "virtualService" / "virtualServices", path "/meshes/{meshName}/virtualServices",
    name "virtualServiceName": &SERVICE_NAME, spec required VirtualServiceSpec, status STATUS,
    parents ["meshName"], owner [MESH_OWNER "meshOwner"], describe_owner [MESH_OWNER], update_errors WRITE
}

noun! {
    virtual_router: "VirtualRouter" / "VirtualRouters", "virtual-router" / "virtual-routers",
    wrapper "virtualRouter" / "virtualRouters", path "/meshes/{meshName}/virtualRouters",
    name "virtualRouterName": &RESOURCE_NAME, spec required VirtualRouterSpec, status STATUS,
    parents ["meshName"], owner [MESH_OWNER "meshOwner"], describe_owner [MESH_OWNER], update_errors WRITE
}

noun! {
    route: "Route" / "Routes", "route" / "routes",
    wrapper "route" / "routes", path "/meshes/{meshName}/virtualRouter/{virtualRouterName}/routes",
    name "routeName": &RESOURCE_NAME, spec required RouteSpec, status STATUS,
    parents ["meshName", "virtualRouterName"], owner [MESH_OWNER "meshOwner"], describe_owner [MESH_OWNER],
    update_errors WRITE
}

noun! {
    virtual_gateway: "VirtualGateway" / "VirtualGateways", "virtual-gateway" / "virtual-gateways",
    wrapper "virtualGateway" / "virtualGateways", path "/meshes/{meshName}/virtualGateways",
    name "virtualGatewayName": &RESOURCE_NAME, spec required VirtualGatewaySpec, status STATUS,
    parents ["meshName"], owner [MESH_OWNER "meshOwner"], describe_owner [MESH_OWNER], update_errors WRITE
}

noun! {
    gateway_route: "GatewayRoute" / "GatewayRoutes", "gateway-route" / "gateway-routes",
    wrapper "gatewayRoute" / "gatewayRoutes",
    path "/meshes/{meshName}/virtualGateway/{virtualGatewayName}/gatewayRoutes",
    name "gatewayRouteName": &RESOURCE_NAME, spec required GatewayRouteSpec, status STATUS,
    parents ["meshName", "virtualGatewayName"], owner [MESH_OWNER "meshOwner"], describe_owner [MESH_OWNER],
    update_errors WRITE
}

const RESOURCE_ARN: Member = required("resourceArn", &ARN, "The resource's ARN.");

const LIST_TAGS: Operation = Operation {
    name: "ListTagsForResource",
    command: "list-tags-for-resource",
    method: "GET",
    path: "/v20190125/tags",
    query: &["limit", "nextToken", "resourceArn"],
    input: &structure(
        "ListTagsForResourceInput",
        &[optional("limit", &TAGS_LIMIT, "Tags of a page, 1 to 50."), NEXT_TOKEN, RESOURCE_ARN],
    ),
    output: &structure("ListTagsForResourceOutput", &[NEXT_TOKEN, required("tags", &TAG_LIST, "The page.")]),
    payload: None,
    idempotency_token: None,
    errors: READ,
    pagination: Some(pages("limit", "tags")),
};

const TAG_RESOURCE: Operation = Operation {
    name: "TagResource",
    command: "tag-resource",
    method: "PUT",
    path: "/v20190125/tag",
    query: &["resourceArn"],
    input: &structure(
        "TagResourceInput",
        &[RESOURCE_ARN, required("tags", &TAG_LIST, "Labels to add or change.")],
    ),
    output: &structure("TagResourceOutput", &[]),
    payload: None,
    idempotency_token: None,
    errors: TAG,
    pagination: None,
};

const UNTAG_RESOURCE: Operation = Operation {
    name: "UntagResource",
    command: "untag-resource",
    method: "PUT",
    path: "/v20190125/untag",
    query: &["resourceArn"],
    input: &structure(
        "UntagResourceInput",
        &[RESOURCE_ARN, required("tagKeys", &TAG_KEY_LIST, "The keys of the labels to remove.")],
    ),
    output: &structure("UntagResourceOutput", &[]),
    payload: None,
    idempotency_token: None,
    errors: READ,
    pagination: None,
};

/// All of them, by kind.
static OPERATIONS: &[Operation] = &[
    mesh::CREATE,
    mesh::DELETE_,
    mesh::DESCRIBE,
    mesh::LIST,
    mesh::UPDATE,
    virtual_node::CREATE,
    virtual_node::DELETE_,
    virtual_node::DESCRIBE,
    virtual_node::LIST,
    virtual_node::UPDATE,
    virtual_service::CREATE,
    virtual_service::DELETE_,
    virtual_service::DESCRIBE,
    virtual_service::LIST,
    virtual_service::UPDATE,
    virtual_router::CREATE,
    virtual_router::DELETE_,
    virtual_router::DESCRIBE,
    virtual_router::LIST,
    virtual_router::UPDATE,
    route::CREATE,
    route::DELETE_,
    route::DESCRIBE,
    route::LIST,
    route::UPDATE,
    virtual_gateway::CREATE,
    virtual_gateway::DELETE_,
    virtual_gateway::DESCRIBE,
    virtual_gateway::LIST,
    virtual_gateway::UPDATE,
    gateway_route::CREATE,
    gateway_route::DELETE_,
    gateway_route::DESCRIBE,
    gateway_route::LIST,
    gateway_route::UPDATE,
    LIST_TAGS,
    TAG_RESOURCE,
    UNTAG_RESOURCE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::{Location, find};

    #[test]
    fn there_are_thirty_eight_operations_with_names_of_their_own() {
        let mut names: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 38);
    }

    #[test]
    fn every_member_of_a_path_or_query_is_a_member_of_the_input() {
        for operation in OPERATIONS {
            // DescribeMesh takes an owner, so every describe names one in its query.
            for member in operation.path_members().chain(operation.query.iter().copied()) {
                assert!(operation.input.member(member).is_some(), "{} {member}", operation.name);
            }
        }
    }

    #[test]
    fn members_travel_where_the_model_says() {
        let operation = find("create-route").expect("an operation of App Mesh");
        for (member, location) in [
            ("meshName", Location::Path),
            ("virtualRouterName", Location::Path),
            ("routeName", Location::Body),
            ("spec", Location::Body),
            ("meshOwner", Location::Query),
        ] {
            assert_eq!(operation.location(member), location, "{member}");
        }
    }
}
