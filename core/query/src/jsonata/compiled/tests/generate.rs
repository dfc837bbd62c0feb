//! Expressions and inputs by chance, from one seed.

use serde_json::{Map, Value, json};

use crate::entropy::split_mix;

/// The names of members, which inputs have and expressions ask for.
const MEMBERS: &[&str] = &["a", "b", "c", "d"];
/// Numbers that are not written as the language writes them.
const NUMBERS: &[&str] = &["1e3", "-0", "1.50", "12345678901234567890", "1e-7", "0.1e1"];
/// What variables are bound to by the state machine, under these names.
const VARIABLES: &[&str] = &["x", "y"];

pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// Below `most`.
    pub(super) fn below(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        (split_mix(self.0) % most as u64) as usize
    }

    fn one<'v, T>(&mut self, values: &'v [T]) -> &'v T {
        let index = self.below(values.len());
        &values[index]
    }

    /// JSON of a few levels.
    pub(super) fn value(&mut self, depth: usize) -> Value {
        match self.below(if depth == 0 { 9 } else { 14 }) {
            0 => Value::Null,
            1 => json!(self.below(2) == 0),
            2..=4 => json!(self.below(7)),
            5 => json!(self.below(1000) as f64 / 8.0 - 20.0),
            6 => self.one(&[json!("1e21"), json!("0.1"), json!("é\"\n"), json!("12")]).clone(),
            7 => serde_json::from_str::<Value>(self.one::<&str>(NUMBERS)).unwrap(),
            8 => json!(*self.one(&["x", "y", "", "a b", "X-1"])),
            9 | 10 => {
                let count = self.below(4);
                (0..count).map(|_| self.value(depth - 1)).collect()
            }
            _ => self.object(depth),
        }
    }

    pub(super) fn object(&mut self, depth: usize) -> Value {
        let mut members = Map::new();
        for _ in 0..self.below(5) {
            members.insert((*self.one(MEMBERS)).to_owned(), self.value(depth.saturating_sub(1)));
        }
        Value::Object(members)
    }

    /// The state machine's variables.
    pub(super) fn variables(&mut self) -> Value {
        VARIABLES.iter().map(|name| ((*name).to_owned(), self.value(2))).collect::<Map<_, _>>().into()
    }

    /// An expression; `bound` are the names that it may use.
    pub(super) fn expression(&mut self, depth: usize, bound: &mut Vec<String>) -> String {
        if depth == 0 {
            return self.leaf(bound);
        }
        let depth = depth - 1;
        match self.below(22) {
            0..=5 => self.path(depth, bound),
            6 | 7 => {
                let operator = *self.one(&[
                    "+", "-", "*", "/", "%", "<", "<=", ">", ">=", "=", "!=", "and", "or", "in", "&", "&",
                    "?:", "??",
                ]);
                format!("({} {operator} {})", self.expression(depth, bound), self.expression(depth, bound))
            }
            8 => format!(
                "({} ? {} : {})",
                self.expression(depth, bound),
                self.expression(depth, bound),
                self.expression(depth, bound)
            ),
            9 => format!("({} ? {})", self.expression(depth, bound), self.expression(depth, bound)),
            10 | 11 => {
                let count = self.below(4);
                let items: Vec<String> = (0..count).map(|_| self.expression(depth, bound)).collect();
                format!("[{}]", items.join(", "))
            }
            12 | 13 => self.object_constructor(depth, bound),
            14 => {
                let before = bound.len();
                let mut text = String::from("(");
                for _ in 0..=self.below(2) {
                    let value = self.expression(depth, bound);
                    let name = format!("v{}", self.below(3));
                    text += &format!("${name} := {value}; ");
                    bound.push(name);
                }
                text += &self.expression(depth, bound);
                bound.truncate(before);
                text + ")"
            }
            15 => self.each(depth, bound),
            16 => format!("-{}", self.leaf(bound)),
            17 => format!("[{}..{}]", self.below(4), self.below(7)),
            _ => self.call(depth, bound),
        }
    }

    fn leaf(&mut self, bound: &[String]) -> String {
        match self.below(12) {
            0 => self.below(5).to_string(),
            1 => "0.1".into(),
            2 => (*self.one(&["'x'", "''", "'12'", "'a'"])).into(),
            3 => (*self.one(&["true", "false", "null"])).into(),
            4 => "$".into(),
            5 => (*self.one(MEMBERS)).into(),
            6 => format!("${}", self.one(VARIABLES)),
            7 | 8 if !bound.is_empty() => format!("${}", self.one(bound)),
            9 => "$states.input".into(),
            _ => format!("$states.input.{}", self.one(MEMBERS)),
        }
    }

    fn path(&mut self, depth: usize, bound: &mut Vec<String>) -> String {
        let mut text = match self.below(8) {
            0 => format!("({})", self.expression(depth, bound)),
            1 => (*self.one(MEMBERS)).into(),
            2 => format!("${}", self.one(VARIABLES)),
            3 if !bound.is_empty() => format!("${}", self.one(bound)),
            4 => self.call(depth, bound),
            5 => "$".into(),
            _ => "$states.input".into(),
        };
        for _ in 0..=self.below(3) {
            text += &match self.below(12) {
                0 => format!("[{}]", self.below(3) as i64 - 1),
                1 => "[]".into(),
                2 | 3 => format!("[{}]", self.expression(depth, bound)),
                4 => format!(".({})", self.expression(depth, bound)),
                5 => format!(".{}", self.object_constructor(depth, bound)),
                6 => format!(".[{}, {}]", self.expression(depth, bound), self.leaf(bound)),
                7 => format!(".{}", self.call(depth, bound)),
                8 => ".$".into(),
                _ => format!(".{}", self.one(MEMBERS)),
            };
        }
        text
    }

    fn object_constructor(&mut self, depth: usize, bound: &mut Vec<String>) -> String {
        let (count, first) = (self.below(3), self.below(MEMBERS.len()));
        let mut pair = |index: usize| {
            let name = if self.below(6) == 0 {
                self.expression(depth, bound)
            } else {
                format!("'{}'", MEMBERS[(index + first) % MEMBERS.len()])
            };
            format!("{name}: {}", self.expression(depth, bound))
        };
        let pairs: Vec<String> = (0..count).map(&mut pair).collect();
        format!("{{{}}}", pairs.join(", "))
    }

    fn each(&mut self, depth: usize, bound: &mut Vec<String>) -> String {
        let items = self.expression(depth, bound);
        let (name, most) = *self.one(&[("map", 2), ("filter", 2), ("single", 2), ("reduce", 3)]);
        let count = if name == "reduce" { 2 + self.below(2) } else { self.below(most + 1) };
        let names: Vec<String> = (0..count).map(|_| format!("p{}", self.below(100))).collect();
        let before = bound.len();
        bound.extend(names.iter().cloned());
        let body = self.expression(depth, bound);
        bound.truncate(before);
        let parameters: Vec<String> = names.iter().map(|name| format!("${name}")).collect();
        let initial = if name == "reduce" && self.below(2) == 0 {
            format!(", {}", self.leaf(bound))
        } else {
            String::new()
        };
        format!("${name}({items}, function({}) {{ {body} }}{initial})", parameters.join(", "))
    }

    fn call(&mut self, depth: usize, bound: &mut Vec<String>) -> String {
        let (name, count) = *self.one(&[
            ("abs", 1),
            ("append", 2),
            ("average", 1),
            ("boolean", 1),
            ("ceil", 1),
            ("contains", 2),
            ("count", 1),
            ("distinct", 1),
            ("exists", 1),
            ("floor", 1),
            ("join", 1),
            ("join", 2),
            ("keys", 1),
            ("length", 1),
            ("lookup", 2),
            ("lowercase", 1),
            ("max", 1),
            ("merge", 1),
            ("millis", 0),
            ("min", 1),
            ("not", 1),
            ("number", 1),
            ("reverse", 1),
            ("round", 1),
            ("round", 2),
            ("split", 2),
            ("string", 1),
            ("string", 1),
            ("substring", 2),
            ("substring", 3),
            ("substringAfter", 2),
            ("substringBefore", 2),
            ("sum", 1),
            ("trim", 1),
            ("type", 1),
            ("uppercase", 1),
        ]);
        let mut arguments: Vec<String> = (0..count).map(|_| self.expression(depth, bound)).collect();
        if count > 0 && self.below(5) == 0 {
            let first = arguments.remove(0);
            return format!("({first} ~> ${name}({}))", arguments.join(", "));
        }
        format!("${name}({})", arguments.join(", "))
    }
}
