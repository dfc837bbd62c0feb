//! The edge in the mesh: its virtual gateway, and a gateway route for each rule that names a virtual service.

use std::collections::BTreeMap;

use selvedge_aws::operations;
use selvedge_client::{Client, Error};
use selvedge_site::directive::Text;
use selvedge_site::gateway::{GatewayRoute, Published};
use serde_json::{Map, Value, json};

/// What an edge publishes carries this tag with the gateway's name: nothing else is ever changed or taken away.
const TAG: &str = "selvedge:published-by-edge";
/// The gateway's tags that name the mesh's certificates which the edge shows: so they are in use, by it. A number follows.
const CERTIFICATE_TAG: &str = "selvedge:certificate-";
/// How many certificates are told: a resource has 50 tags, and people have some of their own.
const CERTIFICATES_MAX: usize = 40;
/// Gateway routes that one page of the API lists.
const PAGE: u32 = 100;

/// Where an edge is in a mesh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) mesh: String,
    pub(super) gateway: String,
}

/// Why an edge is not in the mesh as its configuration says.
#[derive(Debug, thiserror::Error)]
pub(super) enum Problem {
    #[error("{what}")]
    Api {
        what: String,
        #[source]
        source: Error,
    },
    #[error("there is no mesh: make one, or name it by --mesh")]
    NoMesh,
    #[error("there are several meshes ({0}): say by --mesh which one the edge belongs to")]
    SeveralMeshes(String),
    #[error("the gateway route {0} was not published by an edge: give the edge another name")]
    Foreign(String),
    #[error("{}", listed(.0))]
    Routes(Vec<Self>),
}

/// Problems with routes that are told; the others are counted.
const PROBLEMS_TOLD: usize = 8;

fn listed(problems: &[Problem]) -> String {
    use std::error::Error as _;
    let told = |problem: &Problem| match problem.source() {
        Some(source) => format!("{problem}: {source}"),
        None => problem.to_string(),
    };
    let mut text = problems.iter().take(PROBLEMS_TOLD).map(told).collect::<Vec<_>>().join("; ");
    if problems.len() > PROBLEMS_TOLD {
        text.push_str(&format!("; and {} more", problems.len() - PROBLEMS_TOLD));
    }
    text
}

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) created: usize,
    pub(super) updated: usize,
    pub(super) deleted: usize,
    /// Routes that the mesh does not take.
    pub(super) refused: Vec<Problem>,
}

