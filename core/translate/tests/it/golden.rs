//! `tests/golden/*.input.json` against `*.resources.yaml`, to be read as prose. `BLESS=1` writes them anew.

use std::collections::BTreeMap;
use std::path::Path;

use selvedge_traffic::Resource;
use selvedge_translate::translate;
use serde::Serialize;
use serde_json::Value;

use crate::mesh;

#[derive(Serialize)]
struct Golden<'a> {
    diagnostics: Vec<String>,
    endpoints: BTreeMap<&'a str, String>,
    origins: BTreeMap<&'a str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    policies: BTreeMap<String, String>,
    resources: &'a [Resource],
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the golden files are on disk")]
fn golden_meshes_translate_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut inputs: Vec<_> = std::fs::read_dir(&folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.to_string_lossy().ends_with(".input.json"))
        .collect();
    inputs.sort();
    assert!(inputs.len() >= 7, "the golden meshes are there");
    for input in inputs {
        let text = std::fs::read_to_string(&input).expect("readable");
        let document: Value =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{input:?}: {error}"));
        let made = yaml(&document);
        let output = input.to_string_lossy().replace(".input.json", ".resources.yaml");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&output, &made).expect("writable");
        }
        let expected = std::fs::read_to_string(&output).unwrap_or_default();
        assert!(
            made == expected,
            "{output} differs; BLESS=1 writes it anew:\n{}",
            first_difference(&expected, &made)
        );
    }
}

fn yaml(document: &Value) -> String {
    let translation = translate(&mesh::snapshot(document), &mesh::proxy(&document["proxy"]));
    let golden = Golden {
        diagnostics: translation.diagnostics.iter().map(ToString::to_string).collect(),
        endpoints: translation
            .endpoints
            .iter()
            .map(|(name, from)| (name.as_str(), format!("{from:?}")))
            .collect(),
        origins: translation
            .origins
            .resources
            .iter()
            .map(|(name, arns)| {
                let paths = arns.iter().filter_map(|arn| arn.rsplit(':').next()).collect::<Vec<_>>();
                (name.as_str(), paths.join(" "))
            })
            .collect(),
        policies: translation
            .origins
            .policies
            .iter()
            .map(|(governed, names)| {
                (format!("{governed:?}"), names.iter().cloned().collect::<Vec<_>>().join(" "))
            })
            .collect(),
        resources: &translation.resources,
    };
    let mut text = Vec::new();
    let mut serializer = serde_norway::Serializer::new(&mut text);
    serde_norway::with::singleton_map_recursive::serialize(&golden, &mut serializer).expect("it serializes");
    String::from_utf8(text).expect("YAML is text")
}

fn first_difference(expected: &str, made: &str) -> String {
    let mut lines = expected.lines().zip(made.lines()).enumerate();
    match lines.find(|(_, (expected, made))| expected != made) {
        Some((line, (expected, made))) => format!("line {}:\n- {expected}\n+ {made}", line + 1),
        None => "one is longer".to_owned(),
    }
}
