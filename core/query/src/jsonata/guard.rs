//! Checks around what a single step could blow up, put into the tree of an expression once, when it is parsed.
//!
//! A concatenation doubles a text at most, so checking each result bounds them all. `$string` and `$join` write out what
//! the library shares, so what they are given is measured first. `$replace` multiplies the lengths of its arguments, so
//! both are bounded. Built-in functions that are checked may be called, not passed on as values, but for `$string`: a call
//! cannot be checked where nobody sees it.

use std::collections::BTreeSet;

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage, UnaryOp};

use super::{BYTES_MAX, ExpressionError};

/// The host function that lets a text of acceptable length pass.
pub(super) const BOUNDED: &str = "__bounded";
/// The host function that lets a value pass whose JSON has an acceptable length.
pub(super) const MEASURED: &str = "__measured";
/// The host function that lets a text pass in which `$replace` may search.
pub(super) const SOURCE: &str = "__source";
/// The host function that lets a text pass that is short enough to stand in another many times.
pub(super) const SHORT: &str = "__short";
/// The host function that brings a number within those that a place in a text can be.
pub(super) const PLACE: &str = "__place";
/// The host function that lets a number pass which its picture writes in a text of acceptable length.
pub(super) const PICTURED: &str = "__pictured";
/// The host function that brings a range's end within those that the library can subtract.
pub(super) const EDGE: &str = "__edge";
/// The host function that joins texts.
pub(super) const JOIN: &str = "__join";

/// Functions that only a call may name.
const CALLED_ONLY: &[&str] = &["eval", "join", "replace", "pad", "formatInteger"];

pub(super) fn insert(node: &mut AstNode) -> Result<(), ExpressionError> {
    if let AstNode::Variable(name) = node
        && CALLED_ONLY.contains(&name.as_str())
    {
        return Err(ExpressionError::Syntax(format!("${name} can be called, not passed on")));
    }
    if let AstNode::Variable(name) = node
        && name == "string"
    {
        // `$map(…, $string)` is common: what is passed on is a function that calls it, and that call is checked.
        *node = AstNode::Lambda {
            params: vec!["__value".to_owned()],
            body: Box::new(AstNode::Function {
                name: "string".to_owned(),
                args: vec![AstNode::Variable("__value".to_owned())],
                is_builtin: true,
            }),
            signature: None,
            thunk: false,
        };
    }
    for_each_child(node, &mut insert)?;
    match node {
        AstNode::Binary { op: BinaryOp::Concatenate, .. } => wrap(node, BOUNDED),
        AstNode::Binary { op: BinaryOp::ChainPipe, lhs, rhs } => chain(lhs, rhs),
        AstNode::Binary { op: BinaryOp::Range, lhs, rhs } => [lhs, rhs].into_iter().for_each(|end| {
            if literal(end).is_none_or(|number| number.abs() > BYTES_MAX as f64) {
                wrap(end, EDGE);
            }
        }),
        AstNode::Function { name, args, is_builtin: true } => match name.as_str() {
            "eval" => return Err(ExpressionError::Syntax("$eval is not offered; $parse reads JSON".into())),
            "string" => args.iter_mut().take(1).for_each(|argument| wrap(argument, MEASURED)),
            "join" => JOIN.clone_into(name),
            "substring" => places(args, 1),
            "formatInteger" => {
                // A call with a picture alone formats what the context is.
                if args.len() == 1 {
                    args.insert(0, AstNode::Variable(String::new()));
                }
                if let [number, picture, ..] = args.as_mut_slice() {
                    pictured(number, picture);
                }
            }
            "replace" => {
                args.iter_mut().take(1).for_each(|source| wrap(source, SOURCE));
                replacing(args, 1);
                wrap(node, BOUNDED);
            }
            _ => {}
        },
        _ => {}
    }
    Ok(())
}

/// What an expression uses.
#[derive(Clone, Debug, Default)]
pub(super) struct Uses {
    /// Names that it reads, but the reserved ones, whether or not it binds them as well.
    pub(super) reads: BTreeSet<Box<str>>,
    pub(super) bound: BTreeSet<Box<str>>,
    /// The members of `$states` that it reads; none when it may read all of them.
    pub(super) members: Option<BTreeSet<Box<str>>>,
    /// Functions that it calls or passes on.
    functions: BTreeSet<Box<str>>,
}

