//! `selvedge appmesh`: what `aws appmesh` takes, in the words that it takes, and answered as it answers.
//!
//! Every operation and option comes from the same tables that the server reads, so that neither can know one that the other
//! does not.

mod argument;
mod arrange;
mod coerce;
mod example;
mod lenient;
mod paging;
mod shorthand;
mod skeleton;

use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use selvedge_aws::Operation;
use selvedge_aws::operations::appmesh::SERVICE;
use selvedge_client::Client;
use selvedge_model::Presence;
use serde_json::{Map, Value};

use crate::endpoint;
use crate::exit::Failure;
use crate::output::{self, Color, Format, Query};
use crate::role::logging::{self, LogArgs};
use paging::Limits;
use skeleton::Style;

/// The command with its 38 operations.
pub(crate) fn command() -> Command {
    let operations = SERVICE.operations.iter().map(operation_command);
    global_options(Command::new("appmesh"))
        .about("Call any App Mesh operation, as `aws appmesh` does")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand_value_name("OPERATION")
        .subcommand_help_heading("Operations")
        .after_help(
            "Examples:\n  selvedge appmesh list-meshes\n  selvedge appmesh create-mesh --mesh-name my-mesh --spec egressFilter={type=ALLOW_ALL}\n  \
             selvedge appmesh create-route --help\n\nThe server is --endpoint-url, else AWS_ENDPOINT_URL_APP_MESH, else AWS_ENDPOINT_URL, else \
             http://127.0.0.1:7070.\nMore: selvedge help shorthand, selvedge help exit-codes",
        )
        .subcommands(operations)
}

/// Runs the operation that `matches` of [`command`] name.
///
/// # Errors
/// [`Failure::Usage`] for what cannot be read, [`Failure::Refused`] for what the server refuses.
pub(crate) async fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("the parser demands an operation");
    let operation = selvedge_aws::operations::find_in(&SERVICE, name)
        .expect("the parser knows only the table's operations");
    let printer = Printer::of(operation, matches)?;
    match matches.get_one::<String>(SKELETON).map(String::as_str) {
        Some("input") => return Ok(output::emit(&output::json(&input_skeleton(operation)))?),
        Some("yaml-input") => return Ok(output::emit(&output::yaml::write(&input_skeleton(operation)))?),
        Some(_) => {
            read_input(operation, matches)?;
            return printer.print(skeleton::object(operation.output.members().iter(), Style::Named));
        }
        None => {}
    }
    let input = read_input(operation, matches)?;
    if matches.get_flag(DEBUG) {
        logging::start(&LogArgs::default(), "selvedge_client=debug")?;
    }
    let client = client(matches)?;
    match operation
        .pagination
        .filter(|pagination| !matches.get_flag(NO_PAGINATE) && !pages_by_hand(&input, pagination))
    {
        None => printer.print(arrange::arrange(client.call(operation, &input).await?, operation.output)),
        Some(pagination) => {
            let limits = Limits {
                items_max: matches.get_one(MAX_ITEMS).copied(),
                page_size: matches.get_one(PAGE_SIZE).copied(),
                starting_token: matches.get_one(STARTING_TOKEN).cloned(),
            };
            let listed = paging::list(&client, operation, pagination, &input, &limits).await?;
            printer.print_list(listed, pagination.result)
        }
    }
}

const INPUT_JSON: &str = "cli-input-json";
const INPUT_YAML: &str = "cli-input-yaml";
const SKELETON: &str = "generate-cli-skeleton";
const DEBUG: &str = "debug";
const NO_PAGINATE: &str = "no-paginate";
const MAX_ITEMS: &str = "max-items";
const PAGE_SIZE: &str = "page-size";
const STARTING_TOKEN: &str = "starting-token";

