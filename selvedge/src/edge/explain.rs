//! `selvedge edge explain`: which rules hold for a URL.

use std::net::IpAddr;
use std::path::PathBuf;

use selvedge_aws::operations::find_in;
use selvedge_aws::operations::stepfunctions::SERVICE;
use selvedge_client::Client;
use selvedge_site::explain::{Question, explain};
use selvedge_site::lighttpd::Level;
use serde_json::{Value, json};

use super::Output;
use super::load::{self, Form};
use super::publish;
use crate::exit::Failure;
use crate::{endpoint, output};

#[derive(Debug, clap::Args)]
pub(super) struct ExplainArgs {
    /// The configuration
    #[arg(short = 'f', value_name = "FILE")]
    file: PathBuf,
    /// As a client would ask: https://host/path?query
    url: String,
    /// The method
    #[arg(short = 'X', long, default_value = "GET")]
    method: String,
    /// A header of the request, NAME: VALUE
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Who asks
    #[arg(long, default_value = "127.0.0.1")]
    from: IpAddr,
    /// For people, or for programs
    #[arg(short = 'o', long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Do not ask the mesh what it would do
    #[arg(long)]
    offline: bool,
    /// The mesh of the edge's gateway; the only one when left out
    #[arg(long, value_name = "NAME", env = "SELVEDGE_EDGE_MESH")]
    mesh: Option<String>,
    /// The API
    #[arg(long, value_name = "URL", env = "SELVEDGE_EDGE_ENDPOINT")]
    endpoint_url: Option<String>,
}

pub(super) fn run(args: &ExplainArgs, form: Form) -> Result<(), Failure> {
    let loaded = load::load(&args.file, form, Level::Modules);
    let Some(program) = &loaded.program else {
        eprint!("{}", loaded.report());
        return Err(Failure::Check("the configuration is wrong".into()));
    };
    let question = question(args)?;
    let explained = explain(program, &question).map_err(|error| Failure::Check(error.to_string()))?;
    let mesh = &explained.resolved.directives.mesh;
    let asks = !args.offline && (mesh.service.is_some() || mesh.workflow.is_some());
    let told = match asks {
        false => None,
        true => {
            let client = Client::new(endpoint::resolve(args.endpoint_url.as_deref())?);
            Some(crate::cli::block_on(async {
                Ok(match (&mesh.service, &mesh.workflow) {
                    (_, Some(workflow)) => of_workflow(&client, &workflow.machine).await,
                    (Some(_), None) => {
                        let gateway = program.global().mesh_gateway.as_deref();
                        of_mesh(&client, args.mesh.as_deref(), gateway, &question).await
                    }
                    (None, None) => Ok(Vec::new()),
                })
            })?)
        }
    };
    let told = told.map(|told| told.unwrap_or_else(|problem| vec![format!("it cannot be asked: {problem}")]));
    if args.output == Output::Json {
        let mut document = explained.json();
        document["mesh"] = json!(told);
        let text = serde_json::to_string_pretty(&document).map_err(anyhow::Error::from)?;
        return Ok(output::emit(&(text + "\n"))?);
    }
    output::emit(&explained.text())?;
    let Some(told) = told else { return Ok(()) };
    output::emit("\nthe mesh:\n")?;
    told.iter().try_for_each(|line| output::emit(&format!("  {line}\n")))?;
    Ok(())
}

/// What the mesh would do with a request that the edge hands to it.
async fn of_mesh(
    client: &Client,
    mesh: Option<&str>,
    gateway: Option<&str>,
    question: &Question,
) -> Result<Vec<String>, String> {
    let Some(gateway) = gateway else {
        return Err("no mesh.gateway says as which gateway the edge asks".to_owned());
    };
    let mesh = publish::mesh(client, mesh).await.map_err(|problem| chain(&problem))?;
    let query = if question.query.is_empty() { String::new() } else { format!("?{}", question.query) };
    let headers: Vec<Value> =
        question.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
    let asked = json!({
        "mesh": mesh, "from": gateway, "method": question.method, "scheme": "http",
        "authority": question.host, "path": format!("{}{query}", question.path), "headers": headers,
    });
    let story = client.post("/selvedge/v1/explain", &asked).await.map_err(|problem| chain(&problem))?;
    let lines = story["lines"].as_array().into_iter().flatten().filter_map(Value::as_str);
    Ok(lines.map(str::to_owned).collect())
}

/// Whether a state machine is there, and of which kind.
async fn of_workflow(client: &Client, machine: &str) -> Result<Vec<String>, String> {
    if machine.is_empty() {
        return Ok(vec!["the request completes the task whose token it brings".to_owned()]);
    }
    let operation = find_in(&SERVICE, "ListStateMachines").expect("the operation is in the table");
    let mut input = json!({ "maxResults": 1000 });
    loop {
        let page = client.call_json(&SERVICE, operation, &input).await.map_err(|problem| chain(&problem))?;
        let mut found = page["stateMachines"].as_array().into_iter().flatten();
        if let Some(found) =
            found.find(|found| found["name"] == machine || found["stateMachineArn"] == machine)
        {
            let text = |member: &str| found[member].as_str().unwrap_or_default().to_owned();
            let kind = if text("type") == "EXPRESS" { "an express" } else { "a standard" };
            return Ok(vec![format!("{} is {kind} state machine", text("stateMachineArn"))]);
        }
        match page["nextToken"].as_str() {
            Some(token) => input["nextToken"] = token.into(),
            None => return Ok(vec![format!("there is no state machine named {machine}: requests get 503")]),
        }
    }
}

/// An error with what lies behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

fn question(args: &ExplainArgs) -> Result<Question, Failure> {
    let wrong = |what: &str| Failure::Usage(format!("{}: {what}", args.url));
    let (scheme, rest) =
        args.url.split_once("://").ok_or_else(|| wrong("a URL begins with http:// or https://"))?;
    if !["http", "https"].contains(&scheme) {
        return Err(wrong("a URL begins with http:// or https://"));
    }
    let (host, path) = rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let path = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| wrong("the path is no UTF-8"))?;
    let headers = args.headers.iter().map(|header| {
        let (name, value) = header.split_once(':').ok_or_else(|| wrong("a header is NAME: VALUE"))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    });
    Ok(Question {
        scheme: scheme.into(),
        host: host.into(),
        path: path.into_owned(),
        query: query.into(),
        method: args.method.clone(),
        remote: args.from,
        headers: headers.collect::<Result<_, Failure>>()?,
    })
}
