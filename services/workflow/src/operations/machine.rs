//! State machines.

use std::sync::Arc;

use selvedge_aws::ApiError;
use selvedge_aws::operations::stepfunctions::{
    CONFLICT_EXCEPTION, INVALID_ARN, INVALID_LOGGING_CONFIGURATION, MISSING_REQUIRED_PARAMETER,
    STATE_MACHINE_ALREADY_EXISTS, STATE_MACHINE_DOES_NOT_EXIST, STATE_MACHINE_LIMIT_EXCEEDED,
    VALIDATION_EXCEPTION,
};
use selvedge_model::Value;
use selvedge_store::{Error as StoreError, Read, Transaction, WriteError};
use serde_json::Map;
use serde_json::json;

use super::{Failed, Scope, encryption, list, name, seconds, tag, validate, version};
use crate::Engine;
use crate::arn::{Arn, Resource};
use crate::engine::Known;
use crate::extension;
use crate::record::{self, Alias, ExecutionRecord, Machine, Revision, Version, key};

/// The most machines.
pub(crate) const MACHINES_MAX: usize = 100_000;

/// A machine as somebody names it: itself, a version or an alias of it.
pub(crate) struct Named {
    pub(crate) machine: Arc<Machine>,
    pub(crate) revision: Arc<Revision>,
    pub(crate) version: Option<Version>,
    pub(crate) alias: Option<Alias>,
}

pub(super) fn does_not_exist(arn: &str) -> ApiError {
    STATE_MACHINE_DOES_NOT_EXIST.because(format!("State Machine Does Not Exist: '{arn}'"))
}

/// The name and qualifier of a machine's ARN.
pub(super) fn machine_of(arn: &Arn) -> Result<(&str, Option<&str>), Failed> {
    match &arn.resource {
        Resource::Machine { name, qualifier } => Ok((name, qualifier.as_deref())),
        _ => {
            let message = format!("Invalid Arn: 'Resource type not valid in this context: {arn}'");
            Err(INVALID_ARN.because(message).into())
        }
    }
}

pub(super) fn find(view: &dyn Read, arn: &Arn) -> Result<Machine, Failed> {
    let (name, _) = machine_of(arn)?;
    let found = view.get(&key::machine(name))?;
    let found = found.ok_or_else(|| does_not_exist(&arn.to_string()))?;
    let machine: Machine = record::decode(&found)?;
    let own = Arn::parse(&machine.arn)?;
    if own.region != arn.region || own.account != arn.account {
        return Err(does_not_exist(&arn.to_string()).into());
    }
    Ok(machine)
}

pub(super) fn revision(view: &dyn Read, machine: &str, id: &str) -> Result<Revision, StoreError> {
    Revision::known(view, machine, id)
}

/// Finds what an ARN names; an alias with two versions chooses by `draw`.
pub(crate) fn named(engine: &Engine, arn: &Arn, draw: u64) -> Result<Named, Failed> {
    let (name, qualifier) = machine_of(arn)?;
    let Some(qualifier) = qualifier else {
        let Known { machine, revision } = engine.known_machine(&arn.to_string(), || {
            let view = engine.store.snapshot()?;
            let machine = find(&*view, arn)?;
            let revision = revision(&*view, name, &machine.revision)?;
            Ok::<_, Failed>(Known { machine: Arc::new(machine), revision: Arc::new(revision) })
        })?;
        return Ok(Named { machine, revision, version: None, alias: None });
    };
    let view = &*engine.store.snapshot()?;
    let machine = Arc::new(find(view, arn)?);
    let missing = || does_not_exist(&arn.to_string());
    if let Ok(number) = qualifier.parse::<u64>() {
        let found = view.get(&key::version(name, number))?.ok_or_else(missing)?;
        let version: Version = record::decode(&found)?;
        let revision = Arc::new(revision(view, name, &version.revision)?);
        return Ok(Named { machine, revision, version: Some(version), alias: None });
    }
    let found = view.get(&key::alias(name, qualifier))?.ok_or_else(missing)?;
    let alias: Alias = record::decode(&found)?;
    let mut share = ((u128::from(draw) * 100) >> 64) as u64;
    let chosen = alias.routing.iter().find(|(_, weight)| {
        let is_chosen = share < *weight;
        share = share.saturating_sub(*weight);
        is_chosen
    });
    let (version_arn, _) = chosen.or_else(|| alias.routing.first()).ok_or_else(missing)?;
    let number = version::number_of(&Arn::parse(version_arn)?).ok_or_else(missing)?;
    let found = view.get(&key::version(name, number))?.ok_or_else(missing)?;
    let version: Version = record::decode(&found)?;
    let revision = Arc::new(revision(view, name, &version.revision)?);
    Ok(Named { machine, revision, version: Some(version), alias: Some(alias) })
}

