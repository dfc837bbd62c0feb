//! The grammar of calls.

use serde_json::Value;

use super::{Argument, Call, Function, INTRINSIC_NESTING_MAX, IntrinsicError};
use crate::Path;

pub(super) fn call(text: &str) -> Result<Call, IntrinsicError> {
    let mut parser = Parser { text, at: 0 };
    let call = parser.call(1)?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.expected("the end of the function call"));
    }
    Ok(call)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn expected(&self, message: impl Into<String>) -> IntrinsicError {
        IntrinsicError::Syntax { at: self.at, message: message.into() }
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, token: char) -> bool {
        let taken = self.rest().starts_with(token);
        if taken {
            self.at += token.len_utf8();
        }
        taken
    }

    fn call(&mut self, depth: usize) -> Result<Call, IntrinsicError> {
        if depth > INTRINSIC_NESTING_MAX {
            return Err(IntrinsicError::TooDeep);
        }
        let start = self.at;
        let rest = self.rest();
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_')).unwrap_or(rest.len());
        let function = rest[..end].strip_prefix("States.").and_then(Function::by_name);
        let Some(function) = function else {
            return Err(self.expected(
                "a path that begins with '$' or one of the functions States.Format, States.Array, …",
            ));
        };
        self.at += end;
        if !self.take('(') {
            return Err(self.expected("'('"));
        }
        let arguments = self.arguments(depth, function)?;
        if !function.arity().contains(&arguments.len()) {
            self.at = start;
            let message = format!("another number of arguments for {}", function.name());
            return Err(self.expected(message));
        }
        Ok(Call { function, arguments })
    }

    fn arguments(&mut self, depth: usize, function: Function) -> Result<Vec<Argument>, IntrinsicError> {
        let mut arguments = Vec::new();
        self.blanks();
        if self.take(')') {
            return Ok(arguments);
        }
        loop {
            self.blanks();
            let is_template = function == Function::Format && arguments.is_empty();
            arguments.push(self.argument(depth, is_template)?);
            self.blanks();
            if self.take(')') {
                return Ok(arguments);
            }
            if !self.take(',') {
                return Err(self.expected("',' or ')'"));
            }
        }
    }

    fn argument(&mut self, depth: usize, is_template: bool) -> Result<Argument, IntrinsicError> {
        if self.rest().starts_with('\'') {
            return Ok(Argument::Constant(Value::String(self.text(is_template)?)));
        }
        if self.rest().starts_with('$') {
            return self.path();
        }
        if self.rest().starts_with("States.") {
            return Ok(Argument::Call(self.call(depth + 1)?));
        }
        let rest = self.rest();
        let end = rest.find([',', ')', ' ']).unwrap_or(rest.len());
        let value = match &rest[..end] {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            number => {
                serde_json::from_str::<serde_json::Number>(number).map(Value::Number).map_err(|_| {
                    self.expected(
                        "a text in single quotes, a number, true, false, null, a path or a function",
                    )
                })?
            }
        };
        self.at += end;
        Ok(Argument::Constant(value))
    }

    /// A text in single quotes; `\'`, `\{`, `\}` and `\\` are its escapes. In a template all but the quote's
    /// stay, for `States.Format` to tell a brace from a place to fill.
    fn text(&mut self, is_template: bool) -> Result<String, IntrinsicError> {
        self.take('\'');
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return Err(self.expected("the closing quote")) };
            self.at += c.len_utf8();
            match c {
                '\'' => return Ok(text),
                '\\' => {
                    let Some(escaped @ ('\'' | '\\' | '{' | '}')) = self.rest().chars().next() else {
                        return Err(self.expected(r"one of ' \ { } after a backslash"));
                    };
                    self.at += 1;
                    if is_template && escaped != '\'' {
                        text.push('\\');
                    }
                    text.push(escaped);
                }
                c => text.push(c),
            }
        }
    }

    /// A path ends at a comma or parenthesis that no bracket or quote of its own encloses.
    fn path(&mut self) -> Result<Argument, IntrinsicError> {
        let (mut brackets, mut parentheses, mut quote, mut escaped) = (0usize, 0usize, None, false);
        let mut end = self.rest().len();
        for (index, c) in self.rest().char_indices() {
            if std::mem::take(&mut escaped) {
                continue;
            }
            match (quote, c) {
                (_, '\\') => escaped = true,
                (Some(open), c) if c == open => quote = None,
                (Some(_), _) => {}
                (None, '\'' | '"') if brackets > 0 => quote = Some(c),
                (None, '[') => brackets += 1,
                (None, ']') => brackets = brackets.saturating_sub(1),
                (None, '(') => parentheses += 1,
                (None, ')') if parentheses > 0 => parentheses -= 1,
                (None, ',' | ')' | ' ') if brackets == 0 => {
                    end = index;
                    break;
                }
                _ => {}
            }
        }
        let path = Path::parse(&self.rest()[..end]).map_err(|error| self.expected(error.to_string()))?;
        self.at += end;
        Ok(Argument::Path(path))
    }
}
