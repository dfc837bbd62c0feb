//! One state: what its kind has in common with others, then its own fields.

mod choice;
mod fail;
mod handler;
mod map;
mod task;
mod wait;

use serde_json::Value;

use super::field::Fields;
use super::machine::Machine;
use super::{Flow, Kind, QueryLanguage, State};
use selvedge_query::Path;

/// What a state of JSONPath has that one of JSONata lacks.
const JSON_PATH_FIELDS: &[&str] = &["InputPath", "OutputPath", "Parameters", "ResultSelector", "ResultPath"];
/// And the other way round.
const JSON_ATA_FIELDS: &[&str] = &["Arguments", "Output"];

/// `QueryLanguage` of a machine or a state.
pub(super) fn language(fields: &mut Fields<'_, '_, '_>, around: QueryLanguage) -> QueryLanguage {
    match fields.text("QueryLanguage") {
        None => around,
        Some("JSONPath") => QueryLanguage::JsonPath,
        Some("JSONata") => QueryLanguage::JsonAta,
        Some(_) => {
            fields.fault("QueryLanguage", "JSONPath or JSONata is expected");
            around
        }
    }
}

/// What the kinds differ in.
struct Shape {
    /// `Next` or `End`.
    flows: bool,
    /// `Parameters` or `Arguments`.
    arguments: bool,
    /// `ResultSelector`, `Retry` and `Catch`.
    works: bool,
    /// `ResultPath`.
    has_result: bool,
    /// `InputPath` and `OutputPath`, or `Output`.
    shapes_data: bool,
    /// `Assign`.
    assigns: bool,
}

impl Shape {
    fn of(kind: &str) -> Option<Self> {
        let all = Self {
            flows: true,
            arguments: true,
            works: true,
            has_result: true,
            shapes_data: true,
            assigns: true,
        };
        Some(match kind {
            "Task" | "Parallel" => all,
            "Map" => Self { arguments: false, ..all },
            "Pass" => Self { works: false, ..all },
            "Wait" => Self { arguments: false, works: false, has_result: false, ..all },
            "Choice" => Self { flows: false, arguments: false, works: false, has_result: false, ..all },
            "Succeed" => Self {
                flows: false,
                arguments: false,
                works: false,
                has_result: false,
                shapes_data: true,
                assigns: false,
            },
            "Fail" => Self {
                flows: false,
                arguments: false,
                works: false,
                has_result: false,
                shapes_data: false,
                assigns: false,
            },
            _ => return None,
        })
    }
}

pub(super) fn read(
    machine: &mut Machine<'_>,
    name: &str,
    value: &Value,
    at: &str,
    around: QueryLanguage,
) -> Option<State> {
    let mut fields = Fields::new(value, at.to_owned(), &mut machine.findings, around)?;
    let kind_name = fields.need("Type")?;
    let Some((kind_name, shape)) = kind_name.as_str().and_then(|name| Some((name, Shape::of(name)?))) else {
        fields.fault("Type", "one of Task, Pass, Choice, Wait, Succeed, Fail, Parallel and Map is expected");
        return None;
    };
    fields.text("Comment");
    let state_language = language(&mut fields, around);
    if around == QueryLanguage::JsonAta && state_language == QueryLanguage::JsonPath {
        fields.fault("QueryLanguage", "a machine in JSONata cannot have a state in JSONPath");
    }
    fields.language = state_language;
    match state_language {
        QueryLanguage::JsonAta => fields.refuse(JSON_PATH_FIELDS, "JSONata"),
        QueryLanguage::JsonPath => fields.refuse(JSON_ATA_FIELDS, "JSONPath"),
    }
    let mut state = State {
        name: name.into(),
        language: state_language,
        kind: Kind::Succeed,
        next: None,
        input_path: Some(Path::parse("$").expect("it is a path")),
        output_path: Some(Path::parse("$").expect("it is a path")),
        arguments: None,
        result_selector: None,
        result_path: Some(Path::parse("$").expect("it is a path")),
        output: None,
        assign: None,
        retry: Vec::new(),
        catch: Vec::new(),
        uses_context: false,
    };
    common(&mut fields, &shape, &mut state);
    let scopes = own(&mut fields, kind_name, &mut state);
    let (variables, uses_context) = fields.finish();
    state.uses_context = uses_context;
    machine.references(name, variables);
    nested(machine, value, at, scopes, &mut state);
    Some(state)
}