fn operation_command(operation: &'static Operation) -> Command {
    let members = operation.input.members().iter().map(|member| {
        let required = member.presence == Presence::Required;
        let arg = argument::declare(member);
        if !required {
            return arg;
        }
        let help = format!("{} Required.", arg.get_help().map(ToString::to_string).unwrap_or_default());
        arg.help(help).required_unless_present_any([INPUT_JSON, INPUT_YAML, SKELETON])
    });
    let input = [
        Arg::new(INPUT_JSON)
            .long(INPUT_JSON)
            .value_name("JSON")
            .help("The whole input as JSON; options override its members. file:// reads a file"),
        Arg::new(INPUT_YAML)
            .long(INPUT_YAML)
            .value_name("YAML")
            .conflicts_with(INPUT_JSON)
            .help("The whole input as YAML; options override its members"),
        Arg::new(SKELETON)
            .long(SKELETON)
            .value_name("WHICH")
            .num_args(0..=1)
            .default_missing_value("input")
            .value_parser(["input", "output", "yaml-input"])
            .help("Print an input to fill in, or a sample of the output, and call nothing"),
    ];
    let paging = operation.pagination.map(|_| {
        [
            Arg::new(MAX_ITEMS)
                .long(MAX_ITEMS)
                .value_name("NUMBER")
                .value_parser(value_parser!(usize))
                .help("Stop after so many elements and print a NextToken"),
            Arg::new(PAGE_SIZE)
                .long(PAGE_SIZE)
                .value_name("NUMBER")
                .value_parser(value_parser!(u32))
                .help("Elements to ask for in one call"),
            Arg::new(STARTING_TOKEN)
                .long(STARTING_TOKEN)
                .value_name("TOKEN")
                .help("The NextToken of an earlier call"),
        ]
    });
    Command::new(operation.command)
        .about(about(operation))
        .after_help(example::examples(operation))
        .args(members)
        .args(input)
        .args(paging.into_iter().flatten())
}

/// Options that the AWS command line takes before or after any operation.
fn global_options(command: Command) -> Command {
    let ignored = |name: &'static str| Arg::new(name).long(name).global(true).hide(true);
    command.next_help_heading("Call options").args([
        Arg::new("endpoint-url")
            .long("endpoint-url")
            .value_name("URL")
            .global(true)
            .help("The server to call"),
        Arg::new("region")
            .long("region")
            .value_name("REGION")
            .global(true)
            .help("The region that ARNs carry, else AWS_REGION, AWS_DEFAULT_REGION, the server's"),
        Arg::new("output")
            .long("output")
            .short('o')
            .value_name("FORMAT")
            .global(true)
            .value_parser(value_parser!(Format))
            .hide_possible_values(true)
            .help("How to print the answer: json, yaml, text or table [env: AWS_DEFAULT_OUTPUT]"),
        Arg::new("query")
            .long("query")
            .value_name("JMESPATH")
            .global(true)
            .help("What of the answer to print"),
        Arg::new("color")
            .long("color")
            .value_name("WHEN")
            .global(true)
            .value_parser(value_parser!(Color))
            .default_value("auto")
            .hide_possible_values(true)
            .help("Colour in tables: auto, on or off"),
        Arg::new(NO_PAGINATE)
            .long(NO_PAGINATE)
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Make one call only, even for a list"),
        Arg::new("cli-read-timeout")
            .long("cli-read-timeout")
            .value_name("SECONDS")
            .global(true)
            .value_parser(value_parser!(u64))
            .help("Longest wait for an answer; 0 is forever"),
        Arg::new("cli-connect-timeout")
            .long("cli-connect-timeout")
            .value_name("SECONDS")
            .global(true)
            .value_parser(value_parser!(u64))
            .help("Longest wait for a connection; 0 is forever"),
        Arg::new("profile")
            .long("profile")
            .value_name("NAME")
            .global(true)
            .help("Accepted and not needed: calls carry no credentials"),
        Arg::new(DEBUG)
            .long(DEBUG)
            .global(true)
            .action(ArgAction::SetTrue)
            .help("Show each call and its answer on standard error"),
        ignored("ca-bundle"),
        ignored("cli-binary-format"),
        ignored("no-verify-ssl").action(ArgAction::SetTrue),
        ignored("no-sign-request").action(ArgAction::SetTrue),
        ignored("no-cli-pager").action(ArgAction::SetTrue),
        ignored("no-cli-auto-prompt").action(ArgAction::SetTrue),
    ])
}

/// `Create a virtual node`.
fn about(operation: &Operation) -> String {
    let words: Vec<&str> = operation.command.split('-').collect();
    let (verb, noun) = words.split_first().expect("a command has a verb");
    let verb = format!("{}{}", verb[..1].to_ascii_uppercase(), &verb[1..]);
    let noun = noun.join(" ");
    match verb.as_str() {
        "List" if noun.starts_with("tags") => "List the tags of a resource".to_owned(),
        "List" => format!("List {noun}"),
        "Tag" => "Add tags to a resource, or change them".to_owned(),
        "Untag" => "Remove tags from a resource".to_owned(),
        _ => format!("{verb} a {noun}"),
    }
}

fn input_skeleton(operation: &Operation) -> Value {
    skeleton::object(operation.input.members().iter(), Style::Empty)
}

