//! `selvedge env`: the exports that point an AWS client at our server.

use clap::builder::PossibleValuesParser;
use serde_json::{Map, Value};

use crate::endpoint;
use crate::exit::Failure;
use crate::output::{self, Color, Format};

/// Print the exports that point the AWS command line and SDKs at this server
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  eval \"$(selvedge env)\"                  App Mesh and Cloud Map calls go to http://127.0.0.1:7070
  eval \"$(selvedge env --all)\"            every AWS service's calls go there
  eval \"$(selvedge env --only stepfunctions --only acm)\"
  selvedge env --unset                    what takes it back
  selvedge env -o json

Credentials are only suggested when the environment has none: this server does not check them, but AWS clients refuse to
send a request without some.")]
pub(crate) struct Args {
    /// The server's address; else AWS_ENDPOINT_URL_APP_MESH, AWS_ENDPOINT_URL, http://127.0.0.1:7070
    #[arg(long, value_name = "URL")]
    endpoint_url: Option<String>,
    /// Redirect only this service, may be given again; App Mesh and Cloud Map when left out
    #[arg(long, value_name = "SERVICE", value_parser = PossibleValuesParser::new(SERVICES.map(|(name, _)| name)))]
    only: Vec<String>,
    /// Redirect every AWS service, not only App Mesh and Cloud Map
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// The region to suggest when the environment names none
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    region: String,
    /// Print what removes the redirection
    #[arg(long)]
    unset: bool,
    /// How to print it; shell exports when left out
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let endpoint = endpoint::resolve(args.endpoint_url.as_deref())?.to_string();
    let variables = variables(args.all, &args.only);
    if args.unset {
        return Ok(output::emit(&format!("unset {} {HOST_PREFIX}\n", variables.join(" ")))?);
    }
    let exports = exports(&variables, &endpoint, &args.region, |name| std::env::var_os(name).is_some());
    if let Some(format) = args.output {
        let document = exports
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::String(value)))
            .collect::<Map<_, _>>();
        return Ok(output::print(&Value::Object(document), format, "Environment", Color::Auto)?);
    }
    let lines: Vec<String> =
        exports.into_iter().map(|(name, value)| format!("export {name}={}\n", quoted(&value))).collect();
    Ok(output::emit(&lines.concat())?)
}

const APP_MESH: &str = "AWS_ENDPOINT_URL_APP_MESH";
const CLOUD_MAP: &str = "AWS_ENDPOINT_URL_SERVICEDISCOVERY";

/// What can be redirected by itself, by the name that `aws` has for it.
const SERVICES: [(&str, &str); 6] = [
    ("appmesh", APP_MESH),
    ("servicediscovery", CLOUD_MAP),
    ("stepfunctions", "AWS_ENDPOINT_URL_SFN"),
    ("scheduler", "AWS_ENDPOINT_URL_SCHEDULER"),
    ("acm", "AWS_ENDPOINT_URL_ACM"),
    ("acm-pca", "AWS_ENDPOINT_URL_ACM_PCA"),
];

/// Some of Cloud Map's operations would be called under `data-` and the host's name, which is no name of an address, and one
/// of Step Functions' under `sync-`.
const HOST_PREFIX: &str = "AWS_DISABLE_HOST_PREFIX_INJECTION";

/// The variables that redirect what is asked for, in the order of [`SERVICES`].
fn variables(all: bool, only: &[String]) -> Vec<&'static str> {
    if all {
        return vec!["AWS_ENDPOINT_URL"];
    }
    if only.is_empty() {
        return vec![APP_MESH, CLOUD_MAP];
    }
    let is_wanted = |name: &str| only.iter().any(|wanted| wanted == name);
    SERVICES.into_iter().filter(|(name, _)| is_wanted(name)).map(|(_, variable)| variable).collect()
}

/// The variables to set, given which ones the environment has.
fn exports(
    variables: &[&'static str],
    endpoint: &str,
    region: &str,
    is_set: impl Fn(&str) -> bool,
) -> Vec<(&'static str, String)> {
    let mut exports: Vec<_> = variables.iter().map(|variable| (*variable, endpoint.to_owned())).collect();
    if variables != [APP_MESH] {
        exports.push((HOST_PREFIX, "true".to_owned()));
    }
    if !["AWS_REGION", "AWS_DEFAULT_REGION"].into_iter().any(&is_set) {
        exports.push(("AWS_DEFAULT_REGION", region.to_owned()));
    }
    // A profile or a role may supply credentials as well; their own variables then stand in the environment.
    let sources = [
        "AWS_ACCESS_KEY_ID",
        "AWS_PROFILE",
        "AWS_WEB_IDENTITY_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    ];
    if !sources.into_iter().any(&is_set) {
        exports.push(("AWS_ACCESS_KEY_ID", "selvedge".to_owned()));
        exports.push(("AWS_SECRET_ACCESS_KEY", "unused".to_owned()));
    }
    exports
}

/// A word that every POSIX shell reads as it stands.
fn quoted(value: &str) -> String {
    if value.chars().all(|c| c.is_ascii_alphanumeric() || "-._:/".contains(c)) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_environment_has_is_not_set_again() {
        let names = |is_set: &dyn Fn(&str) -> bool| {
            exports(&[APP_MESH, CLOUD_MAP], "http://x", "r", is_set)
                .into_iter()
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            names(&|_| false),
            [
                APP_MESH,
                CLOUD_MAP,
                HOST_PREFIX,
                "AWS_DEFAULT_REGION",
                "AWS_ACCESS_KEY_ID",
                "AWS_SECRET_ACCESS_KEY"
            ]
        );
        assert_eq!(names(&|_| true), [APP_MESH, CLOUD_MAP, HOST_PREFIX]);
        assert_eq!(
            names(&|name| name == "AWS_PROFILE"),
            [APP_MESH, CLOUD_MAP, HOST_PREFIX, "AWS_DEFAULT_REGION"]
        );
    }

    #[test]
    fn a_service_is_redirected_by_the_name_that_its_sdk_has_for_it() {
        let of =
            |only: &[&str]| variables(false, &only.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&[]), [APP_MESH, CLOUD_MAP]);
        assert_eq!(of(&["acm-pca", "stepfunctions"]), ["AWS_ENDPOINT_URL_SFN", "AWS_ENDPOINT_URL_ACM_PCA"]);
        assert_eq!(variables(true, &[]), ["AWS_ENDPOINT_URL"]);
    }

    #[test]
    fn values_are_safe_in_a_shell() {
        for (value, expected) in
            [("http://127.0.0.1:7070", "http://127.0.0.1:7070"), ("a b", "'a b'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(quoted(value), expected);
        }
    }
}
