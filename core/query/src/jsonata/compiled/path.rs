//! Paths: each step maps over what the one before it found.

use super::run::Run;
use super::value::{Items, List, Val, member_of};
use super::{GaveUp, Item, Node};

/// A path without bindings of its own.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) steps: Vec<Step>,
    /// It has a `[]`: one item stays an array.
    pub(super) is_kept: bool,
    /// It is an expression with predicates, and no path: `(…)[0]`, `$x[]`.
    pub(super) is_filtered_value: bool,
    /// Its first step looks at the context as a whole, though that be an array.
    pub(super) takes_whole: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) kind: StepKind,
    pub(super) stages: Vec<Stage>,
    /// A predicate that calls something, which may fail even where the step finds nothing.
    pub(super) may_fail_on_nothing: bool,
}

#[derive(Clone, Debug)]
pub(super) enum StepKind {
    /// `$states.name`, at the beginning.
    State(Box<str>),
    Name(Box<str>),
    /// An expression over each item.
    Node(Node),
    /// `.[…]`: an array for each item.
    Group(Vec<Item>),
}

#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// `[2]`, `[-1]`.
    Position(f64),
    /// `[…]` for each item.
    Predicate(Node),
}

impl<'a> Run<'a> {
    /// A path's value, before a sequence of one item is unwrapped.
    pub(super) fn path(&mut self, path: &'a Path, context: &Val<'a>) -> Result<Val<'a>, GaveUp> {
        // A lone name is the member as it is.
        if let ([Step { kind: StepKind::Name(name), stages, .. }], false) =
            (path.steps.as_slice(), path.is_kept)
            && stages.is_empty()
            && !context.is_array()
        {
            return Ok(context.member(name));
        }
        if path.is_filtered_value {
            return self.filtered_value(path, context);
        }
        let mut found = match &path.steps[0].kind {
            _ if path.takes_whole || !context.is_array() => context.clone(),
            // Each item of an array is a context.
            StepKind::Name(_) => context.clone(),
            _ => return Err(GaveUp),
        };
        for (index, step) in path.steps.iter().enumerate() {
            let is_last = index + 1 == path.steps.len();
            let is_whole = index == 0 && path.takes_whole;
            let items =
                if is_whole { Items::Made(std::slice::from_ref(&found)) } else { found.items_or_self() };
            found = self.step(step, items, is_last)?;
            if found.is_undefined() || found.items().is_some_and(|items| items.len() == 0) {
                break;
            }
        }
        if path.is_kept {
            found = kept(found)?;
        }
        if let Some(items) = found.items() {
            self.fits(items.len())?;
        }
        Ok(found)
    }

    fn filtered_value(&mut self, path: &'a Path, context: &Val<'a>) -> Result<Val<'a>, GaveUp> {
        let [Step { kind: StepKind::Node(node), stages, may_fail_on_nothing }] = path.steps.as_slice() else {
            return Err(GaveUp);
        };
        let found = self.raw(node, context)?;
        if found.is_undefined() && *may_fail_on_nothing {
            return Err(GaveUp);
        }
        let mut found = self.staged(stages, found)?;
        if let Val::List(list) = &mut found
            && path.is_kept
            && list.is_sequence
        {
            list.is_kept = true;
        }
        Ok(found)
    }

    fn step(&mut self, step: &'a Step, items: Items<'_, 'a>, is_last: bool) -> Result<Val<'a>, GaveUp> {
        self.spend(items.len() + 1)?;
        if items.len() == 1 && step.stages.is_empty() {
            let value = self.found_in(step, items, 0)?;
            return single(value, is_last);
        }
        let mut results = Vec::with_capacity(items.len());
        for index in 0..items.len() {
            let mut value = self.found_in(step, items, index)?;
            if !step.stages.is_empty() {
                if value.is_undefined() && step.may_fail_on_nothing {
                    return Err(GaveUp);
                }
                value = self.staged(&step.stages, value)?;
            }
            if !value.is_undefined() {
                results.push(value);
            }
        }
        self.fits(results.len())?;
        self.collected(results, is_last)
    }

    /// What a step finds in one of the items.
    fn found_in(&mut self, step: &'a Step, items: Items<'_, 'a>, index: usize) -> Result<Val<'a>, GaveUp> {
        match &step.kind {
            StepKind::Name(name) => match items {
                Items::Json(items) => match &items[index] {
                    serde_json::Value::Object(members) => Ok(member_of(members, name)),
                    serde_json::Value::Array(items) => self.members(Items::Json(items), name),
                    _ => Ok(Val::Undefined),
                },
                Items::Made(items) => self.member(&items[index], name),
            },
            StepKind::Node(Node::Context) => Ok(items.at(index).unwrap_or(Val::Undefined)),
            StepKind::Node(node) => {
                let item = items.at(index).unwrap_or(Val::Undefined);
                self.evaluate(node, &item)
            }
            StepKind::Group(elements) => {
                let item = items.at(index).unwrap_or(Val::Undefined);
                let mut list = List::plain(self.array(elements, &item)?)?;
                list.is_whole = true;
                Ok(Val::List(list))
            }
            StepKind::State(name) => {
                let found = self.names.states.iter().find(|(member, _)| *member == &**name);
                Ok(found.map_or(Val::Undefined, |(_, value)| Val::of(value)))
            }
        }
    }

    /// A member of an object, or of each of an array's items.
    pub(super) fn member(&mut self, value: &Val<'a>, name: &str) -> Result<Val<'a>, GaveUp> {
        match value.items() {
            Some(items) => self.members(items, name),
            None => Ok(value.member(name)),
        }
    }

    fn members(&mut self, items: Items<'_, 'a>, name: &str) -> Result<Val<'a>, GaveUp> {
        self.spend(items.len())?;
        let mut found = Vec::new();
        for item in items.iter() {
            // Arrays in arrays nest no deeper than the JSON that they come from.
            let value = self.member(&item, name)?;
            match value.items() {
                Some(inner) => {
                    self.spend(inner.len())?;
                    found.extend(inner.iter());
                }
                None if value.is_undefined() => {}
                None => found.push(value),
            }
        }
        self.fits(found.len())?;
        if found.is_empty() { Ok(Val::Undefined) } else { Val::sequence(found) }
    }

    /// What the predicates leave of a value.
    fn staged(&mut self, stages: &'a [Stage], mut value: Val<'a>) -> Result<Val<'a>, GaveUp> {
        for stage in stages {
            if value.is_undefined() {
                return Ok(value);
            }
            value = match stage {
                Stage::Position(position) => at(value.items_or_self(), *position)?,
                Stage::Predicate(predicate) => self.filtered(predicate, value.items_or_self())?,
            };
        }
        Ok(value)
    }

    fn filtered(&mut self, predicate: &'a Node, items: Items<'_, 'a>) -> Result<Val<'a>, GaveUp> {
        self.spend(items.len())?;
        let mut results = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let selector = self.evaluate(predicate, &item)?;
            let times = match selections(&selector, index, items.len()) {
                Some(times) => times,
                None => usize::from(self.is_true(&selector)?),
            };
            self.spend(times)?;
            results.extend(std::iter::repeat_n(item, times));
        }
        Val::sequence(results)
    }

    /// The results of a step's items as one sequence: arrays among them give their items.
    fn collected(&mut self, mut results: Vec<Val<'a>>, is_last: bool) -> Result<Val<'a>, GaveUp> {
        let flattens = |value: &Val<'_>| match value {
            Val::Items(_) => true,
            Val::List(list) => !list.is_whole,
            _ => false,
        };
        if let [only] = results.as_slice() {
            let is_itself = is_last && is_plain_array(only);
            if is_itself || flattens(only) {
                let only = results.pop().unwrap_or(Val::Undefined);
                return if is_itself { Ok(only) } else { fresh(&only) };
            }
        }
        if !results.iter().any(flattens) {
            return Val::sequence(results);
        }
        let mut items = Vec::with_capacity(results.len());
        for value in results {
            match value.items().filter(|_| flattens(&value)) {
                Some(inner) => {
                    self.spend(inner.len())?;
                    items.extend(inner.iter());
                }
                None => items.push(value),
            }
        }
        Val::sequence(items)
    }
}

