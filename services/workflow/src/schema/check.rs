//! Whether a value is what a schema asks for.

use serde_json::{Map, Value};

use super::{DEPTH_MAX, Schema};

/// Schemas that one check applies to values, at the most.
const STEPS_MAX: usize = 100_000;
/// Characters of a value that a misfit repeats.
const SHOWN_CHARS_MAX: usize = 80;

/// The first place that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub(crate) struct Misfit {
    /// `$.order.items[2].price`
    pub(crate) path: String,
    pub(crate) problem: String,
}

struct Check<'s> {
    schema: &'s Schema,
    steps: usize,
}

impl Schema {
    /// Checks a value.
    pub(crate) fn check(&self, value: &Value) -> Result<(), Misfit> {
        let mut check = Check { schema: self, steps: 0 };
        check.apply(&self.document, value, "$", 0)
    }
}

fn misfit(path: &str, problem: impl Into<String>) -> Misfit {
    Misfit { path: path.to_owned(), problem: problem.into() }
}

fn short(value: &Value) -> String {
    value.to_string().chars().take(SHOWN_CHARS_MAX).collect()
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn is_of(value: &Value, wanted: &str) -> bool {
    match wanted {
        "integer" => value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0),
        wanted => kind(value) == wanted,
    }
}

/// Numbers are equal by their value, as JSON Schema has it.
fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, one)| other.get(name).is_some_and(|other| equal(one, other)))
        }
        (one, other) => one == other,
    }
}

