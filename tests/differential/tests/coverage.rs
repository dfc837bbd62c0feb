//! Whatever `COVERAGE.md` names exists.

use selvedge_differential::place;
use selvedge_differential::scenario::Suite;

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
    let mut named = 0;
    for row in &rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [area, _, shown] = cells[..] else { panic!("three cells: {row}") };
        assert!(AREAS.contains(&area.trim()), "{row}");
        // What stands between backquotes is a name.
        for name in shown.split('`').skip(1).step_by(2) {
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
