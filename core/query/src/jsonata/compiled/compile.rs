//! From the library's tree to a program, for what a program knows.

use jsonata_core::ast::{AstNode, BinaryOp, PathStep, Stage as AstStage, UnaryOp};

use super::super::guard::{BOUNDED, EDGE, MEASURED, PLACE, Uses};
use super::function::Function;
use super::path::{Path, Stage, Step, StepKind};
use super::{Arithmetic, Comparison, Each, EachKind, Item, NESTING_MAX, Node, Program, Statement};

/// What is being compiled, and what is bound where it stands.
struct Compiler<'t> {
    uses: &'t Uses,
    /// The names that are bound, innermost last, and their places.
    scope: Vec<(&'t str, usize)>,
    locals: usize,
    nesting: usize,
    nesting_max: usize,
    /// In a function, whose `$` is that of the place where it was written: it may not be read.
    is_context_hidden: bool,
}

pub(super) fn program(tree: &AstNode, uses: &Uses) -> Option<Program> {
    if uses.bound.contains("states") || uses.reads.contains("states") {
        return None;
    }
    let mut compiler =
        Compiler { uses, scope: Vec::new(), locals: 0, nesting: 0, nesting_max: 0, is_context_hidden: false };
    let root = compiler.node(tree)?;
    Some(Program { root, locals: compiler.locals, nesting: compiler.nesting_max })
}

impl<'t> Compiler<'t> {
    fn node(&mut self, node: &'t AstNode) -> Option<Node> {
        self.nesting += 1;
        self.nesting_max = self.nesting_max.max(self.nesting);
        let compiled = if self.nesting > NESTING_MAX { None } else { self.part(node) };
        self.nesting -= 1;
        compiled
    }

    fn boxed(&mut self, node: &'t AstNode) -> Option<Box<Node>> {
        self.node(node).map(Box::new)
    }

    fn part(&mut self, node: &'t AstNode) -> Option<Node> {
        Some(match node {
            AstNode::String(text) => Node::Text(text.as_str().into()),
            AstNode::Number(number) => Node::Number(*number),
            AstNode::Boolean(value) => Node::Boolean(*value),
            AstNode::Null => Node::Null,
            AstNode::Undefined => Node::Undefined,
            AstNode::Variable(name) => self.variable(name)?,
            AstNode::Name(name) => {
                let kind = StepKind::Name(name.as_str().into());
                let step = Step { kind, stages: Vec::new(), may_fail_on_nothing: false };
                self.reads_context()?;
                Node::Path(Path {
                    steps: vec![step],
                    is_kept: false,
                    is_filtered_value: false,
                    takes_whole: false,
                })
            }
            AstNode::Path { steps } => Node::Path(self.path(steps)?),
            AstNode::Unary { op: UnaryOp::Negate, operand } => Node::Negate(self.boxed(operand)?),
            AstNode::Binary { op: BinaryOp::ChainPipe, lhs, rhs } => {
                let AstNode::Function { name, args, is_builtin: true } = &**rhs else { return None };
                let arguments: Vec<&AstNode> = std::iter::once(&**lhs).chain(args).collect();
                self.call(name, &arguments)?
            }
            AstNode::Binary { op, lhs, rhs } => self.binary(*op, lhs, rhs)?,
            AstNode::Function { name, args, is_builtin: true } => {
                self.call(name, &args.iter().collect::<Vec<_>>())?
            }
            AstNode::Array(items) => Node::Array(self.items(items)?),
            AstNode::Object(pairs) => Node::Object(self.object(pairs)?),
            AstNode::Block(expressions) => self.block(expressions)?,
            AstNode::Conditional { condition, then_branch, else_branch } => {
                let otherwise = match else_branch {
                    Some(branch) => self.node(branch)?,
                    None => Node::Undefined,
                };
                Node::Condition(Box::new([self.node(condition)?, self.node(then_branch)?, otherwise]))
            }
            _ => return None,
        })
    }

    /// `$`, which a function does not have here.
    fn reads_context(&self) -> Option<()> {
        (!self.is_context_hidden).then_some(())
    }

    fn variable(&self, name: &str) -> Option<Node> {
        if name.is_empty() {
            return self.reads_context().map(|()| Node::Context);
        }
        if matches!(name, "$" | "states") {
            return None;
        }
        let local = self.scope.iter().rev().find(|(known, _)| *known == name);
        Some(local.map_or_else(|| Node::Variable(name.into()), |(_, place)| Node::Local(*place)))
    }

