//! Meshes for the tests, made by the API.

use serde_json::{Value, json};

use crate::control::Control;

/// The resources of [`create`] that have a proxy.
pub(crate) const PROXIES: [&str; 5] = [
    "mesh/all/virtualNode/caller",
    "mesh/all/virtualNode/web",
    "mesh/all/virtualNode/secure",
    "mesh/all@123456789012/virtualNode/store",
    "mesh/all/virtualGateway/door",
];

async fn put(control: &Control, path: &str, body: Value) {
    control.call("PUT", path, body).await;
}

fn listener(protocol: &str, port: u16) -> Value {
    json!({ "portMapping": { "protocol": protocol, "port": port } })
}

async fn node(control: &Control, mesh: &str, name: &str, spec: Value) {
    put(control, &format!("meshes/{mesh}/virtualNodes"), json!({ "virtualNodeName": name, "spec": spec }))
        .await;
}

/// A caller, and a service of two versions behind a route.
pub(crate) async fn create_small(control: &Control) {
    put(control, "meshes", json!({ "meshName": "small" })).await;
    for name in ["blue", "green"] {
        node(control, "small", name, json!({ "listeners": [listener("http", 8080)] })).await;
    }
    put(
        control,
        "meshes/small/virtualRouters",
        json!({
            "virtualRouterName": "router", "spec": { "listeners": [listener("http", 8080)] },
        }),
    )
    .await;
    put(
        control,
        "meshes/small/virtualRouter/router/routes",
        json!({ "routeName": "route", "spec": weights(80, 20) }),
    )
    .await;
    put(
        control,
        "meshes/small/virtualServices",
        json!({
            "virtualServiceName": "service.local",
            "spec": { "provider": { "virtualRouter": { "virtualRouterName": "router" } } },
        }),
    )
    .await;
    node(
        control,
        "small",
        "caller",
        json!({
            "listeners": [listener("http", 8080)],
            "backends": [{ "virtualService": { "virtualServiceName": "service.local" } }],
        }),
    )
    .await;
}

/// Changes the weights of [`create_small`]'s route.
pub(crate) async fn shift(control: &Control, blue: u32, green: u32) {
    put(control, "meshes/small/virtualRouter/router/routes/route", json!({ "spec": weights(blue, green) }))
        .await;
}

fn weights(blue: u32, green: u32) -> Value {
    json!({ "httpRoute": {
        "match": { "prefix": "/" },
        "action": { "weightedTargets": [
            { "virtualNode": "blue", "weight": blue }, { "virtualNode": "green", "weight": green },
        ] },
    } })
}

/// A certificate authority of one certificate, which is its own; in files, as nodes name them.
pub(crate) struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// `None` where there is no openssl to make them.
    pub(crate) fn new() -> Option<Self> {
        let folder = tempfile::tempdir().ok()?;
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=secure.local", "-addext", "subjectAltName=DNS:secure.local"])
            .args(["-keyout", "key.pem", "-out", "chain.pem"])
            .current_dir(folder.path())
            .stderr(std::process::Stdio::null())
            .status();
        match made {
            Ok(status) if status.success() => Some(Self { folder }),
            _ => {
                eprintln!("SKIPPED: certificates, for there is no openssl");
                None
            }
        }
    }

    fn chain(&self) -> Value {
        json!(self.folder.path().join("chain.pem"))
    }

    fn pair(&self) -> Value {
        json!({ "file": { "certificateChain": self.chain(), "privateKey": self.folder.path().join("key.pem") } })
    }

    /// What a listener presents, and asks of its clients.
    fn listener(&self) -> Value {
        json!({
            "mode": "STRICT", "certificate": self.pair(),
            "validation": { "trust": { "file": { "certificateChain": self.chain() } } },
        })
    }

    /// What a client presents, and asks of the listener.
    fn client_policy(&self) -> Value {
        let names = ["secure.local", "spiffe://mesh.local/secure"];
        json!({ "tls": { "enforce": true, "certificate": self.pair(), "validation": {
            "trust": { "file": { "certificateChain": self.chain() } },
            "subjectAlternativeNames": { "match": { "exact": names } },
        } } })
    }
}

/// A mesh with everything that can be said.
pub(crate) async fn create(control: &Control, certificates: Option<&Certificates>) {
    put(control, "meshes", json!({
        "meshName": "all",
        "spec": { "egressFilter": { "type": "ALLOW_ALL" }, "serviceDiscovery": { "ipPreference": "IPv4_PREFERRED" } },
    }))
    .await;
    nodes(control, certificates).await;
    routes(control).await;
    services(control).await;
    secure_service(control).await;
    gateway(control).await;
}

