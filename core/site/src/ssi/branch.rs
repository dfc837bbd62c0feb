//! Which branch of `if`, `elif`, `else` counts.

/// The branches around a place in a page.
#[derive(Clone, Debug, Default)]
pub struct Branches {
    open: Vec<Branch>,
}

#[derive(Clone, Copy, Debug)]
struct Branch {
    /// What is around it counts.
    around: bool,
    /// This one counts.
    counts: bool,
    /// One of its siblings has counted, or it does.
    decided: bool,
}

impl Branches {
    /// Whether what stands here counts.
    pub fn counts(&self) -> bool {
        self.open.last().is_none_or(|branch| branch.counts)
    }

    /// An `if`. `holds` is asked only where it matters.
    pub fn begin(&mut self, holds: impl FnOnce() -> bool) {
        let around = self.counts();
        let counts = around && holds();
        self.open.push(Branch { around, counts, decided: counts });
    }

    /// An `elif`, or an `else`, which always holds. Outside of any `if` it is nothing; then the answer is `false`.
    pub fn next(&mut self, holds: impl FnOnce() -> bool) -> bool {
        let Some(branch) = self.open.last_mut() else { return false };
        branch.counts = branch.around && !branch.decided && holds();
        branch.decided |= branch.counts;
        true
    }

    /// An `endif`. Outside of any `if` it is nothing; then the answer is `false`.
    pub fn end(&mut self) -> bool {
        self.open.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_branch_counts_at_most() {
        // `T` and `F` begin an `if`, `t` and `f` an `elif`, `/` is `else`, `.` is `endif`; `x` is what stands there.
        for (page, expected) in [
            ("xTx/x.x", "1101"),
            ("xFx/x.x", "1011"),
            ("Fxtx/x.x", "0101"),
            ("Txtx/x.x", "1001"),
            ("Fxfx/x.x", "0011"),
            ("FxTx/x.x/x.", "00001"),
            ("TxFx/x.x/x.", "10110"),
            ("Fxtxtx/x.x", "01001"),
            ("Tx/x/x.x", "1001"),
            (".x/x", "11"),
        ] {
            let mut branches = Branches::default();
            let mut seen = String::new();
            for letter in page.chars() {
                match letter {
                    'T' | 'F' => branches.begin(|| letter == 'T'),
                    't' | 'f' => assert!(branches.next(|| letter == 't')),
                    '/' => drop(branches.next(|| true)),
                    '.' => drop(branches.end()),
                    _ => seen.push(if branches.counts() { '1' } else { '0' }),
                }
            }
            assert_eq!(seen, expected, "{page}");
        }
    }

    #[test]
    fn nobody_asks_what_does_not_matter() {
        let mut branches = Branches::default();
        branches.begin(|| false);
        branches.begin(|| unreachable!("what is around does not count"));
        branches.next(|| unreachable!("what is around does not count"));
        branches.end();
        branches.next(|| true);
        branches.next(|| unreachable!("it is decided"));
    }
}