    fn place(&mut self, name: &'t str) -> usize {
        let place = self.locals;
        self.locals += 1;
        self.scope.push((name, place));
        place
    }

    fn binary(&mut self, op: BinaryOp, left: &'t AstNode, right: &'t AstNode) -> Option<Node> {
        let bare = |end: &'t AstNode| match end {
            AstNode::Function { name, args, .. } if name == EDGE => args.first().unwrap_or(end),
            end => end,
        };
        let (left, right) = if op == BinaryOp::Range { (bare(left), bare(right)) } else { (left, right) };
        let (left, right) = (self.boxed(left)?, self.boxed(right)?);
        Some(match op {
            BinaryOp::Add => Node::Arithmetic(Arithmetic::Add, left, right),
            BinaryOp::Subtract => Node::Arithmetic(Arithmetic::Subtract, left, right),
            BinaryOp::Multiply => Node::Arithmetic(Arithmetic::Multiply, left, right),
            BinaryOp::Divide => Node::Arithmetic(Arithmetic::Divide, left, right),
            BinaryOp::Modulo => Node::Arithmetic(Arithmetic::Modulo, left, right),
            BinaryOp::LessThan => Node::Compare(Comparison::Less, left, right),
            BinaryOp::LessThanOrEqual => Node::Compare(Comparison::LessOrEqual, left, right),
            BinaryOp::GreaterThan => Node::Compare(Comparison::Greater, left, right),
            BinaryOp::GreaterThanOrEqual => Node::Compare(Comparison::GreaterOrEqual, left, right),
            BinaryOp::Equal => Node::Equal { negated: false, left, right },
            BinaryOp::NotEqual => Node::Equal { negated: true, left, right },
            BinaryOp::And => Node::And(left, right),
            BinaryOp::Or => Node::Or(left, right),
            BinaryOp::In => Node::In(left, right),
            BinaryOp::Range => Node::Range(left, right),
            BinaryOp::Default => Node::Default(left, right),
            BinaryOp::Coalesce => Node::Coalesce(left, right),
            // A text that nobody checks does not get here, and what binds stands in a block.
            _ => return None,
        })
    }

    fn items(&mut self, items: &'t [AstNode]) -> Option<Vec<Item>> {
        let item =
            |item: &'t AstNode| Some(Item { is_array: is_array_constructor(item), value: self.node(item)? });
        items.iter().map(item).collect()
    }

    fn object(&mut self, pairs: &'t [(AstNode, AstNode)]) -> Option<Vec<(Node, Node)>> {
        pairs.iter().map(|(name, value)| Some((self.node(name)?, self.node(value)?))).collect()
    }

    /// A block's bindings hold until it ends; each is made whenever the block is evaluated.
    fn block(&mut self, expressions: &'t [AstNode]) -> Option<Node> {
        let bound_before = self.scope.len();
        let mut statements = Vec::with_capacity(expressions.len());
        for expression in expressions {
            statements.push(match expression {
                AstNode::Binary { op: BinaryOp::ColonEqual, lhs, rhs } => {
                    let AstNode::Variable(name) = &**lhs else { return None };
                    let value = self.node(rhs)?;
                    Statement { binds: Some(self.place(name)), value }
                }
                expression => Statement { binds: None, value: self.node(expression)? },
            });
        }
        self.scope.truncate(bound_before);
        Some(Node::Block(statements))
    }

    fn call(&mut self, name: &str, arguments: &[&'t AstNode]) -> Option<Node> {
        if self.uses.reads.contains(name) || self.uses.bound.contains(name) {
            return None;
        }
        if let (BOUNDED, [AstNode::Binary { op: BinaryOp::Concatenate, lhs, rhs }]) = (name, arguments) {
            let mut parts = Vec::new();
            self.concatenated(lhs, &mut parts)?;
            self.concatenated(rhs, &mut parts)?;
            return Some(Node::Concatenate(parts));
        }
        if let Some(each) = self.each(name, arguments)? {
            return Some(Node::Each(Box::new(each)));
        }
        let function = Function::called(name, arguments.len())?;
        // The library looks for something that is called so.
        if let (Function::Exists, [AstNode::Variable(_)]) = (function, arguments) {
            return None;
        }
        let measured = |argument: &'t AstNode| match (function, argument) {
            (Function::String, AstNode::Function { name, args, .. }) if name == MEASURED => args.first(),
            (Function::String, _) => None,
            (Function::Substring, AstNode::Function { name, args, .. }) if name == PLACE => args.first(),
            _ => Some(argument),
        };
        let arguments: Option<Vec<Node>> = arguments
            .iter()
            .map(|argument| measured(argument).and_then(|argument| self.node(argument)))
            .collect();
        Some(Node::Call(function, arguments?))
    }

    /// The parts of a text, of which the first may be such a text itself.
    fn concatenated(&mut self, node: &'t AstNode, parts: &mut Vec<Node>) -> Option<()> {
        match node {
            AstNode::Function { name, args, .. } if name == BOUNDED => match args.as_slice() {
                [AstNode::Binary { op: BinaryOp::Concatenate, lhs, rhs }] if parts.is_empty() => {
                    self.concatenated(lhs, parts)?;
                    self.concatenated(rhs, parts)
                }
                _ => {
                    parts.push(self.node(node)?);
                    Some(())
                }
            },
            node => {
                parts.push(self.node(node)?);
                Some(())
            }
        }
    }

    /// A call of a function that takes a function; none when it is of another kind.
    #[expect(clippy::option_option, reason = "none that compiles, and no such call, are two things")]
    fn each(&mut self, name: &str, arguments: &[&'t AstNode]) -> Option<Option<Each>> {
        let (kind, parameters_allowed) = match name {
            "map" => (EachKind::Map, 0..=2),
            "filter" => (EachKind::Filter, 0..=2),
            "single" => (EachKind::Single, 0..=2),
            "reduce" => (EachKind::Reduce, 2..=3),
            _ => return Some(None),
        };
        let (items, function, initial) = match arguments {
            [items, function] => (items, function, None),
            [items, function, initial] if kind == EachKind::Reduce => (items, function, Some(initial)),
            _ => return None,
        };
        let AstNode::Lambda { params, body, signature: None, .. } = function else { return None };
        if !parameters_allowed.contains(&params.len()) || ends_in_sequence(body) {
            return None;
        }
        let items = self.node(items)?;
        let initial = match initial {
            Some(initial) => Some(self.node(initial)?),
            None => None,
        };
        let (bound_before, was_hidden) = (self.scope.len(), self.is_context_hidden);
        let parameters = params.iter().map(|name| self.place(name.trim_start_matches('$'))).collect();
        self.is_context_hidden = true;
        let body = self.node(body);
        self.is_context_hidden = was_hidden;
        self.scope.truncate(bound_before);
        Some(Some(Each { kind, items, parameters, body: body?, initial }))
    }

    fn path(&mut self, steps: &'t [PathStep]) -> Option<Path> {
        let is_kept = steps.iter().any(|step| step.stages.contains(&AstStage::KeepArray));
        let (takes_whole, begins_in_state, rest) = match steps {
            [first, member, ..] if is_states(first) => (true, Some(member), &steps[1..]),
            [first, ..] => (matches!(first.node, AstNode::Variable(_)), None, steps),
            [] => return None,
        };
        let is_filtered_value = steps.len() == 1 && !matches!(steps[0].node, AstNode::Name(_));
        let mut compiled = Vec::with_capacity(rest.len());
        for (index, step) in rest.iter().enumerate() {
            let has_bindings = step.focus.is_some()
                || step.index_var.is_some()
                || step.ancestor_label.is_some()
                || step.is_tuple
                || step.inner_tuple;
            if has_bindings || (index == 0 && steps.len() > 1 && starts_otherwise(&step.node)) {
                return None;
            }
            let kind = match (&step.node, begins_in_state.filter(|_| index == 0)) {
                (AstNode::Name(name), Some(_)) => StepKind::State(name.as_str().into()),
                (_, Some(_)) => return None,
                (node, None) => self.step(node, index == 0)?,
            };
            compiled.push(self.staged(kind, &step.stages)?);
        }
        Some(Path { steps: compiled, is_kept, is_filtered_value, takes_whole })
    }

    fn step(&mut self, node: &'t AstNode, is_first: bool) -> Option<StepKind> {
        if let AstNode::Name(name) = node {
            if is_first {
                self.reads_context()?;
            }
            return Some(StepKind::Name(name.as_str().into()));
        }
        // What is no first step has its item as context.
        let was_hidden = self.is_context_hidden;
        self.is_context_hidden &= is_first;
        let kind = match node {
            AstNode::FunctionApplication(inner) => self.node(inner).map(StepKind::Node),
            AstNode::ArrayGroup(items) if !is_first => self.items(items).map(StepKind::Group),
            AstNode::Variable(_) | AstNode::Function { .. } | AstNode::Object(_) | AstNode::Block(_) => {
                self.node(node).map(StepKind::Node)
            }
            _ => None,
        };
        self.is_context_hidden = was_hidden;
        kind
    }

    fn staged(&mut self, kind: StepKind, stages: &'t [AstStage]) -> Option<Step> {
        let was_hidden = std::mem::take(&mut self.is_context_hidden);
        let mut compiled = Vec::new();
        let mut may_fail_on_nothing = false;
        for stage in stages {
            match stage {
                AstStage::KeepArray => {}
                AstStage::Index(_) => return None,
                AstStage::Filter(predicate) => compiled.push(match position(predicate) {
                    Some(position) => Stage::Position(position),
                    None => {
                        may_fail_on_nothing |= calls(predicate);
                        Stage::Predicate(self.node(predicate)?)
                    }
                }),
            }
        }
        self.is_context_hidden = was_hidden;
        // A position selects nothing where nothing is, and what follows is not looked at.
        may_fail_on_nothing &= !matches!(compiled.first(), Some(Stage::Position(_)));
        Some(Step { kind, stages: compiled, may_fail_on_nothing })
    }
}