async fn nodes(control: &Control, certificates: Option<&Certificates>) {
    let timeouts =
        json!({ "idle": { "unit": "s", "value": 60 }, "perRequest": { "unit": "ms", "value": 2500 } });
    let json_log =
        json!([{ "key": "status", "value": "%RESPONSE_CODE%" }, { "key": "path", "value": "%REQ(:PATH)%" }]);
    node(control, "all", "web", json!({
        "listeners": [{
            "portMapping": { "protocol": "http", "port": 8080 },
            "timeout": { "http": timeouts },
            "connectionPool": { "http": { "maxConnections": 10, "maxPendingRequests": 5 } },
            "outlierDetection": {
                "maxServerErrors": 5, "maxEjectionPercent": 50,
                "interval": { "unit": "s", "value": 10 }, "baseEjectionDuration": { "unit": "s", "value": 30 },
            },
            "healthCheck": {
                "protocol": "http", "path": "/ping", "healthyThreshold": 2, "unhealthyThreshold": 3,
                "intervalMillis": 5000, "timeoutMillis": 2000,
            },
        }],
        "serviceDiscovery": { "dns": { "hostname": "localhost", "responseType": "ENDPOINTS" } },
        "logging": { "accessLog": { "file": { "path": "/dev/stdout", "format": { "json": json_log } } } },
        "backends": [{ "virtualService": { "virtualServiceName": "store.local" } }],
    }))
    .await;
    node(control, "all", "grpc", json!({
        "listeners": [{
            "portMapping": { "protocol": "grpc", "port": 9000 },
            "connectionPool": { "grpc": { "maxRequests": 100 } },
            "healthCheck": {
                "protocol": "grpc", "healthyThreshold": 2, "unhealthyThreshold": 2,
                "intervalMillis": 5000, "timeoutMillis": 2000,
            },
        }],
        "serviceDiscovery": { "dns": { "hostname": "localhost", "responseType": "LOADBALANCER", "ipPreference": "IPv4_ONLY" } },
        "logging": { "accessLog": { "file": { "path": "/dev/stdout", "format": { "text": "%START_TIME% %RESPONSE_CODE%\n" } } } },
    }))
    .await;
    node(control, "all", "http2", json!({ "listeners": [listener("http2", 9001)] })).await;
    node(control, "all", "store", json!({
        "listeners": [{
            "portMapping": { "protocol": "tcp", "port": 6379 },
            "timeout": { "tcp": { "idle": { "unit": "s", "value": 90 } } },
            "connectionPool": { "tcp": { "maxConnections": 7 } },
            "healthCheck": {
                "protocol": "tcp", "healthyThreshold": 2, "unhealthyThreshold": 2,
                "intervalMillis": 5000, "timeoutMillis": 2000,
            },
        }],
        "serviceDiscovery": { "awsCloudMap": {
            "namespaceName": "ns", "serviceName": "store", "attributes": [{ "key": "stage", "value": "prod" }],
        } },
    }))
    .await;
    let mut secured = listener("http", 8443);
    let mut calling_secured = json!({ "virtualServiceName": "secure.local" });
    if let Some(certificates) = certificates {
        secured["tls"] = certificates.listener();
        calling_secured["clientPolicy"] = certificates.client_policy();
    }
    node(control, "all", "secure", json!({ "listeners": [secured] })).await;
    let backends = ["web.local", "grpc.local", "http2.local", "store.local", "missing.local"];
    let mut backends: Vec<Value> =
        backends.iter().map(|name| json!({ "virtualService": { "virtualServiceName": name } })).collect();
    backends.push(json!({ "virtualService": calling_secured }));
    node(control, "all", "caller", json!({ "listeners": [listener("http", 8080)], "backends": backends }))
        .await;
}

