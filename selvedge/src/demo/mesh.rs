//! The demo's mesh, made through the public API and nothing else.

use selvedge_aws::operations;
use selvedge_client::Client;
use serde_json::{Map, Value, json};

use crate::exit::Failure;

pub(super) const MESH: &str = "demo";
pub(super) const SERVICE: &str = "colors.local";
pub(super) const CALLER: &str = "caller";
pub(super) const VERSIONS: [&str; 2] = ["colors-v1", "colors-v2"];
pub(super) const ROUTER: &str = "colors";
pub(super) const ROUTE: &str = "split";
/// The port of the virtual nodes' listeners and of the router.
pub(super) const PORT: u16 = 8080;

/// The versions' weights, in the order of [`VERSIONS`].
pub(super) type Weights = [u64; 2];

/// Makes the mesh: two versions behind one router, and a caller that may call it.
///
/// # Errors
/// When a call fails.
pub(super) async fn make(client: &Client, weights: Weights) -> Result<(), Failure> {
    let listener = json!([{"portMapping": {"port": PORT, "protocol": "http"}}]);
    call(client, "create-mesh", json!({"meshName": MESH, "spec": {"egressFilter": {"type": "DROP_ALL"}}}))
        .await?;
    for version in VERSIONS {
        let spec = json!({ "listeners": listener });
        call(
            client,
            "create-virtual-node",
            json!({"meshName": MESH, "virtualNodeName": version, "spec": spec}),
        )
        .await?;
    }
    let router = json!({"meshName": MESH, "virtualRouterName": ROUTER, "spec": {"listeners": listener}});
    call(client, "create-virtual-router", router).await?;
    call(client, "create-route", route(weights)).await?;
    let provider = json!({"virtualRouter": {"virtualRouterName": ROUTER}});
    let service = json!({"meshName": MESH, "virtualServiceName": SERVICE, "spec": {"provider": provider}});
    call(client, "create-virtual-service", service).await?;
    let backends = json!([{"virtualService": {"virtualServiceName": SERVICE}}]);
    let caller = json!({"meshName": MESH, "virtualNodeName": CALLER, "spec": {"backends": backends}});
    call(client, "create-virtual-node", caller).await?;
    Ok(())
}

/// Gives the versions other weights.
///
/// # Errors
/// When the call fails.
pub(super) async fn shift(client: &Client, weights: Weights) -> Result<(), Failure> {
    call(client, "update-route", route(weights)).await.map(drop)
}

/// The weights that the API answers.
///
/// # Errors
/// When the call fails.
pub(super) async fn weights(client: &Client) -> Result<Weights, Failure> {
    let name = json!({"meshName": MESH, "virtualRouterName": ROUTER, "routeName": ROUTE});
    let answer = call(client, "describe-route", name).await?;
    let targets = answer.pointer("/route/spec/httpRoute/action/weightedTargets").cloned().unwrap_or_default();
    let of = |version: &str| {
        let target = targets.as_array().into_iter().flatten().find(|target| target["virtualNode"] == version);
        target.and_then(|target| target["weight"].as_u64()).unwrap_or(0)
    };
    Ok(VERSIONS.map(of))
}

/// The command that shifts the traffic to those weights.
pub(super) fn shift_command(program: &str, endpoint: &str, weights: Weights) -> String {
    let targets: Vec<String> = VERSIONS
        .iter()
        .zip(weights)
        .map(|(version, weight)| format!("{{virtualNode={version},weight={weight}}}"))
        .collect();
    format!(
        "{program} appmesh update-route --endpoint-url {endpoint} --mesh-name {MESH} --virtual-router-name {ROUTER} --route-name {ROUTE} --spec \
         'httpRoute={{match={{prefix=/}},action={{weightedTargets=[{}]}}}}'",
        targets.join(",")
    )
}

fn route(weights: Weights) -> Value {
    let targets: Vec<Value> = VERSIONS
        .iter()
        .zip(weights)
        .map(|(version, weight)| json!({"virtualNode": version, "weight": weight}))
        .collect();
    let spec = json!({"httpRoute": {"match": {"prefix": "/"}, "action": {"weightedTargets": targets}}});
    json!({"meshName": MESH, "virtualRouterName": ROUTER, "routeName": ROUTE, "spec": spec})
}

async fn call(client: &Client, command: &str, input: Value) -> Result<Value, Failure> {
    let operation = operations::find(command).expect("the demo calls App Mesh's operations by their names");
    let Value::Object(input) = input else { return Ok(client.call(operation, &Map::new()).await?) };
    Ok(client.call(operation, &input).await?)
}