fn check_logging(logging: &Value) -> Result<(), Failed> {
    let level = logging["level"].as_str().unwrap_or("OFF");
    let destinations = logging["destinations"].as_array().map_or(0, Vec::len);
    if level != "OFF" && destinations != 1 {
        let message = "Invalid Logging Configuration: Must specify exactly one Log Destination.";
        return Err(INVALID_LOGGING_CONFIGURATION.because(message).into());
    }
    let arn = &logging["destinations"][0]["cloudWatchLogsLogGroup"]["logGroupArn"];
    if level != "OFF" && arn.as_str().and_then(crate::log::group).is_none() {
        let message = "Invalid Logging Configuration: loggingConfiguration.destinations[0].cloudWatchLogsLogGroup.logGroupArn \
                       has to be a log group's ARN, arn:aws:logs:REGION:ACCOUNT:log-group:NAME:*";
        return Err(INVALID_LOGGING_CONFIGURATION.because(message).into());
    }
    Ok(())
}

/// A role grants nothing here, but what is no role's ARN is a mistake here as well.
pub(super) fn check_role(text: &str) -> Result<(), Failed> {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    match parts[..] {
        ["arn", _, "iam", _, _, role] if role.starts_with("role/") => Ok(()),
        _ => Err(INVALID_ARN.because(format!("Invalid Role Arn: '{text}'")).into()),
    }
}

pub(super) fn create(scope: &Scope<'_>) -> Result<Value, Failed> {
    let name = scope.text("name");
    name::check(name)?;
    let publish = scope.flag("publish").unwrap_or(false);
    let description = scope.call.text("versionDescription");
    if description.is_some() && !publish {
        return Err(VALIDATION_EXCEPTION
            .because("Version description can only be set when publish is true")
            .into());
    }
    check_role(scope.text("roleArn"))?;
    let express = scope.text("type") == "EXPRESS";
    validate::accept(scope.text("definition"), express)?;
    let logging = scope.value("loggingConfiguration");
    check_logging(&logging)?;
    let encryption = encryption::given(scope)?;
    let is_full = list::is_full(&*scope.engine.store.snapshot()?, "machine/", MACHINES_MAX)?;
    let tags = tag::given(scope)?;
    let now_ms = scope.now_ms();
    let revision = Revision::new(
        scope.text("definition"),
        scope.text("roleArn"),
        [&logging, &scope.value("tracingConfiguration"), &encryption],
        now_ms,
    );
    let arn = scope.arn_of(Resource::Machine { name: name.into(), qualifier: None }).to_string();
    let (output, _) = scope.engine.change_machines(|tx| {
        if let Some(found) = tx.get(&key::machine(name))? {
            let machine: Machine = record::decode(&found)?;
            let current = self::revision(&*tx, name, &machine.revision)?;
            let is_same = machine.express == express
                && current.definition == revision.definition
                && current.logging == revision.logging
                && current.tracing == revision.tracing
                && current.encryption == revision.encryption
                && machine.arn == arn
                && published(&*tx, &machine)? == publish.then(|| description.map(str::to_owned));
            if !is_same {
                let message = format!("State Machine Already Exists: '{}'", machine.arn);
                return Err(WriteError::Refused(STATE_MACHINE_ALREADY_EXISTS.because(message)));
            }
            return Ok(created(&machine, u64::from(publish)));
        }
        if is_full {
            let message = format!("there are {MACHINES_MAX} state machines, as many as there may be");
            return Err(WriteError::Refused(STATE_MACHINE_LIMIT_EXCEEDED.because(message)));
        }
        let mut machine = Machine {
            arn: arn.clone(),
            name: name.to_owned(),
            express,
            created_ms: now_ms,
            revision: revision.id.clone(),
            tags: tags.clone(),
            last_version: 0,
            is_published: publish,
        };
        revision.write(tx, name)?;
        if publish {
            version::add(tx, &mut machine, description.map(str::to_owned), now_ms)?;
        }
        tx.put(&key::machine(name), record::encode(&machine))?;
        scope.note(tx, &machine.arn)?;
        Ok(created(&machine, machine.last_version))
    })?;
    Ok(output)
}

/// The description of the version that was made with the machine, where one was: what came later is another request's.
fn published(view: &dyn Read, machine: &Machine) -> Result<Option<Option<String>>, StoreError> {
    if !machine.is_published {
        return Ok(None);
    }
    // One that was deleted has no description any more.
    let Some(found) = view.get(&key::version(&machine.name, 1))? else { return Ok(Some(None)) };
    Ok(Some(record::decode::<Version>(&found)?.description))
}