async fn routes(control: &Control) {
    for (router, protocol, port) in
        [("web", "http", 8080), ("grpc", "grpc", 9000), ("http2", "http2", 9001), ("tcp", "tcp", 6379)]
    {
        put(
            control,
            "meshes/all/virtualRouters",
            json!({
                "virtualRouterName": router, "spec": { "listeners": [listener(protocol, port)] },
            }),
        )
        .await;
    }
    let to = |node: &str| json!({ "weightedTargets": [{ "virtualNode": node, "weight": 1 }] });
    let retry = json!({
        "maxRetries": 3, "perRetryTimeout": { "unit": "ms", "value": 1500 },
        "httpRetryEvents": ["server-error", "gateway-error", "client-error", "stream-error"],
        "tcpRetryEvents": ["connection-error"],
    });
    let headers = json!([
        { "name": "x-present" },
        { "name": "x-absent", "invert": true },
        { "name": "x-exact", "match": { "exact": "a" } },
        { "name": "x-prefix", "match": { "prefix": "b" } },
        { "name": "x-suffix", "match": { "suffix": "c" } },
        { "name": "x-regex", "match": { "regex": "d+" }, "invert": true },
        { "name": "x-range", "match": { "range": { "start": 1, "end": 10 } } },
    ]);
    let all = [
        (
            "web",
            "matches",
            json!({ "priority": 0, "httpRoute": {
            "match": {
                "prefix": "/api", "method": "GET", "scheme": "http", "headers": headers, "port": 8080,
                "queryParameters": [{ "name": "q", "match": { "exact": "1" } }, { "name": "p" }],
            },
            "action": to("web"), "retryPolicy": retry,
            "timeout": { "perRequest": { "unit": "s", "value": 30 }, "idle": { "unit": "s", "value": 0 } },
        } }),
        ),
        (
            "web",
            "exact",
            json!({ "priority": 1, "httpRoute": { "match": { "path": { "exact": "/one" } }, "action": to("web") } }),
        ),
        (
            "web",
            "regex",
            json!({ "priority": 2, "httpRoute": { "match": { "path": { "regex": "/v[0-9]+/.*" } }, "action": to("web") } }),
        ),
        (
            "web",
            "rest",
            json!({ "httpRoute": { "match": { "prefix": "/" }, "action": { "weightedTargets": [
            { "virtualNode": "web", "weight": 80, "port": 8080 }, { "virtualNode": "web", "weight": 0 },
        ] } } }),
        ),
        (
            "grpc",
            "method",
            json!({ "grpcRoute": {
            "match": {
                "serviceName": "shop.Cart", "methodName": "Add",
                "metadata": [{ "name": "tenant", "match": { "exact": "a" } }],
            },
            "action": to("grpc"),
            "retryPolicy": {
                "maxRetries": 2, "perRetryTimeout": { "unit": "s", "value": 1 },
                "grpcRetryEvents": ["unavailable", "cancelled", "deadline-exceeded", "internal", "resource-exhausted"],
            },
        } }),
        ),
        ("http2", "all", json!({ "http2Route": { "match": { "prefix": "/" }, "action": to("http2") } })),
        (
            "tcp",
            "all",
            json!({ "tcpRoute": {
            "action": { "weightedTargets": [{ "virtualNode": "store", "weight": 5 }] },
            "timeout": { "idle": { "unit": "s", "value": 100 } },
        } }),
        ),
    ];
    for (router, name, spec) in all {
        let path = format!("meshes/all/virtualRouter/{router}/routes");
        put(control, &path, json!({ "routeName": name, "spec": spec })).await;
    }
}

async fn services(control: &Control) {
    for (service, router) in
        [("web.local", "web"), ("grpc.local", "grpc"), ("http2.local", "http2"), ("store.local", "tcp")]
    {
        put(
            control,
            "meshes/all/virtualServices",
            json!({
                "virtualServiceName": service,
                "spec": { "provider": { "virtualRouter": { "virtualRouterName": router } } },
            }),
        )
        .await;
    }
}

/// A service that is one node.
async fn secure_service(control: &Control) {
    let provider = json!({ "virtualNode": { "virtualNodeName": "secure" } });
    let body = json!({ "virtualServiceName": "secure.local", "spec": { "provider": provider } });
    put(control, "meshes/all/virtualServices", body).await;
}

async fn gateway(control: &Control) {
    put(
        control,
        "meshes/all/virtualGateways",
        json!({
            "virtualGatewayName": "door",
            "spec": {
                "listeners": [{
                    "portMapping": { "protocol": "http", "port": 8088 },
                    "connectionPool": { "http": { "maxConnections": 100, "maxPendingRequests": 10 } },
                }],
                "logging": { "accessLog": { "file": { "path": "/dev/stdout" } } },
            },
        }),
    )
    .await;
    let target = |service: &str| json!({ "virtualService": { "virtualServiceName": service } });
    let all = [
        (
            "prefix",
            json!({ "httpRoute": {
            "match": { "prefix": "/web", "port": 8088 }, "action": { "target": target("web.local") },
        } }),
        ),
        (
            "rewrite",
            json!({ "priority": 5, "httpRoute": {
            "match": { "prefix": "/old/", "hostname": { "suffix": ".example.com" }, "method": "POST" },
            "action": {
                "target": target("web.local"),
                "rewrite": { "hostname": { "defaultTargetHostname": "DISABLED" }, "prefix": { "value": "/new/" } },
            },
        } }),
        ),
        (
            "path",
            json!({ "priority": 6, "httpRoute": {
            "match": { "path": { "exact": "/here" }, "queryParameters": [{ "name": "q", "match": { "exact": "1" } }] },
            "action": { "target": target("web.local"), "rewrite": { "path": { "exact": "/there" } } },
        } }),
        ),
        (
            "grpc",
            json!({ "grpcRoute": {
            "match": { "serviceName": "shop.Cart", "hostname": { "exact": "grpc.example.com" } },
            "action": { "target": target("grpc.local") },
        } }),
        ),
    ];
    for (name, spec) in all {
        put(
            control,
            "meshes/all/virtualGateway/door/gatewayRoutes",
            json!({ "gatewayRouteName": name, "spec": spec }),
        )
        .await;
    }
}

