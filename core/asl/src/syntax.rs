//! A state machine as written: what the text means, every path and expression parsed.

mod field;
mod machine;
mod state;

pub use machine::{parse, parse_as};

use std::collections::BTreeMap;

use selvedge_query::{Expression, Intrinsic, Path};
use serde_json::Value;

use crate::{Catcher, Condition, Payload, Resource, Retrier};

/// The longest definition, in bytes.
pub const DEFINITION_BYTES_MAX: usize = 1 << 20;
/// The longest name of a state.
pub const NAME_CHARACTERS_MAX: usize = 80;

/// A state machine that is free of errors.
#[derive(Clone, Debug)]
pub struct Definition {
    /// `Comment`
    pub comment: Option<Box<str>>,
    /// Seconds that an execution may take.
    pub timeout_seconds: Option<u64>,
    /// The states, nested ones in scopes of their own; [`ScopeId::TOP`] is the machine's.
    pub scopes: Vec<Branch>,
    /// Per state, the variables that it reads: for `DescribeStateMachine`.
    pub variable_references: BTreeMap<Box<str>, Vec<Box<str>>>,
}

/// How a machine's executions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineType {
    /// Durably.
    Standard,
    /// In memory, for five minutes at most.
    Express,
}

/// Which states a branch may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct ScopeId(pub u32);

/// States that transitions can reach from each other.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The first of them.
    pub start_at: Box<str>,
    /// By their names.
    pub states: BTreeMap<Box<str>, State>,
}

/// JSONPath or JSONata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueryLanguage {
    /// The default.
    JsonPath,
    /// `"QueryLanguage": "JSONata"`
    JsonAta,
}

/// One state.
#[derive(Clone, Debug)]
pub struct State {
    /// Unique in the machine.
    pub name: Box<str>,
    /// What its fields are written in.
    pub language: QueryLanguage,
    /// What it does.
    pub kind: Kind,
    /// Where it goes; none for Choice, Succeed and Fail.
    pub next: Option<Flow>,
    /// JSONPath: the part of the input that it sees; none is an empty object.
    pub input_path: Option<Path>,
    /// JSONPath: the part of the output that goes on; none is an empty object.
    pub output_path: Option<Path>,
    /// `Parameters` or `Arguments`
    pub arguments: Option<Payload>,
    /// JSONPath: made of the result.
    pub result_selector: Option<Payload>,
    /// JSONPath: where the result goes in the input; none discards it.
    pub result_path: Option<Path>,
    /// JSONata: the output.
    pub output: Option<Payload>,
    /// `Assign`
    pub assign: Option<Payload>,
    /// `Retry`
    pub retry: Vec<Retrier>,
    /// `Catch`
    pub catch: Vec<Catcher>,
    /// Something in it names the context object.
    pub uses_context: bool,
}

/// Where a state goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// `Next`
    Next(Box<str>),
    /// `"End": true`
    End,
}

/// What a state does.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Passes its input on, or a result that is written down.
    Pass {
        /// `Result`
        result: Option<Value>,
    },
    /// Calls something.
    Task(Box<TaskState>),
    /// Goes where the first rule that holds points.
    Choice {
        /// In order.
        rules: Vec<ChoiceRule>,
        /// Where it goes when no rule holds.
        default: Option<Box<str>>,
    },
    /// Waits.
    Wait(Until),
    /// Ends its branch well.
    Succeed,
    /// Ends its branch badly.
    Fail {
        /// `Error`
        error: Option<FailText>,
        /// `Cause`
        cause: Option<FailText>,
    },
    /// Runs branches side by side.
    Parallel {
        /// In order.
        branches: Vec<ScopeId>,
    },
    /// Runs one branch for each item.
    Map(Box<MapState>),
}

/// A Task state's own fields.
#[derive(Clone, Debug)]
pub struct TaskState {
    /// What it calls.
    pub resource: Resource,
    /// As it was written.
    pub resource_text: Box<str>,
    /// Seconds from its start to its end.
    pub timeout: Option<Number>,
    /// Seconds between two heartbeats.
    pub heartbeat: Option<Number>,
    /// `Credentials`
    pub credentials: Option<Payload>,
}

/// A number that is written down, or found in the input.
#[derive(Clone, Debug)]
pub enum Number<T = u64> {
    /// Written down.
    Constant(T),
    /// `…Path`
    Path(Path),
    /// `{% … %}`
    Expression(Box<Expression>),
}

/// One rule of a Choice state.
#[derive(Clone, Debug)]
pub struct ChoiceRule {
    /// When it holds.
    pub test: ChoiceTest,
    /// Where it goes.
    pub next: Box<str>,
    /// Variables that it assigns.
    pub assign: Option<Payload>,
    /// JSONata: the output.
    pub output: Option<Payload>,
}

