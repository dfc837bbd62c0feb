//! Whatever `COVERAGE.md` names exists: tests, scenarios, and the members by which a mesh says it.

use selvedge_differential::place;
use selvedge_differential::scenario::Suite;
use selvedge_model::policy::PolicyKind;
use selvedge_model::{Form, GatewayRouteSpec, RouteSpec, Shape, Shaped, VirtualGatewaySpec, VirtualNodeSpec};

/// The areas of the data plane's table, each of which has cells.
const AREAS: [&str; 13] = [
    "Load balancing",
    "Circuit breaking",
    "Retries",
    "Timeouts",
    "TLS",
    "Access control",
    "Rate limits",
    "Headers and paths",
    "Test and move",
    "Protocols",
    "Observe",
    "Admin",
    "Life cycle",
];

#[test]
fn every_name_in_the_table_exists() {
    let root = place::repository_root();
    let text = std::fs::read_to_string(root.join("tests/differential/COVERAGE.md")).unwrap();
    let suites = Suite::read_all(&root.join("tests/differential/scenarios")).unwrap();
    let scenarios: Vec<String> = suites.iter().flat_map(Suite::scenario_names).collect();
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("|---")).skip(1).collect();
    let variables = sources(&root.join("services/proxy/src/bootstrap"));
    let mut named = 0;
    for row in &rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [area, _, said, shown] = cells[..] else { panic!("four cells: {row}") };
        assert!(AREAS.contains(&area.trim()), "{row}");
        assert!(["`", "always", "over xDS"].iter().any(|way| said.contains(way)), "nobody says it: {row}");
        for name in quoted(said) {
            assert!(is_said(name, &variables), "{name} is nowhere to be said: {row}");
        }
        for name in quoted(shown) {
            named += 1;
            match name.split_once("::") {
                Some((path, test)) => {
                    let source = std::fs::read_to_string(root.join(path)).unwrap_or_default();
                    assert!(source.contains(&format!("fn {test}()")), "{name} is no test");
                }
                None => assert!(scenarios.iter().any(|scenario| scenario == name), "{name} is no scenario"),
            }
        }
        assert!(shown.contains('`') || shown.contains("nothing"), "{row}");
    }
    for area in AREAS {
        assert!(rows.iter().any(|row| row.starts_with(&format!("| {area} |"))), "{area} has no cell");
    }
    assert!(named > 80, "{named} names");
}

#[test]
fn every_kind_of_policy_about_traffic_has_a_cell() {
    let root = place::repository_root();
    let text = std::fs::read_to_string(root.join("tests/differential/COVERAGE.md")).unwrap();
    for kind in PolicyKind::ALL {
        // What a node may call beside its backends is a matter of which clusters it has.
        let is_named = quoted(&text).any(|name| policy_of(name) == Some(kind.as_str()));
        assert!(is_named || *kind == PolicyKind::Egress, "no cell is said by {}", kind.as_str());
    }
}

/// What stands between backquotes is a name.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn policy_of(name: &str) -> Option<&str> {
    name.strip_prefix("policy ")?.split('.').next()
}

/// Whether a mesh has this member, or a proxy this variable.
fn is_said(name: &str, variables: &str) -> bool {
    let Some((of, path)) = name.split_once(' ') else { return false };
    let shape = match of {
        "node" => VirtualNodeSpec::SHAPE,
        "gateway" => VirtualGatewaySpec::SHAPE,
        "route" => RouteSpec::SHAPE,
        "gatewayRoute" => GatewayRouteSpec::SHAPE,
        "policy" => {
            let (kind, rest) = path.split_once('.').unwrap_or((path, ""));
            let kind = PolicyKind::ALL.iter().find(|known| known.as_str() == kind);
            return kind.is_some_and(|kind| has(kind.shape(), rest));
        }
        "variable" => return variables.contains(&format!("{path:?}")),
        _ => return false,
    };
    has(shape, path)
}

fn has(shape: &Shape, path: &str) -> bool {
    let (first, rest) = path.split_once('.').unwrap_or((path, ""));
    match shape.form {
        _ if path.is_empty() => true,
        Form::List { element, .. } => has(element, path),
        Form::Structure { members } | Form::Union { members } => {
            members.iter().any(|member| member.name == first && has(member.shape, rest))
        }
        _ => false,
    }
}

/// All files of a folder, one after another.
fn sources(folder: &std::path::Path) -> String {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
}