/// How many sorts of [`change`] there are.
pub(crate) const CHANGES: usize = 9;

/// Changes something of [`create`]'s mesh; an odd round undoes an even one.
pub(crate) async fn change(control: &Control, which: usize, round: usize) {
    let odd = round % 2 == 1;
    let node = |name: &str| format!("meshes/all/virtualNodes/{name}");
    match which {
        0 => {
            let targets = json!([{ "virtualNode": "web", "weight": 10 + round }, { "virtualNode": "http2", "weight": 1 }]);
            let route = json!({ "match": { "prefix": "/" }, "action": { "weightedTargets": targets } });
            let path = "meshes/all/virtualRouter/web/routes/rest";
            put(control, path, json!({ "spec": { "httpRoute": route } })).await;
        }
        1 if odd => {
            let route = json!({
                "match": { "path": { "regex": "/v[0-9]+/.*" } },
                "action": { "weightedTargets": [{ "virtualNode": "web", "weight": 1 }] },
            });
            let body = json!({ "routeName": "regex", "spec": { "priority": 2, "httpRoute": route } });
            put(control, "meshes/all/virtualRouter/web/routes", body).await;
        }
        1 => drop(control.call("DELETE", "meshes/all/virtualRouter/web/routes/regex", Value::Null).await),
        2 => {
            let names: &[&str] =
                if odd { &["web.local", "grpc.local", "http2.local", "store.local"] } else { &["web.local"] };
            let backends: Vec<Value> = names
                .iter()
                .map(|name| json!({ "virtualService": { "virtualServiceName": name } }))
                .collect();
            let spec = json!({ "listeners": [listener("http", 8080)], "backends": backends });
            put(control, &node("caller"), json!({ "spec": spec })).await;
        }
        3 => {
            let provider = match odd {
                true => json!({ "virtualRouter": { "virtualRouterName": "web" } }),
                false => json!({ "virtualNode": { "virtualNodeName": "web" } }),
            };
            let path = "meshes/all/virtualServices/web.local";
            put(control, path, json!({ "spec": { "provider": provider } })).await;
        }
        4 => {
            let port = if odd { 9001 } else { 9002 };
            put(control, &node("http2"), json!({ "spec": { "listeners": [listener("http2", port)] } })).await;
        }
        5 => {
            let kind = if odd { "ALLOW_ALL" } else { "DROP_ALL" };
            put(control, "meshes/all", json!({ "spec": { "egressFilter": { "type": kind } } })).await;
        }
        6 => {
            let protocol = if odd { "http" } else { "grpc" };
            put(control, &node("secure"), json!({ "spec": { "listeners": [listener(protocol, 8443)] } }))
                .await;
        }
        7 if odd => {
            let action = json!({ "target": { "virtualService": { "virtualServiceName": "grpc.local" } } });
            let route = json!({ "match": { "serviceName": "shop.Cart" }, "action": action });
            let body = json!({ "gatewayRouteName": "grpc", "spec": { "grpcRoute": route } });
            put(control, "meshes/all/virtualGateway/door/gatewayRoutes", body).await;
        }
        7 => drop(
            control.call("DELETE", "meshes/all/virtualGateway/door/gatewayRoutes/grpc", Value::Null).await,
        ),
        _ => {
            let discovery = match odd {
                true => json!({ "dns": { "hostname": "localhost", "responseType": "ENDPOINTS" } }),
                false => json!({ "awsCloudMap": { "namespaceName": "ns", "serviceName": "web" } }),
            };
            let spec = json!({ "listeners": [listener("http", 8080)], "serviceDiscovery": discovery });
            put(control, &node("web"), json!({ "spec": spec })).await;
        }
    }
}
