//! Lists for people: rows under headers.

/// Rows under headers, each column as wide as its widest cell.
pub(crate) fn columns(headers: &[&str], mut rows: Vec<Vec<String>>) -> String {
    rows.insert(0, headers.iter().map(|header| (*header).to_owned()).collect());
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..headers.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_must() {
        let rows = vec![vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "d".to_owned()]];
        assert_eq!(columns(&["X", "Y"], rows), "X    Y\na    bb\nccc  d\n");
    }
}