/// The result of a step over one item.
fn single(value: Val<'_>, is_last: bool) -> Result<Val<'_>, GaveUp> {
    Ok(match &value {
        _ if is_last && is_plain_array(&value) => value,
        Val::List(list) if list.is_whole => Val::sequence(vec![value])?,
        Val::List(list) => Val::List(list.fresh()),
        Val::Items([]) => Val::nothing(),
        // No step asks whether the items before it are a sequence.
        _ => value,
    })
}

fn is_plain_array(value: &Val<'_>) -> bool {
    match value {
        Val::Items(_) => true,
        Val::List(list) => !list.is_sequence,
        _ => false,
    }
}

/// A new sequence of an array's items.
fn fresh<'a>(value: &Val<'a>) -> Result<Val<'a>, GaveUp> {
    match value {
        Val::List(list) => Ok(Val::List(list.fresh())),
        other => Val::sequence(other.items_or_self().iter().collect()),
    }
}

/// A path's result under `[]`.
fn kept(value: Val<'_>) -> Result<Val<'_>, GaveUp> {
    Ok(match value {
        Val::Undefined => Val::Undefined,
        Val::List(list) if !list.is_whole || list.is_sequence => {
            let mut list = list;
            list.is_kept = true;
            Val::List(list)
        }
        // An array of JSON is no sequence, so nothing unwraps it.
        Val::Items(items) => Val::Items(items),
        other => {
            let mut list = List::sequence(vec![other])?;
            list.is_kept = true;
            Val::List(list)
        }
    })
}

/// The item at a position, counted from the end when negative.
fn at<'a>(items: Items<'_, 'a>, position: f64) -> Result<Val<'a>, GaveUp> {
    let mut index = position.floor();
    if index < 0.0 {
        index += items.len() as f64;
    }
    match items.at(index as usize).filter(|_| index >= 0.0) {
        None => Ok(Val::nothing()),
        Some(item) if item.is_array() => Ok(item),
        Some(item) => Val::sequence(vec![item]),
    }
}

/// How often a number, or an array of numbers, selects the item at `index`; none when it is something else.
fn selections(selector: &Val<'_>, index: usize, length: usize) -> Option<usize> {
    let selects = |number: f64| {
        let mut position = number.floor() as i64;
        if position < 0 {
            position += length as i64;
        }
        usize::from(position >= 0 && position as usize == index)
    };
    if let Val::Number(number) = selector {
        return Some(selects(*number));
    }
    selector.items()?.iter().try_fold(0, |times, item| match item {
        Val::Number(number) => Some(times + selects(number)),
        _ => None,
    })
}