/// The mesh that was named; else the only one there is.
///
/// # Errors
/// [`Problem`].
pub(super) async fn mesh(client: &Client, named: Option<&str>) -> Result<String, Problem> {
    if let Some(named) = named {
        return Ok(named.to_owned());
    }
    let found = call(client, "list-meshes", json!({})).await?;
    let names: Vec<&str> = found["meshes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|mesh| mesh["meshName"].as_str())
        .collect();
    match names.as_slice() {
        [] => Err(Problem::NoMesh),
        [only] => Ok((*only).to_owned()),
        several => Err(Problem::SeveralMeshes(several.join(", "))),
    }
}

/// Makes the mesh say what the edge does; `port` is where it listens. A route that the mesh does not take – its service may not
/// be there yet – keeps none of the others from it.
///
/// # Errors
/// [`Problem`], where the mesh cannot be asked: what was done until then stays, and doing it again goes on from there.
pub(super) async fn publish(
    client: &Client,
    place: &Place,
    port: u16,
    published: &Published,
) -> Result<Done, Problem> {
    ensure_gateway(client, place, port).await?;
    publish_certificates(client, place, &published.certificates).await?;
    let mut known = ours(client, place).await?;
    let mut done = Done::default();
    for route in &published.routes {
        let named = json!({
            "meshName": place.mesh, "virtualGatewayName": place.gateway, "gatewayRouteName": route.name,
        });
        let (outcome, count) = match known.remove(&route.name) {
            Some(Known::Foreign) => {
                done.refused.push(Problem::Foreign(route.name.clone()));
                continue;
            }
            Some(Known::Ours(spec)) if spec == route.spec => continue,
            Some(Known::Ours(_)) => {
                let input = with(&named, "spec", &route.spec);
                (call(client, "update-gateway-route", input).await.map(drop), &mut done.updated)
            }
            None => (create(client, place, &named, route).await, &mut done.created),
        };
        match outcome {
            Ok(()) => *count += 1,
            Err(problem @ Problem::Api { source: Error::Service(_), .. }) => done.refused.push(problem),
            Err(problem) => return Err(problem),
        }
    }
    for name in known.into_iter().filter(|(_, known)| *known != Known::Foreign).map(|(name, _)| name) {
        let named = json!({
            "meshName": place.mesh, "virtualGatewayName": place.gateway, "gatewayRouteName": name,
        });
        call(client, "delete-gateway-route", named).await?;
        done.deleted += 1;
    }
    Ok(done)
}

/// How a mesh has what an edge publishes, a line for the gateway and for each route, and whether it is as it is here.
///
/// # Errors
/// [`Problem`].
pub(super) async fn standing(
    client: &Client,
    place: &Place,
    published: &Published,
) -> Result<Vec<(String, bool)>, Problem> {
    let mut told = Vec::new();
    let gateway = json!({ "meshName": place.mesh, "virtualGatewayName": place.gateway });
    let found = found(call(client, "describe-virtual-gateway", gateway.clone()).await)?;
    told.push(line(
        &format!("gateway {}", place.gateway),
        found.as_ref().map(|found| &found["virtualGateway"]),
        None,
    ));
    for route in &published.routes {
        let named = with(&gateway, "gatewayRouteName", &json!(route.name));
        let found = self::found(call(client, "describe-gateway-route", named).await)?;
        let found = found.as_ref().map(|found| &found["gatewayRoute"]);
        told.push(line(&format!("gateway route {}", route.name), found, Some(&route.spec)));
    }
    Ok(told)
}

/// What was described, if it is there.
fn found(described: Result<Value, Problem>) -> Result<Option<Value>, Problem> {
    match described {
        Err(Problem::Api { source: Error::Service(error), .. }) if error.code == "NotFoundException" => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn line(what: &str, found: Option<&Value>, spec: Option<&Value>) -> (String, bool) {
    let Some(found) = found else { return (format!("{what}: is not in the mesh"), false) };
    let arn = found["metadata"]["arn"].as_str().unwrap_or_default();
    match spec.is_none_or(|spec| found["spec"] == *spec) {
        true => (format!("{what}: {arn}"), true),
        false => (format!("{what}: {arn}, and says something else there"), false),
    }
}

async fn create(client: &Client, place: &Place, named: &Value, route: &GatewayRoute) -> Result<(), Problem> {
    let input = with(&with(named, "spec", &route.spec), "tags", &tags(place));
    match call(client, "create-gateway-route", input).await {
        // Another replica of this edge was faster.
        Err(Problem::Api { source: Error::Service(error), .. }) if error.code == "ConflictException" => {
            Ok(())
        }
        other => other.map(drop),
    }
}

async fn ensure_gateway(client: &Client, place: &Place, port: u16) -> Result<(), Problem> {
    let named = json!({ "meshName": place.mesh, "virtualGatewayName": place.gateway });
    match call(client, "describe-virtual-gateway", named.clone()).await {
        Err(Problem::Api { source: Error::Service(error), .. }) if error.code == "NotFoundException" => {}
        other => return other.map(drop),
    }
    let spec = json!({ "listeners": [{ "portMapping": { "port": port, "protocol": "http" } }] });
    let input = with(&with(&named, "spec", &spec), "tags", &tags(place));
    match call(client, "create-virtual-gateway", input).await {
        Err(Problem::Api { source: Error::Service(error), .. }) if error.code == "ConflictException" => {
            Ok(())
        }
        other => other.map(drop),
    }
}

/// Makes the gateway's tags name these certificates, and no others.
async fn publish_certificates(client: &Client, place: &Place, arns: &[Text]) -> Result<(), Problem> {
    let named = json!({ "meshName": place.mesh, "virtualGatewayName": place.gateway });
    let described = call(client, "describe-virtual-gateway", named).await?;
    let resource = json!({ "resourceArn": described["virtualGateway"]["metadata"]["arn"] });
    let tags = call(client, "list-tags-for-resource", resource.clone()).await?;
    let known: BTreeMap<String, String> = tags["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|tag| Some((tag["key"].as_str()?.to_owned(), tag["value"].as_str()?.to_owned())))
        .filter(|(key, _)| key.starts_with(CERTIFICATE_TAG))
        .collect();
    if arns.len() > CERTIFICATES_MAX {
        tracing::warn!(
            certificates = arns.len(),
            "the mesh is told of {CERTIFICATES_MAX} certificates of this edge; the others count as not in use"
        );
    }
    let wanted: BTreeMap<String, String> = (1..)
        .zip(arns.iter().take(CERTIFICATES_MAX))
        .map(|(number, arn)| (format!("{CERTIFICATE_TAG}{number}"), arn.to_string()))
        .collect();
    let fresh = wanted.iter().filter(|(key, arn)| known.get(*key) != Some(*arn));
    let fresh: Vec<Value> = fresh.map(|(key, arn)| json!({ "key": key, "value": arn })).collect();
    let gone: Vec<&String> = known.keys().filter(|key| !wanted.contains_key(*key)).collect();
    if !fresh.is_empty() {
        call(client, "tag-resource", with(&resource, "tags", &json!(fresh))).await?;
    }
    if !gone.is_empty() {
        call(client, "untag-resource", with(&resource, "tagKeys", &json!(gone))).await?;
    }
    Ok(())
}

/// A gateway route that is there.
#[derive(Debug, PartialEq)]
enum Known {
    /// An edge's, with its `spec`.
    Ours(Value),
    Foreign,
}

/// The gateway routes of the gateway by their names.
async fn ours(client: &Client, place: &Place) -> Result<BTreeMap<String, Known>, Problem> {
    let mut known = BTreeMap::new();
    let mut input = json!({ "meshName": place.mesh, "virtualGatewayName": place.gateway, "limit": PAGE });
    loop {
        let page = call(client, "list-gateway-routes", input.clone()).await?;
        for found in page["gatewayRoutes"].as_array().into_iter().flatten() {
            let (Some(name), Some(arn)) = (found["gatewayRouteName"].as_str(), found["arn"].as_str()) else {
                continue;
            };
            known.insert(name.to_owned(), described(client, place, name, arn).await?);
        }
        match page["nextToken"].as_str() {
            Some(token) => input["nextToken"] = token.into(),
            None => return Ok(known),
        }
    }
}

async fn described(client: &Client, place: &Place, name: &str, arn: &str) -> Result<Known, Problem> {
    let tags = call(client, "list-tags-for-resource", json!({ "resourceArn": arn })).await?;
    let ours = tags["tags"].as_array().into_iter().flatten().any(|tag| tag["key"] == TAG);
    if !ours {
        return Ok(Known::Foreign);
    }
    let named =
        json!({ "meshName": place.mesh, "virtualGatewayName": place.gateway, "gatewayRouteName": name });
    let route = call(client, "describe-gateway-route", named).await?;
    Ok(Known::Ours(route["gatewayRoute"]["spec"].clone()))
}

fn tags(place: &Place) -> Value {
    json!([{ "key": TAG, "value": place.gateway }])
}

fn with(object: &Value, member: &str, value: &Value) -> Value {
    let mut object = object.clone();
    object[member] = value.clone();
    object
}

async fn call(client: &Client, command: &str, input: Value) -> Result<Value, Problem> {
    let operation = operations::find(command).expect("the operations named here are in the table");
    let input: Map<String, Value> = input.as_object().cloned().unwrap_or_default();
    client.call(operation, &input).await.map_err(|source| {
        let name = input.get("gatewayRouteName").or_else(|| input.get("virtualGatewayName"));
        let name = name.and_then(Value::as_str).unwrap_or_default();
        Problem::Api { what: format!("{command} {name}").trim_end().to_owned(), source }
    })
}