fn created(machine: &Machine, version: u64) -> Value {
    let mut output = Map::new();
    output.insert("stateMachineArn".into(), machine.arn.as_str().into());
    output.insert("creationDate".into(), seconds(machine.created_ms));
    if version > 0 {
        output.insert("stateMachineVersionArn".into(), format!("{}:{version}", machine.arn).into());
    }
    Value::Object(output)
}

pub(super) fn update(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineArn")?;
    let (name, qualifier) = machine_of(&arn)?;
    if qualifier.is_some() {
        return Err(INVALID_ARN.because(format!("Invalid Arn: '{arn}' is a version or an alias")).into());
    }
    let publish = scope.flag("publish").unwrap_or(false);
    let description = scope.call.text("versionDescription");
    if description.is_some() && !publish {
        return Err(VALIDATION_EXCEPTION
            .because("Version description can only be set when publish is true")
            .into());
    }
    let given =
        ["definition", "roleArn", "loggingConfiguration", "tracingConfiguration", "encryptionConfiguration"];
    if !given.iter().any(|member| scope.call.input.contains_key(*member)) {
        let message = "Either the definition, the role ARN, the LoggingConfiguration, or the TracingConfiguration must be specified";
        return Err(MISSING_REQUIRED_PARAMETER.because(message).into());
    }
    let now_ms = scope.now_ms();
    let express = find(&*scope.engine.store.snapshot()?, &arn)?.express;
    if let Some(definition) = scope.call.text("definition") {
        validate::accept(definition, express)?;
    }
    if let Some(role) = scope.call.text("roleArn") {
        check_role(role)?;
    }
    check_logging(&scope.value("loggingConfiguration"))?;
    encryption::given(scope)?;
    let (output, _) = scope.engine.change_machines(|tx| {
        let mut machine = match find(&*tx, &arn) {
            Ok(machine) => machine,
            Err(Failed::Api(error)) => return Err(WriteError::Refused(error)),
            Err(Failed::Store(error)) => return Err(WriteError::Store(error)),
        };
        let current = revision(&*tx, name, &machine.revision)?;
        let or = |member: &str, current: &Value| {
            scope.call.input.get(member).cloned().unwrap_or_else(|| current.clone())
        };
        let next = Revision::new(
            scope.call.text("definition").unwrap_or(&current.definition),
            scope.call.text("roleArn").unwrap_or(&current.role_arn),
            [
                &or("loggingConfiguration", &current.logging),
                &or("tracingConfiguration", &current.tracing),
                &or("encryptionConfiguration", &current.encryption),
            ],
            now_ms,
        );
        next.write(tx, name)?;
        machine.revision.clone_from(&next.id);
        let mut output = json!({ "updateDate": seconds(now_ms), "revisionId": next.id });
        if publish {
            let arn = version::add(tx, &mut machine, description.map(str::to_owned), now_ms)?;
            output["stateMachineVersionArn"] = arn.into();
        }
        tx.put(&key::machine(name), record::encode(&machine))?;
        scope.note(tx, &machine.arn)?;
        Ok(output)
    })?;
    Ok(output)
}

pub(super) fn describe(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineArn")?;
    let found = named(scope.engine, &arn, 0)?;
    if found.alias.is_some() {
        return Err(does_not_exist(&arn.to_string()).into());
    }
    Ok(shown(scope, &found, &arn.to_string()))
}

fn shown(scope: &Scope<'_>, found: &Named, arn: &str) -> Value {
    let Named { machine, revision, version, .. } = found;
    let mut output = json!({
        "stateMachineArn": arn,
        "name": machine.name,
        "status": "ACTIVE",
        "roleArn": revision.role_arn,
        "type": if machine.express { "EXPRESS" } else { "STANDARD" },
        "creationDate": seconds(version.as_ref().map_or(machine.created_ms, |version| version.created_ms)),
        "revisionId": revision.id,
        "loggingConfiguration": or(&revision.logging, json!({"level": "OFF", "includeExecutionData": false})),
        "tracingConfiguration": or(&revision.tracing, json!({"enabled": false})),
        "encryptionConfiguration": or(&revision.encryption, json!({"type": "AWS_OWNED_KEY"})),
    });
    if scope.text("includedData") != "METADATA_ONLY" {
        output["definition"] = revision.definition.as_str().into();
        let references = variable_references(&revision.definition);
        if !references.is_empty() {
            output["variableReferences"] = Value::Object(references);
        }
    }
    if let Some(description) = version.as_ref().and_then(|version| version.description.as_ref()) {
        output["description"] = description.as_str().into();
    }
    output
}

