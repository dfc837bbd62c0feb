//! What differs from lighttpd and no answer shows stands in `differences.txt` as well, with its reason.

/// The rows of `besides`: where, what, why.
fn besides() -> Vec<[&'static str; 3]> {
    let rows = include_str!("differences.txt").lines().filter_map(|row| row.strip_prefix("besides | "));
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        let [place, what, why] = cells[..] else { panic!("where | what | why: {row}") };
        assert!([place, what, why].iter().all(|cell| !cell.is_empty()), "{row}");
        [place, what, why]
    })
    .collect()
}

#[test]
fn every_difference_that_the_guide_tells_stands_here_with_its_reason() {
    let guide = include_str!("../../../../docs/guide/edge-serving.md");
    let (_, told) = guide.split_once("\n## Where it differs from lighttpd\n").expect("the guide tells them");
    let told = told.split("\n## ").next().unwrap_or(told);
    let lines: Vec<String> = told.split("\n- ").skip(1).map(|line| line.replace('`', "")).collect();
    let known: Vec<&str> = besides().iter().filter(|row| row[0] == "guide").map(|row| row[1]).collect();
    for line in &lines {
        assert!(known.iter().any(|what| line.starts_with(what)), "differences.txt lacks: {line}");
    }
    for what in known {
        assert!(lines.iter().any(|line| line.starts_with(what)), "the guide tells nothing of: {what}");
    }
}
