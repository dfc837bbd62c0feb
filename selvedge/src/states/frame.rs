//! As much of a picture as a terminal has room for: the part in which something happens.

use super::picture::Row;

/// The room that a terminal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Lines, the header's and those that tell of the rest included.
    pub(super) lines: usize,
    /// Cells of a line.
    pub(super) cells: usize,
}

/// The fewest lines that a picture is cut to: a header, what is above, a row, what is below.
const LINES_MIN: usize = 4;

/// A header with the rows around those that are active, in no more lines and cells than there is room for.
pub(super) fn frame(header: &str, rows: &[Row], room: Room, color: bool) -> String {
    let mut out = cut(header, room.cells);
    out.push('\n');
    let most = room.lines.max(LINES_MIN) - 1;
    if rows.len() <= most {
        rows.iter().for_each(|row| push(&mut out, row, room.cells, color));
        return out;
    }
    // Two lines tell of what is not shown.
    let shown = most - 2;
    let first =
        rows.iter().position(|row| row.is_active).or_else(|| rows.iter().rposition(|row| row.is_visited));
    let last = rows.iter().rposition(|row| row.is_active).or(first).unwrap_or_default();
    let first = first.unwrap_or_default();
    // In the middle of what is active, if all of that fits; else from its first row on.
    let start = match (last - first).checked_sub(shown) {
        Some(_) => first,
        None => (first + last).div_ceil(2).saturating_sub(shown / 2),
    };
    let start = start.min(rows.len() - shown);
    let end = start + shown;
    let running = |rows: &[Row]| match rows.iter().filter(|row| row.is_active).count() {
        0 => String::new(),
        count => format!(", {count} of them running"),
    };
    let rest = |mark: &str, rows: &[Row]| match rows.len() {
        0 => String::new(),
        count => format!("{mark} {count} more{}", running(rows)),
    };
    out.push_str(&cut(&rest("↑", &rows[..start]), room.cells));
    out.push('\n');
    rows[start..end].iter().for_each(|row| push(&mut out, row, room.cells, color));
    out.push_str(&cut(&rest("↓", &rows[end..]), room.cells));
    out.push('\n');
    out
}

fn push(out: &mut String, row: &Row, cells: usize, color: bool) {
    let text = cut(&row.text, cells);
    match row.text.find(row.mark).filter(|_| color) {
        Some(at) if at + row.mark.len() <= text.len() => {
            let (before, after) = (&text[..at], &text[at + row.mark.len()..]);
            out.push_str(&format!("{before}\x1b[{}m{}\x1b[0m{after}", row.paint, row.mark));
        }
        _ => out.push_str(&text),
    }
    out.push('\n');
}

/// A text's beginning: a line that is too long would wrap, and the next picture would be drawn over the wrong lines.
fn cut(text: &str, cells: usize) -> String {
    let mut left = cells;
    let fits = |c: &char| {
        let wide = width(*c);
        let fits = wide <= left;
        left = left.saturating_sub(wide);
        fits
    };
    text.chars().take_while(fits).collect()
}

/// The cells of a character: the scripts of East Asia and pictographs take two.
fn width(c: char) -> usize {
    const WIDE: [std::ops::RangeInclusive<u32>; 8] = [
        0x1100..=0x115f,
        0x2e80..=0xa4cf,
        0xac00..=0xd7a3,
        0xf900..=0xfaff,
        0xfe30..=0xfe6f,
        0xff00..=0xff60,
        0x1f300..=0x1faff,
        0x20000..=0x3fffd,
    ];
    if WIDE.iter().any(|range| range.contains(&u32::from(c))) { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, active: &[usize]) -> Vec<Row> {
        let row = |at: usize| {
            let is_active = active.contains(&at);
            let mark = if is_active { "●" } else { "○" };
            let is_visited = active.first().is_some_and(|first| at <= *first);
            Row { text: format!("{mark} S{at}"), mark, paint: "33", is_active, is_visited }
        };
        (0..count).map(row).collect()
    }

    fn check(count: usize, active: &[usize], lines: usize, expected: &[&str]) {
        let room = Room { lines, cells: 40 };
        let drawn = frame("x RUNNING", &rows(count, active), room, false);
        assert_eq!(drawn.lines().skip(1).collect::<Vec<_>>(), expected, "{count} {active:?} {lines}");
        assert!(drawn.lines().count() <= lines.max(LINES_MIN));
    }

    #[test]
    fn what_is_active_is_in_sight() {
        check(3, &[1], 10, &["○ S0", "● S1", "○ S2"]);
        check(9, &[4], 6, &["↑ 3 more", "○ S3", "● S4", "○ S5", "↓ 3 more"]);
        check(9, &[0], 6, &["", "● S0", "○ S1", "○ S2", "↓ 6 more"]);
        check(9, &[8], 6, &["↑ 6 more", "○ S6", "○ S7", "● S8", ""]);
        check(9, &[2, 3], 6, &["↑ 2 more", "● S2", "● S3", "○ S4", "↓ 4 more"]);
        // More than fits: from the first on, and the rest is counted.
        check(9, &[1, 2, 3, 5, 7], 6, &["↑ 1 more", "● S1", "● S2", "● S3", "↓ 5 more, 2 of them running"]);
        // A terminal of one line has its frame cut to the least.
        check(9, &[4], 1, &["↑ 4 more", "● S4", "↓ 4 more"]);
        check(9, &[], 6, &["", "○ S0", "○ S1", "○ S2", "↓ 6 more"]);
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        assert_eq!(cut("abcdef", 3), "abc");
        assert_eq!(cut("a状態", 4), "a状");
        let room = Room { lines: 9, cells: 3 };
        assert_eq!(frame("header", &rows(1, &[0]), room, true), "hea\n\x1b[33m●\x1b[0m S\n");
        assert_eq!(frame("header", &rows(1, &[0]), Room { lines: 9, cells: 0 }, true), "\n\n");
    }
}