fn or(given: &Value, default: Value) -> Value {
    if given.is_null() { default } else { given.clone() }
}

fn variable_references(definition: &str) -> Map<String, Value> {
    let (parsed, _) = selvedge_asl::parse(definition);
    let references = parsed.map(|parsed| parsed.variable_references).unwrap_or_default();
    let shown = references.into_iter().map(|(state, names)| {
        (state.to_string(), Value::from(names.iter().map(|name| name.to_string()).collect::<Vec<_>>()))
    });
    shown.collect()
}

pub(super) fn describe_for_execution(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("executionArn")?;
    let view = scope.engine.store.snapshot()?;
    let record: ExecutionRecord = super::execution::find(&*view, &arn)?;
    let revision = revision(&*view, &record.machine, &record.revision)?;
    let (name, label) = match record.machine.rsplit_once(':') {
        Some((name, label)) => (name, Some(label)),
        None => (record.machine.as_str(), None),
    };
    let mut output = json!({
        "stateMachineArn": record.machine_arn,
        "name": name,
        "roleArn": revision.role_arn,
        "updateDate": seconds(revision.updated_ms),
        "revisionId": revision.id,
        "loggingConfiguration": or(&revision.logging, json!({"level": "OFF", "includeExecutionData": false})),
        "tracingConfiguration": or(&revision.tracing, json!({"enabled": false})),
        "encryptionConfiguration": or(&revision.encryption, json!({"type": "AWS_OWNED_KEY"})),
    });
    if let Some(child) = &record.child {
        output["mapRunArn"] = child.run_arn.as_str().into();
        output["label"] = label.into();
    }
    if scope.text("includedData") != "METADATA_ONLY" {
        output["definition"] = revision.definition.as_str().into();
    }
    Ok(output)
}

/// Deletes a machine with its versions and aliases. What runs goes on to its end.
pub(super) fn delete(scope: &Scope<'_>) -> Result<Value, Failed> {
    let arn = scope.arn("stateMachineArn")?;
    let (name, qualifier) = machine_of(&arn)?;
    if qualifier.is_some() {
        return Err(INVALID_ARN.because(format!("Invalid Arn: '{arn}' is a version or an alias")).into());
    }
    let deleted = scope.engine.change_machines(|tx| {
        match find(&*tx, &arn) {
            Ok(_) => {}
            // Deleting what is not there is no failure.
            Err(Failed::Api(_)) => return Ok(()),
            Err(Failed::Store(error)) => return Err(WriteError::Store(error)),
        }
        tx.delete(&key::machine(name))?;
        extension::delete(tx, name)?;
        for prefix in [format!("version/{name}/"), format!("alias/{name}/")] {
            let keys: Vec<String> =
                tx.scan(&prefix, None, KEYS_MAX)?.into_iter().map(|found| found.key).collect();
            for key in keys {
                tx.delete(&key)?;
            }
        }
        Ok(scope.note(tx, &arn.to_string())?)
    });
    deleted?;
    scope.engine.forget_extension(name);
    Ok(json!({}))
}

/// Versions and aliases of a machine together.
const KEYS_MAX: usize = 1024;

pub(super) fn list(scope: &Scope<'_>) -> Result<Value, Failed> {
    let view = scope.engine.store.snapshot()?;
    let page = list::page(scope, &*view, "stateMachines", "machine/", |found| {
        let machine: Machine = record::decode(found)?;
        Ok(Some(json!({
            "stateMachineArn": machine.arn,
            "name": machine.name,
            "type": if machine.express { "EXPRESS" } else { "STANDARD" },
            "creationDate": seconds(machine.created_ms),
        })))
    })?;
    Ok(Value::Object(page))
}

/// Changes a machine's document in a transaction.
pub(super) fn change(
    scope: &Scope<'_>,
    arn: &Arn,
    mut f: impl FnMut(&mut dyn Transaction, &mut Machine) -> Result<Value, WriteError<ApiError>>,
) -> Result<Value, Failed> {
    let (name, _) = machine_of(arn)?;
    let (output, _) = scope.engine.change_machines(|tx| {
        let mut machine = match find(&*tx, arn) {
            Ok(machine) => machine,
            Err(Failed::Api(error)) => return Err(WriteError::Refused(error)),
            Err(Failed::Store(error)) => return Err(WriteError::Store(error)),
        };
        let output = f(tx, &mut machine)?;
        tx.put(&key::machine(name), record::encode(&machine))?;
        Ok(output)
    })?;
    Ok(output)
}

pub(super) fn conflict(message: impl Into<String>) -> ApiError {
    CONFLICT_EXCEPTION.because(message)
}