impl Uses {
    /// Of a tree with its checks.
    pub(super) fn of(tree: &mut AstNode) -> Self {
        let mut uses = Self { members: Some(BTreeSet::new()), ..Self::default() };
        uses.collect(tree);
        uses.reads.retain(|name| !matches!(&**name, "" | "$" | "states"));
        uses
    }

    /// The names that it reads and binds nowhere, sorted.
    pub(super) fn free_names(&self) -> impl Iterator<Item = &Box<str>> {
        self.reads.difference(&self.bound)
    }

    /// Whether it may call none of these functions.
    pub(super) fn calls_nothing_of(&self, functions: &[&str]) -> bool {
        functions.iter().all(|function| !self.functions.contains(*function))
    }

    /// Whether it may read that member of `$states`.
    pub(super) fn reads_member(&self, member: &str) -> bool {
        self.members.as_ref().is_none_or(|members| members.contains(member))
    }

    fn collect(&mut self, node: &mut AstNode) {
        match node {
            AstNode::Variable(name) => {
                if name == "states" {
                    self.members = None;
                }
                self.reads.insert(name.as_str().into());
                self.functions.insert(name.as_str().into());
            }
            // The call on the right of a chain is no node that is visited by itself.
            AstNode::Binary { op: BinaryOp::ChainPipe, rhs, .. } => {
                if let AstNode::Function { name, .. } = &**rhs {
                    self.functions.insert(name.as_str().into());
                }
            }
            // It may look back at what its path began with.
            AstNode::Parent(_) => self.members = None,
            AstNode::Function { name, .. } => {
                self.functions.insert(name.as_str().into());
            }
            AstNode::Binary { op: BinaryOp::ColonEqual, lhs, .. } => {
                if let AstNode::Variable(name) = &**lhs {
                    self.bound.insert(name.as_str().into());
                }
            }
            AstNode::Lambda { params, .. } => {
                self.bound.extend(params.iter().map(|name| name.trim_start_matches('$').into()));
            }
            AstNode::Path { steps } if self.enters_member(steps) => {
                // The rest of the path is looked at, not its beginning, which would be all of `$states`.
                let walked = steps.iter_mut().skip(1).try_for_each(|step| {
                    path_step(step, &mut |child| {
                        self.collect(child);
                        Ok(())
                    })
                });
                debug_assert!(walked.is_ok(), "collecting refuses nothing");
                return;
            }
            _ => {}
        }
        let walked = for_each_child(node, &mut |child| {
            self.collect(child);
            Ok(())
        });
        debug_assert!(walked.is_ok(), "collecting refuses nothing");
    }

    /// `$states.input…`: one member.
    fn enters_member(&mut self, steps: &[PathStep]) -> bool {
        let [first, second, ..] = steps else { return false };
        let AstNode::Variable(name) = &first.node else { return false };
        let AstNode::Name(member) = &second.node else { return false };
        if name != "states" || !first.stages.is_empty() || first.is_tuple {
            return false;
        }
        if let Some(members) = &mut self.members {
            members.insert(member.as_str().into());
        }
        true
    }
}

fn wrap(node: &mut AstNode, function: &str) {
    let inner = std::mem::replace(node, AstNode::Null);
    *node = AstNode::Function { name: function.to_owned(), args: vec![inner], is_builtin: true };
}

type Visit<'v> = dyn FnMut(&mut AstNode) -> Result<(), ExpressionError> + 'v;

