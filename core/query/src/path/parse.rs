//! The grammar of paths and filters, by recursive descent.

use regex::RegexBuilder;
use serde_json::Value;

use super::filter::{Filter, Operand, Operator};
use super::{Function, PATH_BYTES_MAX, PATH_STEPS_MAX, Path, PathError, Root, Step};

/// How deep the parentheses of a filter nest.
const FILTER_DEPTH_MAX: usize = 32;
/// The size of a compiled expression in a filter, in bytes.
const EXPRESSION_BYTES_MAX: usize = 1 << 20;

pub(super) fn path(text: &str) -> Result<Path, PathError> {
    if text.len() > PATH_BYTES_MAX {
        return Err(PathError::TooLong);
    }
    let mut parser = Parser { text, at: 0, steps: 0, depth: 0 };
    let path = parser.path('$', true)?;
    if parser.at < text.len() {
        return Err(parser.expected("the end of the path"));
    }
    Ok(path)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    steps: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn take(&mut self, token: &str) -> bool {
        let taken = self.rest().starts_with(token);
        if taken {
            self.at += token.len();
        }
        taken
    }

    fn need(&mut self, token: &str, message: &'static str) -> Result<(), PathError> {
        if self.take(token) { Ok(()) } else { Err(self.expected(message)) }
    }

    fn expected(&self, message: &'static str) -> PathError {
        PathError::Syntax { at: self.at, message }
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t']).len();
    }

    /// A path whose root is `sign`. Inside a filter it ends where a name cannot go on.
    fn path(&mut self, sign: char, outermost: bool) -> Result<Path, PathError> {
        let start = self.at;
        if self.peek() != Some(sign) {
            return Err(self.expected("a path begins with '$'"));
        }
        self.at += 1;
        let root = if !outermost || sign == '@' {
            Root::Input
        } else if self.take("$") {
            Root::Context
        } else {
            self.variable()
        };
        let mut steps = Vec::new();
        while self.step(&mut steps, outermost)? {}
        if matches!(steps.last(), Some(Step::Descend)) {
            return Err(self.expected("a step after '..'"));
        }
        Ok(Path { text: self.text[start..self.at].into(), root, steps })
    }

    fn variable(&mut self) -> Root {
        let rest = self.rest();
        let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.at += length;
        if length == 0 { Root::Input } else { Root::Variable(rest[..length].into()) }
    }

    /// Reads one step; false where the path ends.
    fn step(&mut self, steps: &mut Vec<Step>, outermost: bool) -> Result<bool, PathError> {
        self.steps += 1;
        if self.steps > PATH_STEPS_MAX {
            return Err(PathError::TooLong);
        }
        if self.take("..") {
            steps.push(Step::Descend);
            if self.peek() != Some('[') {
                let step = self.dotted(outermost)?;
                steps.push(step);
            }
        } else if self.take(".") {
            let step = self.dotted(outermost)?;
            steps.push(step);
        } else if self.take("[") {
            let step = self.bracketed()?;
            steps.push(step);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    fn dotted(&mut self, outermost: bool) -> Result<Step, PathError> {
        if self.take("*") {
            return Ok(Step::All);
        }
        let start = self.at;
        let name = self.name(outermost)?;
        if name.is_empty() {
            self.at = start;
            return Err(self.expected("a name"));
        }
        if self.take("()") {
            return match Function::by_name(&name) {
                Some(function) => Ok(Step::Function(function)),
                None => {
                    self.at = start;
                    Err(self.expected("length(), min(), max(), sum(), avg() or keys()"))
                }
            };
        }
        Ok(Step::Names(vec![name.into()]))
    }

    /// A name after a dot: everything but what has a meaning of its own, which a backslash takes away.
    fn name(&mut self, outermost: bool) -> Result<String, PathError> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                '\\' => name.push(self.escaped()?),
                '.' | '[' | '(' | ' ' | '\t' | '*' | '?' | ',' | ':' | '@' | ']' | ')' => break,
                '=' | '!' | '<' | '>' | '&' | '|' | '~' | '\'' | '"' if !outermost => break,
                c if c.is_control() => break,
                c => {
                    name.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        Ok(name)
    }

    fn escaped(&mut self) -> Result<char, PathError> {
        self.at += 1;
        let c = self.peek().ok_or_else(|| self.expected("a character after '\\'"))?;
        if c == 'u'
            && let Some(unit) = self.code_unit(1)
        {
            self.at += 5;
            if (0xD800..0xDC00).contains(&unit)
                && self.rest().starts_with("\\u")
                && let Some(low) = self.code_unit(2)
                && (0xDC00..0xE000).contains(&low)
            {
                self.at += 6;
                let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return char::from_u32(code).ok_or_else(|| self.expected("a character's code"));
            }
            return char::from_u32(unit).ok_or_else(|| self.expected("the second half of a surrogate pair"));
        }
        self.at += c.len_utf8();
        Ok(c)
    }

    /// The four hexadecimal digits that stand `skip` bytes ahead.
    fn code_unit(&self, skip: usize) -> Option<u32> {
        let digits = self.rest().get(skip..skip + 4)?;
        digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok())?
    }

    fn bracketed(&mut self) -> Result<Step, PathError> {
        self.blanks();
        let step = match self.peek() {
            Some('*') => {
                self.at += 1;
                Step::All
            }
            Some('\'' | '"') => Step::Names(self.names()?),
            Some('?') => {
                self.at += 1;
                self.blanks();
                self.need("(", "'(' after '?'")?;
                let filter = self.or()?;
                self.blanks();
                self.need(")", "')' after a filter")?;
                Step::Filter(Box::new(filter))
            }
            Some('(') => self.end_distance()?,
            _ => self.positions()?,
        };
        self.blanks();
        self.need("]", "']'")?;
        Ok(step)
    }

    fn names(&mut self) -> Result<Vec<Box<str>>, PathError> {
        let mut names = Vec::new();
        loop {
            self.blanks();
            names.push(self.quoted()?.into());
            self.blanks();
            if !self.take(",") {
                return Ok(names);
            }
        }
    }

    fn quoted(&mut self) -> Result<String, PathError> {
        let Some(quote @ ('\'' | '"')) = self.peek() else {
            return Err(self.expected("a name in quotes"));
        };
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => return Err(self.expected("the closing quote")),
                Some('\\') => text.push(self.escaped()?),
                Some(c) => {
                    self.at += c.len_utf8();
                    if c == quote {
                        return Ok(text);
                    }
                    text.push(c);
                }
            }
        }
    }

    fn end_distance(&mut self) -> Result<Step, PathError> {
        let expected = "(@.length-N)";
        self.need("(", expected)?;
        self.blanks();
        self.need("@.length", expected)?;
        self.blanks();
        self.need("-", expected)?;
        self.blanks();
        let distance = self.integer()?.ok_or_else(|| self.expected(expected))?;
        self.blanks();
        self.need(")", expected)?;
        if distance < 1 {
            return Err(self.expected("a distance of at least 1"));
        }
        Ok(Step::FromEnd(distance))
    }

    fn positions(&mut self) -> Result<Step, PathError> {
        let first = self.integer()?;
        self.blanks();
        if self.take(":") {
            self.blanks();
            let last = self.integer()?;
            return Ok(Step::Slice(first, last));
        }
        let mut indices =
            vec![first.ok_or_else(|| self.expected("an index, a name in quotes, '*', ':' or '?'"))?];
        while self.take(",") {
            self.blanks();
            indices.push(self.integer()?.ok_or_else(|| self.expected("an index"))?);
            self.blanks();
        }
        Ok(Step::Indices(indices))
    }

    fn integer(&mut self) -> Result<Option<i64>, PathError> {
        let rest = self.rest();
        let digits = rest.strip_prefix('-').unwrap_or(rest);
        let length = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if length == 0 {
            return Ok(None);
        }
        let end = rest.len() - digits.len() + length;
        let number = rest[..end].parse().map_err(|_| self.expected("a smaller number"))?;
        self.at += end;
        Ok(Some(number))
    }

    // === filters ===

    fn or(&mut self) -> Result<Filter, PathError> {
        self.depth += 1;
        if self.depth > FILTER_DEPTH_MAX {
            return Err(self.expected("fewer parentheses"));
        }
        let mut parts = vec![self.and()?];
        while self.operator("||") {
            parts.push(self.and()?);
        }
        self.depth -= 1;
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::Or(parts) })
    }

    fn and(&mut self) -> Result<Filter, PathError> {
        let mut parts = vec![self.unary()?];
        while self.operator("&&") {
            parts.push(self.unary()?);
        }
        Ok(if parts.len() == 1 { parts.remove(0) } else { Filter::And(parts) })
    }

    fn operator(&mut self, token: &str) -> bool {
        self.blanks();
        self.take(token)
    }

    fn unary(&mut self) -> Result<Filter, PathError> {
        self.blanks();
        if self.take("!") {
            self.depth += 1;
            if self.depth > FILTER_DEPTH_MAX {
                return Err(self.expected("fewer negations"));
            }
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Filter::Not(Box::new(inner)));
        }
        if self.take("(") {
            let inner = self.or()?;
            self.blanks();
            self.need(")", "')'")?;
            return Ok(inner);
        }
        self.predicate()
    }

    fn predicate(&mut self) -> Result<Filter, PathError> {
        let left = self.operand()?;
        self.blanks();
        if self.take("=~") {
            self.blanks();
            return Ok(Filter::Matches(left, self.expression()?));
        }
        const OPERATORS: &[(&str, Operator)] = &[
            ("===", Operator::Equal),
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
            ("in ", Operator::In),
            ("nin ", Operator::NotIn),
            ("subsetof ", Operator::SubsetOf),
            ("anyof ", Operator::AnyOf),
            ("noneof ", Operator::NoneOf),
            ("size ", Operator::Size),
            ("empty ", Operator::Empty),
        ];
        for (token, operator) in OPERATORS {
            if self.take(token) {
                self.blanks();
                let right = self.operand()?;
                return Ok(Filter::Compare(left, *operator, right));
            }
        }
        match left {
            Operand::Literal(_) => Err(self.expected("an operator")),
            path => Ok(Filter::Exists(path)),
        }
    }

    fn operand(&mut self) -> Result<Operand, PathError> {
        match self.peek() {
            Some('@') => Ok(Operand::Item(self.path('@', false)?)),
            Some('$') => Ok(Operand::Root(self.path('$', false)?)),
            _ => Ok(Operand::Literal(self.literal()?)),
        }
    }

    fn literal(&mut self) -> Result<Value, PathError> {
        match self.peek() {
            Some('\'' | '"') => Ok(Value::String(self.quoted()?)),
            Some('[') => {
                self.at += 1;
                let mut items = Vec::new();
                loop {
                    self.blanks();
                    if self.take("]") {
                        return Ok(Value::Array(items));
                    }
                    if !items.is_empty() {
                        self.need(",", "',' or ']'")?;
                        self.blanks();
                    }
                    if self.peek() == Some('[') {
                        return Err(self.expected("a string or a number"));
                    }
                    items.push(self.literal()?);
                }
            }
            _ => {
                let rest = self.rest();
                let end = rest
                    .find(|c: char| !(c.is_ascii_alphanumeric() || "+-.".contains(c)))
                    .unwrap_or(rest.len());
                let value = match &rest[..end] {
                    "true" => Value::Bool(true),
                    "false" => Value::Bool(false),
                    "null" => Value::Null,
                    number => {
                        serde_json::from_str(number).map_err(|_| self.expected("a value to compare with"))?
                    }
                };
                self.at += end;
                Ok(value)
            }
        }
    }

    /// `/expression/flags`, which must match the whole text.
    fn expression(&mut self) -> Result<regex::Regex, PathError> {
        let start = self.at;
        self.need("/", "an expression between slashes")?;
        let mut pattern = String::new();
        loop {
            match self.peek() {
                None => return Err(self.expected("the closing '/'")),
                Some('/') => break,
                Some('\\') if self.rest().starts_with("\\/") => {
                    pattern.push('/');
                    self.at += 2;
                }
                Some(c) => {
                    pattern.push(c);
                    self.at += c.len_utf8();
                }
            }
        }
        self.at += 1;
        let insensitive = self.take("i");
        RegexBuilder::new(&format!("^(?:{pattern})$"))
            .case_insensitive(insensitive)
            .size_limit(EXPRESSION_BYTES_MAX)
            .build()
            .map_err(|_| PathError::Syntax {
                at: start,
                message: "an expression of acceptable size and form",
            })
    }
}