fn common(fields: &mut Fields<'_, '_, '_>, shape: &Shape, state: &mut State) {
    let json_ata = fields.is_json_ata();
    if shape.flows {
        state.next = flow(fields);
    }
    if shape.shapes_data && json_ata {
        state.output = fields.payload("Output");
    }
    if shape.shapes_data && !json_ata {
        if let Some(path) = fields.path("InputPath", false) {
            state.input_path = path;
        }
        if let Some(path) = fields.path("OutputPath", false) {
            state.output_path = path;
        }
    }
    if shape.arguments {
        state.arguments = fields.payload(if json_ata { "Arguments" } else { "Parameters" });
    }
    if shape.has_result
        && !json_ata
        && let Some(path) = fields.path("ResultPath", true)
    {
        if path.as_ref().is_some_and(|path| *path.root() != selvedge_query::Root::Input) {
            fields.fault("ResultPath", "a result is put into the state's input: the path begins with '$.'");
        }
        state.result_path = path;
    }
    if shape.works {
        if !json_ata {
            state.result_selector = fields.payload("ResultSelector");
        }
        state.retry = handler::retriers(fields);
        state.catch = handler::catchers(fields);
    }
    if shape.assigns {
        state.assign = handler::assign(fields);
    }
}

fn flow(fields: &mut Fields<'_, '_, '_>) -> Option<Flow> {
    let (next, end) = (fields.text("Next").map(Box::<str>::from), fields.flag("End"));
    match (next, end) {
        (Some(next), None) => Some(Flow::Next(next)),
        (None, Some(true)) => Some(Flow::End),
        (Some(_), Some(_)) => {
            fields.fault("End", "only one of Next and End can be given");
            None
        }
        (None, Some(false)) => {
            fields.fault("End", "true is expected");
            None
        }
        (None, None) => {
            if !fields.has("Next") && !fields.has("End") {
                let pointer = fields.pointer.clone();
                fields.findings.schema(&pointer, "Next or End is required");
            }
            None
        }
    }
}

/// Where a kind's own states are, below the state.
enum Nested {
    None,
    Branches(usize),
    Processor(&'static str, Box<map::Own>),
}

fn own(fields: &mut Fields<'_, '_, '_>, kind_name: &str, state: &mut State) -> Nested {
    match kind_name {
        "Pass" => {
            let result = fields.take("Result").cloned();
            if fields.is_json_ata() && result.is_some() {
                fields.fault("Result", "a state in JSONata has Output instead of Result");
            }
            state.kind = Kind::Pass { result };
        }
        "Task" => {
            if let Some(task) = task::read(fields) {
                state.kind = Kind::Task(Box::new(task));
            }
        }
        "Choice" => state.kind = choice::read(fields),
        "Wait" => {
            if let Some(until) = wait::read(fields) {
                state.kind = Kind::Wait(until);
            }
        }
        "Fail" => state.kind = fail::read(fields),
        "Parallel" => {
            let branches = fields.need("Branches").and_then(Value::as_array).map_or(0, Vec::len);
            if branches == 0 && fields.has("Branches") {
                fields.fault("Branches", "an array with at least one branch is expected");
            }
            return Nested::Branches(branches);
        }
        "Map" => {
            if let Some((name, own)) = map::read(fields) {
                return Nested::Processor(name, Box::new(own));
            }
        }
        _ => {}
    }
    Nested::None
}

fn nested(machine: &mut Machine<'_>, value: &Value, at: &str, nested: Nested, state: &mut State) {
    match nested {
        Nested::None => {}
        Nested::Branches(count) => {
            let mut branches = Vec::with_capacity(count);
            for index in 0..count {
                let pointer = format!("{at}/Branches/{index}");
                let branch = &value["Branches"][index];
                let around = machine.language;
                if let Some(mut fields) = Fields::new(branch, pointer.clone(), &mut machine.findings, around)
                {
                    for name in ["StartAt", "States", "Comment"] {
                        fields.take(name);
                    }
                    fields.finish();
                    branches.extend(machine.scope(branch, &pointer, around));
                }
            }
            state.kind = Kind::Parallel { branches };
        }
        Nested::Processor(name, own) => {
            let pointer = format!("{at}/{name}");
            let processor = &value[name];
            let around = machine.language;
            if let Some(mut fields) = Fields::new(processor, pointer.clone(), &mut machine.findings, around) {
                for name in ["StartAt", "States", "Comment", "ProcessorConfig"] {
                    fields.take(name);
                }
                // What is within a state speaks the machine's language, and not the state's, unless it says so.
                let inner = language(&mut fields, around);
                fields.finish();
                let is_apart = own.is_distributed();
                let is_express = machine.findings.is_express;
                machine.findings.is_express = own.runs_express().unwrap_or(is_express);
                let scope = machine.scope(processor, &pointer, inner);
                machine.findings.is_express = is_express;
                if let Some(id) = scope {
                    if is_apart {
                        machine.apart.insert(id);
                    }
                    state.kind = Kind::Map(Box::new(own.with_processor(id, inner)));
                }
            }
        }
    }
}