/// When a rule holds.
#[derive(Clone, Debug)]
pub enum ChoiceTest {
    /// JSONPath mode.
    Condition(Condition),
    /// JSONata mode.
    Expression(Box<Expression>),
    /// JSONata mode: written down.
    Constant(bool),
}

/// How long a Wait state waits.
#[derive(Clone, Debug)]
pub enum Until {
    /// `Seconds`, `SecondsPath`
    Seconds(Number),
    /// `Timestamp`, as written
    Timestamp(Box<str>),
    /// `TimestampPath`
    TimestampPath(Path),
    /// `Timestamp`, computed
    TimestampExpression(Box<Expression>),
}

/// A text of a Fail state.
#[derive(Clone, Debug)]
pub enum FailText {
    /// Written down.
    Constant(Box<str>),
    /// `ErrorPath`, `CausePath`
    Path(Path),
    /// The same, by a function.
    Intrinsic(Intrinsic),
    /// `{% … %}`
    Expression(Box<Expression>),
}

/// A Map state's own fields.
#[derive(Clone, Debug)]
pub struct MapState {
    /// JSONPath: where the items are.
    pub items_path: Option<Path>,
    /// JSONata: the items.
    pub items: Option<Payload>,
    /// What each branch gets, made of its item.
    pub item_selector: Option<Payload>,
    /// What each item runs.
    pub processor: ScopeId,
    /// How many run at once; 0 is as many as there may be.
    pub max_concurrency: Number,
    /// How many items may fail.
    pub tolerated_count: Option<Number>,
    /// How many of a hundred may fail.
    pub tolerated_percentage: Option<Number<f64>>,
    /// `"Mode": "DISTRIBUTED"`
    pub distributed: Option<DistributedMap>,
}

/// What only a distributed Map state has.
#[derive(Clone, Debug)]
pub struct DistributedMap {
    /// Its children are express executions.
    pub express: bool,
    /// A part of its children's ARNs.
    pub label: Option<Box<str>>,
    /// `ItemReader`: its resource and parameters, as written but for what is computed.
    pub reader: Option<Box<str>>,
    /// The reader's `Parameters` or `Arguments`.
    pub reader_arguments: Option<Payload>,
    /// The reader's `ReaderConfig`.
    pub reader_config: Option<Payload>,
    /// `ItemBatcher`
    pub batcher: Option<Payload>,
    /// `ResultWriter`'s resource.
    pub writer: Option<Box<str>>,
    /// Its `Parameters` or `Arguments`.
    pub writer_arguments: Option<Payload>,
    /// Its `WriterConfig`.
    pub writer_config: Option<Value>,
    /// The child's definition, as written: it is a machine of its own.
    pub processor: Value,
    /// What the child's states are written in, unless they say otherwise.
    pub language: QueryLanguage,
}

impl ScopeId {
    /// The machine's own states.
    pub const TOP: Self = Self(0);
}

impl Definition {
    /// The states of a scope.
    ///
    /// # Panics
    /// For an id of another definition.
    pub fn scope(&self, id: ScopeId) -> &Branch {
        &self.scopes[id.0 as usize]
    }

    /// A state by its scope and name.
    pub fn state(&self, scope: ScopeId, name: &str) -> Option<&State> {
        self.scopes.get(scope.0 as usize)?.states.get(name)
    }

    /// A state by its name, which is unique in the machine.
    pub fn find(&self, name: &str) -> Option<(ScopeId, &State)> {
        self.scopes.iter().enumerate().find_map(|(index, branch)| {
            let index = u32::try_from(index).expect("a definition has fewer states than bytes");
            Some((ScopeId(index), branch.states.get(name)?))
        })
    }
}

impl DistributedMap {
    /// The machine that each child runs.
    pub fn machine(&self) -> Value {
        let mut machine = self.processor.clone();
        if let Some(members) = machine.as_object_mut() {
            members.remove("ProcessorConfig");
            members.remove("QueryLanguage");
            if self.language == QueryLanguage::JsonAta {
                members.insert("QueryLanguage".into(), "JSONata".into());
            }
        }
        machine
    }
}

impl State {
    /// The word in `Type` and in the names of events.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Pass { .. } => "Pass",
            Kind::Task(_) => "Task",
            Kind::Choice { .. } => "Choice",
            Kind::Wait(_) => "Wait",
            Kind::Succeed => "Succeed",
            Kind::Fail { .. } => "Fail",
            Kind::Parallel { .. } => "Parallel",
            Kind::Map(_) => "Map",
        }
    }
}