/// Calls `f` for each node right below this one. Every kind is named, so that a new one does not slip by.
fn for_each_child(node: &mut AstNode, f: &mut Visit<'_>) -> Result<(), ExpressionError> {
    match node {
        AstNode::String(_)
        | AstNode::Name(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Placeholder
        | AstNode::Regex { .. }
        | AstNode::Variable(_)
        | AstNode::ParentVariable(_)
        | AstNode::Wildcard
        | AstNode::Descendant
        | AstNode::Parent(_) => Ok(()),
        AstNode::Path { steps } => steps.iter_mut().try_for_each(|step| path_step(step, f)),
        AstNode::Binary { op: BinaryOp::ChainPipe, lhs, rhs } => {
            f(lhs)?;
            chained(rhs, f)
        }
        AstNode::Binary { lhs, rhs, .. } => {
            f(lhs)?;
            f(rhs)
        }
        AstNode::Unary { operand, .. } => f(operand),
        AstNode::Function { args, .. } => args.iter_mut().try_for_each(f),
        AstNode::Call { procedure, args } => {
            f(procedure)?;
            args.iter_mut().try_for_each(f)
        }
        AstNode::Lambda { body, .. } => f(body),
        AstNode::Array(items) | AstNode::ArrayGroup(items) | AstNode::Block(items) => {
            items.iter_mut().try_for_each(f)
        }
        AstNode::Object(pairs) => pairs_of(pairs, f),
        AstNode::ObjectTransform { input, pattern } => {
            f(input)?;
            pairs_of(pattern, f)
        }
        AstNode::Conditional { condition, then_branch, else_branch } => {
            f(condition)?;
            f(then_branch)?;
            else_branch.as_mut().map_or(Ok(()), |branch| f(branch))
        }
        AstNode::FunctionApplication(inner) => f(inner),
        AstNode::Sort { input, terms } => {
            f(input)?;
            terms.iter_mut().try_for_each(|(term, _)| f(term))
        }
        AstNode::Transform { location, update, delete } => {
            f(location)?;
            f(update)?;
            delete.as_mut().map_or(Ok(()), |delete| f(delete))
        }
    }
}

/// A call on the right of a chain gets its first argument from the left, and must stay a call.
fn chained(node: &mut AstNode, f: &mut Visit<'_>) -> Result<(), ExpressionError> {
    match node {
        AstNode::Function { name, args, is_builtin: true } if name != "eval" => {
            args.iter_mut().try_for_each(f)
        }
        node => f(node),
    }
}

/// The checks of [`chained`] calls.
fn chain(left: &mut AstNode, right: &mut AstNode) {
    if let AstNode::Function { name, args, is_builtin: true } = right {
        match name.as_str() {
            "string" => wrap(left, MEASURED),
            "join" => JOIN.clone_into(name),
            "substring" => places(args, 0),
            "formatInteger" => args.iter().take(1).for_each(|picture| pictured(left, picture)),
            "replace" => {
                wrap(left, SOURCE);
                replacing(args, 0);
            }
            _ => {}
        }
    }
}

/// What `$replace` searches for and puts in, from `first` on.
fn replacing(arguments: &mut [AstNode], first: usize) {
    for argument in arguments.iter_mut().skip(first) {
        if !matches!(argument, AstNode::Regex { .. } | AstNode::Lambda { .. }) {
            wrap(argument, SHORT);
        }
    }
}

/// Where `$substring` begins and how long it is, from `first` on: the library adds them up.
fn places(arguments: &mut [AstNode], first: usize) {
    for argument in arguments.iter_mut().skip(first) {
        let is_small = literal(argument).is_some_and(|number| number.abs() <= BYTES_MAX as f64);
        // What is left out is no argument yet.
        if !is_small && !matches!(argument, AstNode::Placeholder) {
            wrap(argument, PLACE);
        }
    }
}

fn literal(node: &AstNode) -> Option<f64> {
    match node {
        AstNode::Number(number) => Some(*number),
        AstNode::Unary { op: UnaryOp::Negate, operand } => match **operand {
            AstNode::Number(number) => Some(-number),
            _ => None,
        },
        _ => None,
    }
}

/// Roman numerals have a letter for each thousand.
fn pictured(number: &mut AstNode, picture: &AstNode) {
    if matches!(number, AstNode::Placeholder) || matches!(picture, AstNode::Placeholder) {
        return;
    }
    wrap(number, PICTURED);
    if let AstNode::Function { args, .. } = number {
        args.push(picture.clone());
    }
}

fn pairs_of(pairs: &mut [(AstNode, AstNode)], f: &mut Visit<'_>) -> Result<(), ExpressionError> {
    pairs.iter_mut().try_for_each(|(key, value)| {
        f(key)?;
        f(value)
    })
}

fn path_step(step: &mut PathStep, f: &mut Visit<'_>) -> Result<(), ExpressionError> {
    f(&mut step.node)?;
    step.stages.iter_mut().try_for_each(|stage| match stage {
        Stage::Filter(inner) => f(inner),
        Stage::KeepArray | Stage::Index(_) => Ok(()),
    })
}
