//! One evaluation of a program.

use super::super::{BYTES_MAX, Names};
use super::text;
use super::value::{Items, Text, Val};
use super::{Arithmetic, Comparison, Each, EachKind, GaveUp, Item, Node, Statement};

/// Members of an object whose names are computed, before the library is asked, which finds names by their hash.
const COMPUTED_MEMBERS_MAX: usize = 64;
/// Bytes of text that count as a step.
const BYTES_PER_STEP: usize = 64;

pub(super) struct Run<'a> {
    pub(super) names: &'a Names<'a>,
    pub(super) now_ms: i64,
    locals: Vec<Val<'a>>,
    steps_left: usize,
    sequence_max: usize,
}

type Outcome<'a> = Result<Val<'a>, GaveUp>;

impl<'a> Run<'a> {
    pub(super) fn new(
        names: &'a Names<'a>,
        now_ms: i64,
        locals: usize,
        steps: usize,
        sequence_max: usize,
    ) -> Self {
        Self { names, now_ms, locals: vec![Val::Undefined; locals], steps_left: steps, sequence_max }
    }

    /// Takes steps from the budget.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), GaveUp> {
        self.steps_left = self.steps_left.checked_sub(steps).ok_or(GaveUp)?;
        Ok(())
    }

    /// Takes what reading or writing a text costs from the budget.
    pub(super) fn spend_text(&mut self, bytes: usize) -> Result<(), GaveUp> {
        self.spend(bytes / BYTES_PER_STEP)
    }

    /// Takes what a comparison with a value costs from the budget.
    pub(super) fn spend_comparison(&mut self, value: &Val<'a>) -> Result<(), GaveUp> {
        match value {
            Val::Text(text) => self.spend_text(text.as_str().len()),
            Val::Items(_) | Val::List(_) | Val::Members(_) | Val::Object(_) => {
                let mut bytes = 0;
                value.measure(&mut bytes)?;
                self.spend(bytes / 4)
            }
            _ => Ok(()),
        }
    }

    /// Whether a sequence may have so many items.
    pub(super) fn fits(&self, items: usize) -> Result<(), GaveUp> {
        if items > self.sequence_max { Err(GaveUp) } else { Ok(()) }
    }

    /// A part's value.
    pub(super) fn evaluate(&mut self, node: &'a Node, context: &Val<'a>) -> Outcome<'a> {
        self.raw(node, context).map(Val::unwrapped)
    }

    /// A part's value, before a sequence of one item is unwrapped.
    pub(super) fn raw(&mut self, node: &'a Node, context: &Val<'a>) -> Outcome<'a> {
        self.spend(1)?;
        Ok(match node {
            Node::Undefined => Val::Undefined,
            Node::Null => Val::Null,
            Node::Boolean(value) => Val::Boolean(*value),
            Node::Number(number) => Val::Number(*number),
            Node::Text(text) => Val::Text(Text::Lent(text)),
            Node::Context => context.clone(),
            Node::Local(place) => self.locals[*place].clone(),
            // An unbound name may be a function's.
            Node::Variable(name) => Val::of(self.names.variables.variable(name).ok_or(GaveUp)?),
            Node::Path(path) => self.path(path, context)?,
            Node::Negate(operand) => match self.evaluate(operand, context)? {
                Val::Undefined => Val::Undefined,
                Val::Number(number) => Val::Number(-number),
                _ => return Err(GaveUp),
            },
            Node::Arithmetic(operator, left, right) => {
                arithmetic(*operator, &self.evaluate(left, context)?, &self.evaluate(right, context)?)?
            }
            Node::Compare(comparison, left, right) => {
                let (left, right) = (self.evaluate(left, context)?, self.evaluate(right, context)?);
                self.spend_comparison(&left)?;
                compare(*comparison, &left, &right)?
            }
            Node::Equal { negated, left, right } => {
                let (left, right) = (self.evaluate(left, context)?, self.evaluate(right, context)?);
                // What is undefined neither equals anything nor differs from it.
                let is_known = !left.is_undefined() && !right.is_undefined();
                self.spend_comparison(&left)?;
                Val::Boolean(is_known && left.equals(&right) != *negated)
            }
            Node::And(left, right) => Val::Boolean(self.holds(left, context)? && self.holds(right, context)?),
            Node::Or(left, right) => Val::Boolean(self.holds(left, context)? || self.holds(right, context)?),
            Node::In(left, right) => {
                let (left, right) = (self.evaluate(left, context)?, self.evaluate(right, context)?);
                self.is_in(&left, &right)?
            }
            Node::Range(first, last) => {
                let (first, last) = (self.evaluate(first, context)?, self.evaluate(last, context)?);
                self.range(&first, &last)?
            }
            Node::Default(left, right) => {
                let left = self.evaluate(left, context)?;
                if self.is_true(&left)? { left } else { self.evaluate(right, context)? }
            }
            Node::Coalesce(left, right) => {
                let left = self.evaluate(left, context)?;
                if left.is_undefined() { self.evaluate(right, context)? } else { left }
            }
            Node::Concatenate(parts) => self.concatenate(parts, context)?,
            Node::Condition(parts) => {
                let [condition, then, otherwise] = &**parts;
                let taken = if self.holds(condition, context)? { then } else { otherwise };
                self.evaluate(taken, context)?
            }
            Node::Block(statements) => self.block(statements, context)?,
            Node::Array(items) => Val::list(self.array(items, context)?)?,
            Node::Object(members) => self.object(members, context)?,
            Node::Call(function, arguments) => self.call(*function, arguments, context)?,
            Node::Each(each) => self.each(each, context)?,
        })
    }

    /// Whether a value counts as true.
    pub(super) fn is_true(&mut self, value: &Val<'a>) -> Result<bool, GaveUp> {
        value.is_true(&mut self.steps_left)
    }

    fn holds(&mut self, node: &'a Node, context: &Val<'a>) -> Result<bool, GaveUp> {
        let value = self.evaluate(node, context)?;
        self.is_true(&value)
    }

    fn block(&mut self, statements: &'a [Statement], context: &Val<'a>) -> Outcome<'a> {
        let mut value = Val::Undefined;
        for statement in statements {
            value = self.evaluate(&statement.value, context)?;
            if let Some(place) = statement.binds {
                self.locals[place] = value.clone();
            }
        }
        Ok(value)
    }

    pub(super) fn array(&mut self, elements: &'a [Item], context: &Val<'a>) -> Result<Vec<Val<'a>>, GaveUp> {
        let mut items = Vec::with_capacity(elements.len());
        for element in elements {
            let value = self.evaluate(&element.value, context)?;
            match value.items().filter(|_| !element.is_array) {
                Some(inner) => {
                    self.spend(inner.len())?;
                    items.extend(inner.iter());
                }
                None if value.is_undefined() => {}
                None => items.push(value),
            }
        }
        self.fits(items.len())?;
        Ok(items)
    }

    fn object(&mut self, pairs: &'a [(Node, Node)], context: &Val<'a>) -> Outcome<'a> {
        // An array's items would be grouped.
        if context.is_array() || pairs.len() > COMPUTED_MEMBERS_MAX {
            return Err(GaveUp);
        }
        let mut members: Vec<(Text<'a>, Val<'a>)> = Vec::with_capacity(pairs.len());
        for (name, value) in pairs {
            let name = match self.evaluate(name, context)? {
                Val::Text(name) => name,
                Val::Undefined => continue,
                _ => return Err(GaveUp),
            };
            if members.iter().any(|(known, _)| known.as_str() == name.as_str()) {
                return Err(GaveUp);
            }
            let value = self.evaluate(value, context)?;
            members.push((name, value));
        }
        members.retain(|(_, value)| !value.is_undefined());
        Val::object(members)
    }

    fn concatenate(&mut self, parts: &'a [Node], context: &Val<'a>) -> Outcome<'a> {
        let mut joined = String::new();
        for part in parts {
            let value = self.evaluate(part, context)?;
            let before = joined.len();
            value.measure(&mut 0)?;
            text::append(&value, &mut joined)?;
            // The library looks at the texts in between as well, and they only grow.
            if joined.len() + 2 > BYTES_MAX {
                return Err(GaveUp);
            }
            self.spend_text(joined.len() - before)?;
        }
        Ok(Val::made(joined))
    }

    fn is_in(&mut self, left: &Val<'a>, right: &Val<'a>) -> Outcome<'a> {
        if left.is_undefined() || right.is_undefined() {
            return Ok(Val::Boolean(false));
        }
        // Arrays and objects would have to be the very same.
        if left.is_array() || matches!(left, Val::Members(_) | Val::Object(_)) {
            return Err(GaveUp);
        }
        let items = right.items_or_self();
        for _ in 0..items.len() {
            self.spend_comparison(left)?;
        }
        self.spend(items.len())?;
        Ok(Val::Boolean(items.iter().any(|item| left.equals(&item))))
    }

    fn range(&mut self, first: &Val<'a>, last: &Val<'a>) -> Outcome<'a> {
        let whole = |value: &Val<'_>| match value {
            Val::Number(number) if number.fract() == 0.0 && number.abs() < 1e15 => Ok(Some(*number as i64)),
            Val::Undefined => Ok(None),
            _ => Err(GaveUp),
        };
        let (Some(first), Some(last)) = (whole(first)?, whole(last)?) else {
            return Ok(Val::nothing());
        };
        let count = usize::try_from((last - first + 1).max(0)).map_err(|_| GaveUp)?;
        self.fits(count)?;
        self.spend(count)?;
        Val::sequence((first..=last).map(|number| Val::Number(number as f64)).collect())
    }

    fn each(&mut self, each: &'a Each, context: &Val<'a>) -> Outcome<'a> {
        let given = self.evaluate(&each.items, context)?;
        match given {
            Val::Undefined => return Ok(Val::Undefined),
            Val::Null => return Err(GaveUp),
            _ => {}
        }
        let items = given.items_or_self();
        self.spend(items.len())?;
        if each.kind == EachKind::Reduce {
            return self.reduce(each, items, context);
        }
        let mut results = Vec::new();
        for (index, item) in items.iter().enumerate() {
            for (place, argument) in each.parameters.iter().zip([item.clone(), Val::Number(index as f64)]) {
                self.locals[*place] = argument;
            }
            let value = self.evaluate(&each.body, context)?;
            match each.kind {
                EachKind::Filter | EachKind::Single if self.is_true(&value)? => results.push(item),
                EachKind::Map if !value.is_undefined() => results.push(value),
                _ => {}
            }
        }
        self.fits(results.len())?;
        match each.kind {
            EachKind::Single if results.len() == 1 => Ok(results.pop().unwrap_or(Val::Undefined)),
            EachKind::Single => Err(GaveUp),
            // One value that is no array is taken or not, and is no sequence.
            EachKind::Filter if !given.is_array() => Ok(results.pop().unwrap_or(Val::Undefined)),
            _ => Val::sequence(results),
        }
    }

    fn reduce(&mut self, each: &'a Each, items: Items<'_, 'a>, context: &Val<'a>) -> Outcome<'a> {
        let mut items = items.iter().enumerate();
        let mut sum = match &each.initial {
            Some(initial) => self.evaluate(initial, context)?,
            None => items.next().ok_or(GaveUp)?.1,
        };
        for (index, item) in items {
            let arguments = [sum, item, Val::Number(index as f64)];
            for (place, argument) in each.parameters.iter().zip(arguments) {
                self.locals[*place] = argument;
            }
            sum = self.evaluate(&each.body, context)?;
        }
        Ok(sum)
    }
}