impl Check<'_> {
    fn apply(&mut self, schema: &Value, value: &Value, at: &str, depth: usize) -> Result<(), Misfit> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return Err(misfit(at, "the check takes too long"));
        }
        // A reference may lead to itself.
        if depth > DEPTH_MAX * 4 {
            return Err(misfit(at, "the schema leads too deep"));
        }
        let members = match schema {
            Value::Bool(false) => return Err(misfit(at, "nothing is allowed here")),
            Value::Object(members) => members,
            _ => return Ok(()),
        };
        self.alone(members, value, at)?;
        match value {
            Value::Object(given) => self.object(members, given, at, depth)?,
            Value::Array(items) => self.array(members, items, at, depth)?,
            Value::String(text) => self.text(members, text, at)?,
            Value::Number(number) => bounds(members, number.as_f64().unwrap_or_default(), at)?,
            _ => {}
        }
        self.combined(members, value, at, depth)
    }

    fn alone(&self, members: &Map<String, Value>, value: &Value, at: &str) -> Result<(), Misfit> {
        let wanted: Vec<&str> = match members.get("type") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !wanted.is_empty() && !wanted.iter().any(|wanted| is_of(value, wanted)) {
            let problem = format!("{} is expected, and it is {}", wanted.join(" or "), kind(value));
            return Err(misfit(at, problem));
        }
        if let Some(constant) = members.get("const")
            && !equal(constant, value)
        {
            return Err(misfit(at, format!("it has to be {}", short(constant))));
        }
        if let Some(choices) = members.get("enum").and_then(Value::as_array)
            && !choices.iter().any(|choice| equal(choice, value))
        {
            let choices: Vec<String> = choices.iter().take(10).map(short).collect();
            return Err(misfit(at, format!("it has to be one of {}", choices.join(", "))));
        }
        Ok(())
    }

    fn text(&self, members: &Map<String, Value>, text: &str, at: &str) -> Result<(), Misfit> {
        let has_bounds = members.contains_key("minLength") || members.contains_key("maxLength");
        if has_bounds {
            count(members, "Length", text.chars().count(), "characters", at)?;
        }
        if let Some(pattern) = members.get("pattern").and_then(Value::as_str)
            && !self.matches(pattern, text)
        {
            return Err(misfit(at, format!("it does not match {pattern}")));
        }
        Ok(())
    }

    fn matches(&self, pattern: &str, text: &str) -> bool {
        self.schema.patterns.get(pattern).is_some_and(|pattern| pattern.is_match(text))
    }

    fn array(
        &mut self,
        members: &Map<String, Value>,
        items: &[Value],
        at: &str,
        depth: usize,
    ) -> Result<(), Misfit> {
        count(members, "Items", items.len(), "items", at)?;
        let first = members.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for (index, item) in items.iter().enumerate() {
            let schema = first.get(index).or_else(|| members.get("items"));
            if let Some(schema) = schema {
                self.apply(schema, item, &format!("{at}[{index}]"), depth + 1)?;
            }
        }
        if members.get("uniqueItems") == Some(&Value::Bool(true)) {
            for (index, item) in items.iter().enumerate() {
                self.steps += index;
                if self.steps > STEPS_MAX {
                    return Err(misfit(at, "the check takes too long"));
                }
                if items.iter().take(index).any(|other| equal(other, item)) {
                    return Err(misfit(&format!("{at}[{index}]"), "it is there twice"));
                }
            }
        }
        if let Some(wanted) = members.get("contains") {
            let mut found = 0;
            for item in items {
                found += usize::from(self.apply(wanted, item, at, depth + 1).is_ok());
            }
            let least = members.get("minContains").and_then(Value::as_u64).unwrap_or(1);
            let most = members.get("maxContains").and_then(Value::as_u64).unwrap_or(u64::MAX);
            if !(least..=most).contains(&(found as u64)) {
                return Err(misfit(at, format!("{found} of its items are as `contains` asks")));
            }
        }
        Ok(())
    }

    fn object(
        &mut self,
        members: &Map<String, Value>,
        given: &Map<String, Value>,
        at: &str,
        depth: usize,
    ) -> Result<(), Misfit> {
        count(members, "Properties", given.len(), "members", at)?;
        let required = |names: Option<&Value>| -> Result<(), Misfit> {
            for name in names.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                if !given.contains_key(name) {
                    return Err(misfit(&format!("{at}.{name}"), "it is required"));
                }
            }
            Ok(())
        };
        required(members.get("required"))?;
        let dependent = members.get("dependentRequired").and_then(Value::as_object);
        for (_, names) in dependent.into_iter().flatten().filter(|(name, _)| given.contains_key(*name)) {
            required(Some(names))?;
        }
        let properties = members.get("properties").and_then(Value::as_object);
        let patterns = members.get("patternProperties").and_then(Value::as_object);
        for (name, value) in given {
            let path = format!("{at}.{name}");
            if let Some(names) = members.get("propertyNames") {
                self.apply(names, &Value::from(name.as_str()), &path, depth + 1)?;
            }
            let mut is_known = false;
            if let Some(schema) = properties.and_then(|properties| properties.get(name)) {
                is_known = true;
                self.apply(schema, value, &path, depth + 1)?;
            }
            for (pattern, schema) in patterns.into_iter().flatten() {
                if self.matches(pattern, name) {
                    is_known = true;
                    self.apply(schema, value, &path, depth + 1)?;
                }
            }
            if let Some(schema) = members.get("additionalProperties").filter(|_| !is_known) {
                if schema == &Value::Bool(false) {
                    return Err(misfit(&path, "nobody asked for it"));
                }
                self.apply(schema, value, &path, depth + 1)?;
            }
        }
        let dependent = members.get("dependentSchemas").and_then(Value::as_object);
        for (name, schema) in dependent.into_iter().flatten() {
            if given.contains_key(name) {
                self.apply(schema, &Value::Object(given.clone()), at, depth + 1)?;
            }
        }
        Ok(())
    }

    fn combined(
        &mut self,
        members: &Map<String, Value>,
        value: &Value,
        at: &str,
        depth: usize,
    ) -> Result<(), Misfit> {
        if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
            let schema = self.schema;
            let target =
                schema.target(reference).ok_or_else(|| misfit(at, "the schema refers to nothing"))?;
            self.apply(target, value, at, depth + 1)?;
        }
        let parts = |name: &str| members.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for part in parts("allOf") {
            self.apply(part, value, at, depth + 1)?;
        }
        let any = parts("anyOf");
        let mut first = None;
        let fits = any.iter().any(|part| match self.apply(part, value, at, depth + 1) {
            Ok(()) => true,
            Err(found) => {
                first.get_or_insert(found);
                false
            }
        });
        if !any.is_empty() && !fits {
            let first = first.map(|found| format!("; for the first {found}")).unwrap_or_default();
            return Err(misfit(at, format!("it fits none of the {} of anyOf{first}", any.len())));
        }
        let one = parts("oneOf");
        if !one.is_empty() {
            let fitting = one.iter().filter(|part| self.apply(part, value, at, depth + 1).is_ok()).count();
            if fitting != 1 {
                return Err(misfit(at, format!("it fits {fitting} of the {} of oneOf", one.len())));
            }
        }
        if let Some(not) = members.get("not")
            && self.apply(not, value, at, depth + 1).is_ok()
        {
            return Err(misfit(at, "it is what `not` excludes"));
        }
        if let Some(condition) = members.get("if") {
            let holds = self.apply(condition, value, at, depth + 1).is_ok();
            if let Some(then) = members.get(if holds { "then" } else { "else" }) {
                self.apply(then, value, at, depth + 1)?;
            }
        }
        // However it went on, what took too long is no answer.
        if self.steps > STEPS_MAX {
            return Err(misfit(at, "the check takes too long"));
        }
        Ok(())
    }
}

