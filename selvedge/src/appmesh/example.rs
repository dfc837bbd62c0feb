//! Examples for the help of each operation.

use selvedge_aws::Operation;
use selvedge_model::{Member, Presence};

use super::argument::kebab;

/// Characters of a value that stay beside their option.
const LINE_MAX: usize = 60;

/// Commands that work as they stand once the mesh they name exists.
pub(super) fn examples(operation: &Operation) -> String {
    let required: Vec<String> = operation
        .input
        .members()
        .iter()
        .filter(|member| member.presence == Presence::Required)
        .map(|member| {
            let sample = sample(operation, member);
            // Help is wrapped at blanks: a long value gets a line of its own, so that the command can still be copied.
            let gap = if sample.len() > LINE_MAX { " \\\n        " } else { " " };
            format!(" \\\n      --{}{gap}{sample}", kebab(member.name))
        })
        .collect();
    let mut text = format!("Examples:\n  selvedge appmesh {}{}\n", operation.command, required.concat());
    if operation.idempotency_token.is_some() {
        text.push_str(&format!(
            "\n  selvedge appmesh {0} --generate-cli-skeleton > input.json\n  selvedge appmesh {0} --cli-input-json file://input.json\n",
            operation.command
        ));
    }
    if let Some(pagination) = operation.pagination {
        text.push_str(&format!(
            "\n  selvedge appmesh {}{} --max-items 10 --output text --query '{}[].[{}]'\n",
            operation.command,
            required.concat(),
            pagination.result,
            if pagination.result == "tags" { "key, value" } else { "arn" },
        ));
    }
    text
}

fn sample(operation: &Operation, member: &Member) -> &'static str {
    match member.name {
        "meshName" => "my-mesh",
        "virtualNodeName" => "colors-v1",
        "virtualServiceName" => "colors.local",
        "virtualRouterName" => "colors-router",
        "routeName" => "colors-route",
        "virtualGatewayName" => "front-door",
        "gatewayRouteName" => "colors",
        "resourceArn" => "arn:aws:appmesh:us-east-1:123456789012:mesh/my-mesh",
        "tags" => "key=Environment,value=Production key=Team,value=Platform",
        "tagKeys" => "Environment Team",
        "spec" => spec(operation.name),
        _ => "VALUE",
    }
}

fn spec(operation: &str) -> &'static str {
    match operation.trim_start_matches("Create").trim_start_matches("Update") {
        "Mesh" => "egressFilter={type=ALLOW_ALL}",
        "VirtualNode" => {
            "'listeners=[{portMapping={port=8080,protocol=http}}],serviceDiscovery={dns={hostname=colors.example}}'"
        }
        "VirtualRouter" => "'listeners=[{portMapping={port=8080,protocol=http}}]'",
        "VirtualService" => "provider={virtualRouter={virtualRouterName=colors-router}}",
        "Route" => {
            "'httpRoute={match={prefix=/},action={weightedTargets=[{virtualNode=colors-v1,weight=80},{virtualNode=colors-v2,weight=20}]}}'"
        }
        "VirtualGateway" => "'listeners=[{portMapping={port=8080,protocol=http}}]'",
        _ => {
            "'httpRoute={match={prefix=/},action={target={virtualService={virtualServiceName=colors.local}}}}'"
        }
    }
}