fn arithmetic<'a>(operator: Arithmetic, left: &Val<'a>, right: &Val<'a>) -> Outcome<'a> {
    let (left, right) = match (left, right) {
        (Val::Number(left), Val::Number(right)) => (*left, *right),
        (Val::Undefined | Val::Number(_), Val::Undefined) | (Val::Undefined, Val::Number(_)) => {
            return Ok(Val::Undefined);
        }
        _ => return Err(GaveUp),
    };
    let result = match operator {
        Arithmetic::Add => left + right,
        Arithmetic::Subtract => left - right,
        Arithmetic::Multiply => left * right,
        Arithmetic::Divide => left / right,
        Arithmetic::Modulo => left % right,
    };
    // What is out of range fails somewhere later, in one of several ways.
    if result.is_finite() { Ok(Val::Number(result)) } else { Err(GaveUp) }
}

fn compare<'a>(comparison: Comparison, left: &Val<'a>, right: &Val<'a>) -> Outcome<'a> {
    let ordering = match (left, right) {
        (Val::Number(left), Val::Number(right)) => left.partial_cmp(right).ok_or(GaveUp)?,
        (Val::Text(left), Val::Text(right)) => left.as_str().cmp(right.as_str()),
        (Val::Undefined, Val::Undefined | Val::Number(_) | Val::Text(_))
        | (Val::Number(_) | Val::Text(_), Val::Undefined) => return Ok(Val::Undefined),
        _ => return Err(GaveUp),
    };
    Ok(Val::Boolean(match comparison {
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }))
}