fn count(members: &Map<String, Value>, of: &str, found: usize, what: &str, at: &str) -> Result<(), Misfit> {
    let bound = |side: &str| members.get(&format!("{side}{of}")).and_then(Value::as_u64);
    if let Some(least) = bound("min").filter(|least| (found as u64) < *least) {
        return Err(misfit(at, format!("it has {found} {what}, and at least {least} are asked for")));
    }
    if let Some(most) = bound("max").filter(|most| (found as u64) > *most) {
        return Err(misfit(at, format!("it has {found} {what}, and at most {most} are asked for")));
    }
    Ok(())
}

fn bounds(members: &Map<String, Value>, found: f64, at: &str) -> Result<(), Misfit> {
    let bound = |name: &str| members.get(name).and_then(Value::as_f64);
    let outside = [
        ("minimum", bound("minimum").filter(|bound| found < *bound)),
        ("maximum", bound("maximum").filter(|bound| found > *bound)),
        ("exclusiveMinimum", bound("exclusiveMinimum").filter(|bound| found <= *bound)),
        ("exclusiveMaximum", bound("exclusiveMaximum").filter(|bound| found >= *bound)),
        (
            "multipleOf",
            bound("multipleOf").filter(|step| {
                let times = found / step;
                (times - times.round()).abs() > 1e-9
            }),
        ),
    ];
    match outside.into_iter().find_map(|(name, bound)| Some((name, bound?))) {
        Some((name, bound)) => Err(misfit(at, format!("it is {found}, and its {name} is {bound}"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_has_to_fit_and_the_place_that_does_not_is_told() {
        let schema = json!({
            "type": "object", "required": ["total", "items"], "additionalProperties": false,
            "properties": {
                "total": { "type": "number", "exclusiveMinimum": 0, "multipleOf": 0.01 },
                "items": { "type": "array", "minItems": 1, "uniqueItems": true, "items": { "$ref": "#/$defs/item" } },
                "mail": { "type": ["string", "null"], "pattern": "^[^@]+@[^@]+$", "maxLength": 20 },
                "kind": { "enum": ["a", 1, null] },
                "tree": { "$ref": "#/$defs/tree" },
                "either": { "oneOf": [{ "type": "integer" }, { "minimum": 5 }] },
                "any": { "anyOf": [{ "const": 1 }, { "type": "string" }] },
                "not": { "not": { "type": "string" } },
                "when": { "if": { "properties": { "a": { "const": 1 } } }, "then": { "required": ["b"] }, "else": { "required": ["c"] } },
            },
            "patternProperties": { "^x-": { "type": "string" } },
            "dependentRequired": { "mail": ["kind"] },
            "$defs": {
                "item": { "type": "object", "required": ["id"], "properties": { "id": { "type": "integer", "maximum": 9 } } },
                "tree": { "type": "object", "properties": { "left": { "$ref": "#/$defs/tree" } } },
            },
        });
        let schema = Schema::read(&schema, "inputSchema").unwrap();
        let with = |name: &str, value: Value| {
            let mut whole = json!({ "total": 1.25, "items": [{ "id": 1 }] });
            whole[name] = value;
            whole
        };
        for (value, path) in [
            (with("total", json!(2)), None),
            (with("x-a", json!("y")), None),
            (with("tree", json!({ "left": { "left": {} } })), None),
            (with("when", json!({ "a": 1, "b": 2 })), None),
            (with("any", json!("text")), None),
            (json!([]), Some("$")),
            (json!({ "items": [] }), Some("$.total")),
            (with("total", json!(0)), Some("$.total")),
            (with("total", json!(1.255)), Some("$.total")),
            (with("items", json!([])), Some("$.items")),
            (with("items", json!([{ "id": 1 }, { "id": 1.0 }])), Some("$.items[1]")),
            (with("items", json!([{ "id": 1 }, {}])), Some("$.items[1].id")),
            (with("items", json!([{ "id": 10 }])), Some("$.items[0].id")),
            (with("mail", json!("nobody")), Some("$.kind")),
            (with("kind", json!("c")), Some("$.kind")),
            (with("tree", json!({ "left": { "left": 1 } })), Some("$.tree.left.left")),
            (with("either", json!(7)), Some("$.either")),
            (with("any", json!(2)), Some("$.any")),
            (with("not", json!("x")), Some("$.not")),
            (with("when", json!({ "a": 1 })), Some("$.when.b")),
            (with("when", json!({ "a": 2 })), Some("$.when.c")),
            (with("x-a", json!(1)), Some("$.x-a")),
            (with("more", json!(1)), Some("$.more")),
        ] {
            let found = schema.check(&value).err().map(|found| found.path);
            assert_eq!(found.as_deref(), path, "{value}");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_refused_when_it_comes_in() {
        let mut deep = json!({});
        for _ in 0..=DEPTH_MAX {
            deep = json!({ "items": deep });
        }
        for (schema, problem) in [
            (json!("x"), "S: an object"),
            (
                json!({ "properties": { "a": { "$ref": "https://example.com/s.json" } } }),
                "S.properties.a.$ref: 'https://example.com/s.json' is elsewhere",
            ),
            (json!({ "$ref": "file:///etc/passwd" }), "is elsewhere"),
            (json!({ "$ref": "#/$defs/none" }), "is not in the document"),
            (json!({ "pattern": "(a)\\1" }), "linear time"),
            (json!({ "pattern": "(((a{100}){100}){100})" }), "linear time"),
            (json!({ "unevaluatedProperties": false }), "S.unevaluatedProperties: it is not understood"),
            (json!({ "type": "date" }), "S.type"),
            (json!({ "minLength": -1 }), "S.minLength"),
            (json!({ "multipleOf": 0 }), "S.multipleOf"),
            (json!({ "required": [1] }), "S.required"),
            (json!({ "anyOf": [] }), "S.anyOf"),
            (deep, "nested too deeply"),
            (json!({ "description": "x".repeat(super::super::SCHEMA_BYTES_MAX) }), "bytes"),
        ] {
            let found = Schema::read(&schema, "S").unwrap_err().to_string();
            assert!(found.contains(problem), "{problem}: {found}");
        }
    }

    #[test]
    fn a_schema_that_leads_round_or_multiplies_ends() {
        let round = Schema::read(&json!({ "$ref": "#" }), "S").unwrap();
        assert!(round.check(&json!(1)).unwrap_err().problem.contains("too deep"));
        // Each level asks for the next twice.
        let mut defs = Map::new();
        for level in 0..30 {
            let next = json!({ "$ref": format!("#/$defs/l{}", level + 1) });
            defs.insert(format!("l{level}"), json!({ "allOf": [next, next] }));
        }
        defs.insert("l30".into(), json!({}));
        let bomb = Schema::read(&json!({ "$ref": "#/$defs/l0", "$defs": defs }), "S").unwrap();
        assert!(bomb.check(&json!(1)).unwrap_err().problem.contains("too long"));
    }
}
