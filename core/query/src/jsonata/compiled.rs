//! Expressions of the kind that state machines are made of, evaluated where their values lie.
//!
//! The library evaluates all of JSONata over values of its own: each evaluation copies what it reads into them, and its result
//! out again. Most expressions of a state machine are paths, comparisons, sums and constructors. Such a one is compiled once,
//! when it is parsed, into a [`Program`] that reads the state's JSON in place.
//!
//! A program either has the value that the library would have, or gives up ([`GaveUp`]): on an error of the expression, on a
//! bound, on a case that it does not know. Then the library evaluates from the beginning, and whatever it says holds. An
//! expression has no effects, so nothing happens twice; and errors and their codes are the library's, word for word.
//!
//! There is no clock here. What a program does is counted in steps, and one that takes too many gives up as well: the library
//! then watches the time.

mod compile;
mod function;
mod path;
mod run;
#[cfg(test)]
mod tests;
mod text;
mod value;

use jsonata_core::ast::AstNode;
use serde_json::Value;

use super::guard::Uses;
use super::{Bounds, Names};
use function::Function;
use path::Path;
use run::Run;
use value::Val;

/// How deep the parts of a program nest.
pub(super) const NESTING_MAX: usize = 64;
/// Steps that a program may take for each millisecond that an evaluation may take; a step is well below a microsecond.
const STEPS_PER_MS: u64 = 2000;
/// Levels of the library's evaluation to each level of a program, at most.
const LEVELS: usize = 4;

/// The library has to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GaveUp;

/// An expression that needs no library, as long as nothing goes wrong.
#[derive(Clone, Debug)]
pub(super) struct Program {
    root: Node,
    /// Places for the values that it binds.
    locals: usize,
    /// How deep its parts nest.
    nesting: usize,
}

/// A part of an expression.
#[derive(Clone, Debug)]
enum Node {
    Undefined,
    Null,
    Boolean(bool),
    Number(f64),
    Text(Box<str>),
    /// `$`.
    Context,
    /// What the program bound.
    Local(usize),
    /// What the state machine bound.
    Variable(Box<str>),
    Path(Path),
    Negate(Box<Self>),
    Arithmetic(Arithmetic, Box<Self>, Box<Self>),
    Compare(Comparison, Box<Self>, Box<Self>),
    Equal {
        negated: bool,
        left: Box<Self>,
        right: Box<Self>,
    },
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    In(Box<Self>, Box<Self>),
    Range(Box<Self>, Box<Self>),
    /// `?:`: the right one unless the left one counts as true.
    Default(Box<Self>, Box<Self>),
    /// `??`: the right one unless the left one is there.
    Coalesce(Box<Self>, Box<Self>),
    /// All of `a & b & c`.
    Concatenate(Vec<Self>),
    Condition(Box<[Self; 3]>),
    Block(Vec<Statement>),
    Array(Vec<Item>),
    Object(Vec<(Self, Self)>),
    Call(Function, Vec<Self>),
    Each(Box<Each>),
}

#[derive(Clone, Copy, Debug)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// One of a block's expressions, and where its value is kept.
#[derive(Clone, Debug)]
struct Statement {
    binds: Option<usize>,
    value: Node,
}

/// One of an array constructor's expressions. A constructor's array stays one item; the items of any other become items.
#[derive(Clone, Debug)]
struct Item {
    is_array: bool,
    value: Node,
}

/// `$map`, `$filter`, `$single` or `$reduce` with a function that stands in its place.
#[derive(Clone, Debug)]
struct Each {
    kind: EachKind,
    items: Node,
    /// Where the function's parameters are kept, in their order.
    parameters: Vec<usize>,
    body: Node,
    /// What `$reduce` begins with.
    initial: Option<Node>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum EachKind {
    Map,
    Filter,
    Single,
    Reduce,
}

impl Program {
    /// Compiles a tree with its checks, unless something in it needs the library.
    pub(super) fn compile(tree: &AstNode, uses: &Uses) -> Option<Self> {
        compile::program(tree, uses)
    }

    /// The value, or none where the expression selects nothing; `context` is what `$` is.
    ///
    /// # Errors
    /// [`GaveUp`] when only the library can tell.
    pub(super) fn evaluate(
        &self,
        context: Option<&Value>,
        names: &Names<'_>,
        now_ms: i64,
        bounds: Bounds,
    ) -> Result<Option<Value>, GaveUp> {
        // The library wraps an array that it is given as a whole.
        if bounds.depth < self.nesting * LEVELS || context.is_some_and(Value::is_array) {
            return Err(GaveUp);
        }
        let steps = usize::try_from(bounds.time_ms.saturating_mul(STEPS_PER_MS)).unwrap_or(usize::MAX);
        let mut run = Run::new(names, now_ms, self.locals, steps, bounds.sequence);
        let found = run.evaluate(&self.root, &context.map_or(Val::Undefined, Val::of))?;
        value::json(&found)
    }
}