fn is_states(step: &PathStep) -> bool {
    matches!(&step.node, AstNode::Variable(name) if name == "states")
        && step.stages.is_empty()
        && !step.is_tuple
}

/// A first step that is evaluated in another way than those after it.
fn starts_otherwise(node: &AstNode) -> bool {
    match node {
        AstNode::Array(_) => true,
        AstNode::Block(expressions) => expressions.iter().any(|expression| match expression {
            AstNode::Path { steps } => steps.first().is_some_and(|step| starts_otherwise(&step.node)),
            AstNode::Sort { .. } => true,
            expression => starts_otherwise(expression),
        }),
        _ => false,
    }
}

/// An array constructor, with or without predicates.
fn is_array_constructor(node: &AstNode) -> bool {
    matches!(node, AstNode::Array(_))
}

/// Whether a function's last call is of one that makes a sequence: the library takes it as it is, and not the one item in it.
fn ends_in_sequence(body: &AstNode) -> bool {
    match body {
        AstNode::Function { name, .. } => {
            matches!(name.as_str(), "map" | "filter" | "keys" | "distinct")
        }
        AstNode::Block(expressions) => expressions.last().is_some_and(ends_in_sequence),
        AstNode::Binary { op: BinaryOp::ChainPipe, rhs, .. } => ends_in_sequence(rhs),
        AstNode::Binary { op: BinaryOp::Default | BinaryOp::Coalesce, rhs, .. } => ends_in_sequence(rhs),
        AstNode::Conditional { then_branch, else_branch, .. } => {
            ends_in_sequence(then_branch) || else_branch.as_deref().is_some_and(ends_in_sequence)
        }
        _ => false,
    }
}

/// A predicate that is a number.
fn position(predicate: &AstNode) -> Option<f64> {
    match predicate {
        AstNode::Number(number) => Some(*number),
        AstNode::Unary { op: UnaryOp::Negate, operand } => match **operand {
            AstNode::Number(number) => Some(-number),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a predicate calls anything: only then can it fail with nothing as its context.
fn calls(node: &AstNode) -> bool {
    match node {
        AstNode::String(_)
        | AstNode::Name(_)
        | AstNode::Number(_)
        | AstNode::Boolean(_)
        | AstNode::Null
        | AstNode::Undefined
        | AstNode::Variable(_) => false,
        AstNode::Array(items) | AstNode::Block(items) => items.iter().any(calls),
        AstNode::Path { steps } => steps.iter().any(|step| {
            let in_stage = |stage: &AstStage| matches!(stage, AstStage::Filter(inner) if calls(inner));
            calls(&step.node) || step.stages.iter().any(in_stage)
        }),
        AstNode::Binary { op: BinaryOp::ChainPipe, .. } => true,
        AstNode::Binary { lhs, rhs, .. } => calls(lhs) || calls(rhs),
        AstNode::Unary { operand, .. } => calls(operand),
        _ => true,
    }
}