fn read_input(operation: &'static Operation, matches: &ArgMatches) -> Result<Map<String, Value>, Failure> {
    let mut input = whole_input(matches)?;
    for member in operation.input.members() {
        if let Some(typed) = matches.get_many::<String>(member.name) {
            let typed: Vec<&str> = typed.map(String::as_str).collect();
            let value = argument::read(member, &typed).map_err(|error| Failure::Usage(error.to_string()))?;
            input.insert(member.name.to_owned(), value);
        }
    }
    let missing: Vec<String> = operation
        .input
        .members()
        .iter()
        .filter(|member| {
            member.presence == Presence::Required && input.get(member.name).is_none_or(Value::is_null)
        })
        .map(|member| format!("--{}", argument::kebab(member.name)))
        .collect();
    if !missing.is_empty() {
        return Err(Failure::Usage(format!("the following arguments are required: {}", missing.join(", "))));
    }
    lenient::rewrite(&mut input);
    if let Some(token) = operation.idempotency_token {
        input.entry(token).or_insert_with(|| Value::String(uuid::Uuid::new_v4().to_string()));
    }
    Ok(input)
}

fn whole_input(matches: &ArgMatches) -> Result<Map<String, Value>, Failure> {
    let bad =
        |name: &str, reason: String| Failure::Usage(format!("Error parsing parameter '--{name}': {reason}"));
    let json = matches.get_one::<String>(INPUT_JSON);
    let yaml = matches.get_one::<String>(INPUT_YAML);
    let (name, document) = match (json, yaml) {
        (None, None) => return Ok(Map::new()),
        (Some(typed), _) => {
            let text = argument::resolve(typed).map_err(|reason| bad(INPUT_JSON, reason))?;
            (
                INPUT_JSON,
                serde_json::from_str(&text)
                    .map_err(|error| bad(INPUT_JSON, format!("Invalid JSON: {error}")))?,
            )
        }
        (None, Some(typed)) => {
            let text = argument::resolve(typed).map_err(|reason| bad(INPUT_YAML, reason))?;
            (
                INPUT_YAML,
                output::yaml::read(&text)
                    .map_err(|error| bad(INPUT_YAML, format!("{:#}", anyhow::Error::new(error))))?,
            )
        }
    };
    match document {
        Value::Object(input) => Ok(input),
        _ => Err(bad(name, "the input must be an object".to_owned())),
    }
}

/// Whether the caller walks the pages without us.
fn pages_by_hand(input: &Map<String, Value>, pagination: &selvedge_aws::Pagination) -> bool {
    input.contains_key(pagination.input_token) || input.contains_key(pagination.limit)
}

fn client(matches: &ArgMatches) -> Result<Client, Failure> {
    let endpoint = endpoint::resolve(matches.get_one::<String>("endpoint-url").map(String::as_str))?;
    let patience = |name: &str, default: Duration| match matches.get_one::<u64>(name) {
        None => default,
        Some(0) => Duration::from_secs(u64::from(u32::MAX)),
        Some(seconds) => Duration::from_secs(*seconds),
    };
    let region = matches.get_one::<String>("region").cloned().or_else(|| {
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter();
        variables.filter_map(|name| std::env::var(name).ok()).find(|value| !value.is_empty())
    });
    Ok(Client::new(endpoint).with_region(region).with_timeouts(
        patience("cli-connect-timeout", selvedge_client::CONNECT_TIMEOUT),
        patience("cli-read-timeout", selvedge_client::READ_TIMEOUT),
    ))
}

/// How to print an answer.
struct Printer {
    title: &'static str,
    format: Format,
    color: Color,
    query: Option<Query>,
}

impl Printer {
    fn of(operation: &'static Operation, matches: &ArgMatches) -> Result<Self, Failure> {
        let format = match matches.get_one::<Format>("output") {
            Some(format) => *format,
            None => output::default_format()?,
        };
        let color = matches.get_one::<Color>("color").copied().unwrap_or_default();
        let query = matches.get_one::<String>("query").map(|expression| Query::parse(expression)).transpose();
        let query = query.map_err(|error| Failure::Usage(error.to_string()))?;
        Ok(Self { title: operation.name, format, color, query })
    }

    fn print(&self, document: Value) -> Result<(), Failure> {
        let document = match &self.query {
            Some(query) => query.apply(&document).map_err(|error| Failure::Usage(error.to_string()))?,
            None => document,
        };
        Ok(output::print(&document, self.format, self.title, self.color)?)
    }

    /// As text, each page is queried and printed by itself, as the AWS command line does; otherwise the list is one document.
    fn print_list(&self, listed: paging::Listed, result: &str) -> Result<(), Failure> {
        if self.format != Format::Text {
            return self.print(listed.document(result));
        }
        for page in listed.pages {
            self.print(Value::Object(Map::from_iter([(result.to_owned(), Value::Array(page))])))?;
        }
        match listed.resume {
            Some(token) => Ok(output::emit(&format!("NEXTTOKEN\t{token}\n"))?),
            None => Ok(()),
        }
    }
}
