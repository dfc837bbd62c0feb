//! `--query`: a JMESPath expression applied to what a command prints.

mod evaluate;
mod order;

use jmespath::{Context, DEFAULT_RUNTIME};
use serde_json::Value;

use order::Orders;

/// A parsed expression.
pub(crate) struct Query {
    expression: jmespath::Expression<'static>,
}

/// Why an expression could not be parsed or applied.
#[derive(Debug, thiserror::Error)]
#[error("Bad value for --query {expression}: {reason}")]
pub(crate) struct Error {
    expression: String,
    reason: String,
}

impl Query {
    /// Parses an expression.
    ///
    /// # Errors
    /// When it is not JMESPath.
    pub(crate) fn parse(expression: &str) -> Result<Self, Error> {
        jmespath::compile(expression)
            .map(|expression| Self { expression })
            .map_err(|error| Error { expression: expression.to_owned(), reason: error.reason.to_string() })
    }

    /// Applies the expression to a document.
    ///
    /// # Errors
    /// When a function is unknown or was given the wrong type.
    pub(crate) fn apply(&self, document: &Value) -> Result<Value, Error> {
        let ast = self.expression.as_ast();
        let orders = Orders::of(document, ast);
        let mut context = Context::new(self.expression.as_str(), &DEFAULT_RUNTIME);
        evaluate::evaluate(document, ast, &orders, &mut context).map_err(|error| Error {
            expression: self.expression.as_str().to_owned(),
            reason: error.reason.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(document: &str, query: &str, expected: &str) {
        let document: Value = serde_json::from_str(document).expect("JSON");
        let found = Query::parse(query).expect("JMESPath").apply(&document).expect("applies");
        assert_eq!(found.to_string(), expected, "{query}");
    }

    #[test]
    fn members_keep_the_order_of_the_answer_and_numbers_their_digits() {
        check(r#"{"mesh":{"z":1563809909.282,"a":"x"}}"#, "mesh", r#"{"z":1563809909.282,"a":"x"}"#);
        check(
            r#"{"l":[{"z":1,"a":2},{"z":3,"a":4}]}"#,
            "l[].{to: z, from: a}",
            r#"[{"to":1,"from":2},{"to":3,"from":4}]"#,
        );
        check(r#"{"l":[{"n":"b"},{"n":"a"}]}"#, "sort(l[].n)", r#"["a","b"]"#);
        check(r#"{"l":[{"n":"b","w":1},{"n":"a","w":80}]}"#, "l[?w>`50`].n | [0]", r#""a""#);
        check(r#"{"a":1}"#, "missing", "null");
    }

    #[test]
    fn a_bad_expression_is_named() {
        let error = Query::parse("a[").err().expect("unfinished");
        assert!(error.to_string().starts_with("Bad value for --query a["), "{error}");
    }

    /// What Python's JMESPath, which the AWS command line uses, makes of each expression.
    fn aws_finds(document: &Value, queries: &[&str]) -> Option<Vec<Value>> {
        const SCRIPT: &str = "
import json, sys
import jmespath
from collections import OrderedDict
document, queries = json.load(sys.stdin)
options = jmespath.Options(dict_cls=OrderedDict)
json.dump([jmespath.search(query, document, options) for query in queries], sys.stdout)
";
        let python = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python");
        let mut child = std::process::Command::new(python)
            .args(["-c", SCRIPT])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut stdin = child.stdin.take().expect("piped above");
        let input = serde_json::to_vec(&(document, queries)).expect("JSON");
        std::io::Write::write_all(&mut stdin, &input).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("the script ends");
        output.status.success().then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
    }

    #[test]
    fn expressions_find_what_the_aws_command_line_finds() {
        let document = serde_json::json!({
            "virtualNodes": [
                {"virtualNodeName": "b", "version": 2, "createdAt": 1563809909.282, "tags": ["x", "y"], "spec": {"z": 1, "a": null}},
                {"virtualNodeName": "a", "version": 10, "createdAt": 1563809910.5, "tags": [], "spec": {"z": 2, "a": {"q": true}}},
                {"virtualNodeName": "c", "version": 1, "createdAt": 1563809911, "spec": {"y": "text"}},
            ],
            "nextToken": null,
        });
        let queries = [
            "virtualNodes",
            "virtualNodes[].virtualNodeName",
            "virtualNodes[*].spec",
            "virtualNodes[0]",
            "virtualNodes[-1].spec",
            "virtualNodes[1:]",
            "virtualNodes[::-1].virtualNodeName",
            "virtualNodes[?version > `1`].virtualNodeName",
            "virtualNodes[?virtualNodeName == 'a'] | [0].spec",
            "virtualNodes[?contains(tags || `[]`, 'x')].virtualNodeName",
            "virtualNodes[].[virtualNodeName, version]",
            "virtualNodes[].{version: version, name: virtualNodeName}",
            "virtualNodes[].tags[]",
            "sort_by(virtualNodes, &version)[].virtualNodeName",
            "max_by(virtualNodes, &version).virtualNodeName",
            "length(virtualNodes)",
            "virtualNodes[].spec.*",
            "keys(virtualNodes[0].spec)",
            "virtualNodes[?spec.a].virtualNodeName",
            "virtualNodes[?!spec.a].virtualNodeName",
            "join(',', virtualNodes[].virtualNodeName)",
            "sum(virtualNodes[].version)",
            "ceil(virtualNodes[0].createdAt)",
            "avg(virtualNodes[:2].version)",
            "abs(`-3`)",
            "to_string(virtualNodes[0].version)",
            "not_null(nextToken, 'none')",
            "type(nextToken)",
            "reverse(virtualNodes[].virtualNodeName)",
            "starts_with(virtualNodes[0].virtualNodeName, 'b')",
            "missing.member",
            "@",
            "`{\"literal\": 1}`",
            "\"virtualNodes\"[0].\"spec\"",
            "virtualNodes[].spec | [?z].z",
            "map(&version, virtualNodes)",
            "virtualNodes[].createdAt",
            "virtualNodes[?virtualNodeName >= 'b'].version",
            "virtualNodes[?version == `2.0`].virtualNodeName",
            "values(virtualNodes[1].spec)",
            "virtualNodes[-2:].virtualNodeName",
            "virtualNodes[:-1].virtualNodeName",
            "virtualNodes[5:1:-1].virtualNodeName",
            "virtualNodes[?spec == `{\"y\": \"text\"}`].virtualNodeName",
            "sort_by(virtualNodes, &version)[0].spec",
            "merge(virtualNodes[0].spec, `{\"b\": 1}`)",
            "virtualNodes[].virtualNodeName[0]",
            "virtualNodes[7]",
            "nextToken.x[0].*",
        ];
        let Some(expected) = aws_finds(&document, &queries) else {
            eprintln!("SKIPPED: no AWS command line in target/venv");
            return;
        };
        for (query, expected) in queries.iter().zip(expected) {
            let found = Query::parse(query).expect(query).apply(&document).expect(query);
            assert_eq!(found.to_string(), expected.to_string(), "{query}");
        }
    }
}
