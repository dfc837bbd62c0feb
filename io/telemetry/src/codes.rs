//! Counts by response code, as Envoy names them: `_completed`, `_2xx`, `_200`; each made at its first use.

use std::sync::OnceLock;

use crate::Counter;

/// `upstream_rq_completed`, `upstream_rq_<class>xx` and `upstream_rq_<code>` below some prefix.
#[derive(Debug, Default)]
pub struct ResponseCodes(OnceLock<Box<Codes>>);

#[derive(Debug, Default)]
struct Codes {
    completed: Counter,
    classes: [Class; 5],
}

#[derive(Debug, Default)]
struct Class {
    all: Counter,
    each: OnceLock<Box<[Counter; 100]>>,
}

impl ResponseCodes {
    /// Counts a final response; codes outside 100–599 count as completed only.
    pub fn record(&self, status: u16) {
        let codes = self.0.get_or_init(Box::default);
        codes.completed.inc();
        let Some(class) = codes.classes.get(usize::from(status / 100).wrapping_sub(1)) else { return };
        class.all.inc();
        class.each.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())))
            [usize::from(status % 100)]
        .inc();
    }

    /// Adds to one of the counters, and to no other: what a predecessor counted.
    pub(crate) fn add(&self, code: Code, amount: u64) {
        let codes = self.0.get_or_init(Box::default);
        let class = |class: u8| codes.classes.get(usize::from(class).wrapping_sub(1));
        match code {
            Code::Completed => codes.completed.add(amount),
            Code::Class(of) => {
                if let Some(class) = class(of) {
                    class.all.add(amount);
                }
            }
            Code::Status(status) => {
                if let Some(class) = class((status / 100) as u8) {
                    class.each.get_or_init(|| Box::new(std::array::from_fn(|_| Counter::default())))
                        [usize::from(status % 100)]
                    .add(amount);
                }
            }
        }
    }

    /// Calls `visit` for everything that has been counted, in no particular order.
    pub(crate) fn visit<'a>(&'a self, visit: &mut dyn FnMut(Code, &'a Counter)) {
        let Some(codes) = self.0.get() else { return };
        visit(Code::Completed, &codes.completed);
        for (class, counts) in (1..=5).zip(&codes.classes) {
            if counts.all.value() > 0 {
                visit(Code::Class(class), &counts.all);
            }
            for (code, count) in counts.each.get().into_iter().flat_map(|each| (0..100).zip(each.iter())) {
                if count.value() > 0 {
                    visit(Code::Status(u16::from(class) * 100 + code), count);
                }
            }
        }
    }
}

/// What a counter of [`ResponseCodes`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Code {
    Completed,
    /// 2 is 2xx.
    Class(u8),
    Status(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_moves_its_code_its_class_and_the_total() {
        let codes = ResponseCodes::default();
        [200, 200, 503, 999].into_iter().for_each(|status| codes.record(status));
        let mut seen = Vec::new();
        codes.visit(&mut |code, count| seen.push((code, count.value())));
        seen.sort();
        assert_eq!(
            seen,
            [
                (Code::Completed, 4),
                (Code::Class(2), 2),
                (Code::Class(5), 1),
                (Code::Status(200), 2),
                (Code::Status(503), 1)
            ]
        );
    }

    #[test]
    fn nothing_counted_is_nothing_shown() {
        ResponseCodes::default().visit(&mut |code, _| panic!("{code:?}"));
    }
}
