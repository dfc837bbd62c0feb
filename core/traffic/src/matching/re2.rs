//! What RE2 and the regex crate both accept, and mean alike.
//!
//! Configurations are executed by two kinds of proxy. An expression that one of them refuses, or reads otherwise, is
//! refused for both, where its author can still see it. The rules were found by asking Envoy 1.40.

use regex_syntax::Parser;
use regex_syntax::ast::{self, Ast, visit};
use regex_syntax::hir::{Class, Hir, HirKind};

/// Instructions of RE2's program for one expression, at most: what AWS's proxy image set
/// (`re2.max_program_size.error_level`; Envoy's own default is 100).
pub const PROGRAM_SIZE_MAX: usize = 1000;
/// The largest count of a repetition.
const REPETITION_MAX: u32 = 1000;
/// Instructions that every program has.
const PROGRAM_BASE: usize = 4;

/// Checks an expression by itself, without anchors around it.
///
/// # Errors
/// Why it cannot be used, in one line.
pub fn check(source: &str) -> Result<(), String> {
    let parsed = ast::parse::Parser::new().parse(source).map_err(|error| error.kind().to_string())?;
    visit(&parsed, Dialect)?;
    let hir = Parser::new().parse(source).map_err(|error| match error {
        regex_syntax::Error::Parse(error) => error.kind().to_string(),
        regex_syntax::Error::Translate(error) => error.kind().to_string(),
        _ => "it is not a regular expression".to_owned(),
    })?;
    match PROGRAM_SIZE_MAX.checked_sub(PROGRAM_BASE.saturating_add(size(&hir))) {
        Some(_) => Ok(()),
        None => Err(format!("its program has more than {PROGRAM_SIZE_MAX} instructions")),
    }
}

/// About as many instructions as RE2 needs: a byte or a range of bytes is one, each choice one more, a group two.
fn size(hir: &Hir) -> usize {
    match hir.kind() {
        HirKind::Empty => 0,
        HirKind::Look(_) => 1,
        HirKind::Literal(literal) => literal.0.len(),
        HirKind::Class(Class::Bytes(class)) => class.ranges().len().max(1),
        // Envoy's programs work on bytes: what lies beyond takes no instruction of its own.
        HirKind::Class(Class::Unicode(class)) => {
            class.ranges().iter().filter(|range| u32::from(range.start()) <= 0xff).count().max(1)
        }
        HirKind::Capture(capture) => size(&capture.sub).saturating_add(2),
        HirKind::Concat(parts) => parts.iter().map(size).fold(0, usize::saturating_add),
        HirKind::Alternation(parts) => {
            parts.iter().map(size).fold(parts.len().saturating_sub(1), usize::saturating_add)
        }
        HirKind::Repetition(repetition) => {
            let one = size(&repetition.sub);
            let optional = repetition.max.map_or(1, |max| max.saturating_sub(repetition.min)) as usize;
            let required = (repetition.min as usize).saturating_mul(one);
            required.saturating_add(optional.saturating_mul(one.saturating_add(1)))
        }
    }
}

/// Refuses what only one of the two reads, or both read differently.
struct Dialect;

impl ast::Visitor for Dialect {
    type Output = ();
    type Err = String;

    fn finish(self) -> Result<(), String> {
        Ok(())
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), String> {
        match ast {
            Ast::Flags(set) => flags(&set.flags),
            Ast::Group(group) => group.flags().map_or(Ok(()), flags),
            Ast::Literal(one) => literal(one),
            Ast::Repetition(repetition) => self::repetition(repetition),
            Ast::Assertion(assertion) => self::assertion(assertion),
            _ => Ok(()),
        }
    }

    fn visit_class_set_item_pre(&mut self, item: &ast::ClassSetItem) -> Result<(), String> {
        match item {
            ast::ClassSetItem::Bracketed(_) => Err("a class within a class is not part of RE2".to_owned()),
            ast::ClassSetItem::Literal(one) => literal(one),
            _ => Ok(()),
        }
    }

    fn visit_class_set_binary_op_pre(&mut self, _: &ast::ClassSetBinaryOp) -> Result<(), String> {
        Err("operators between classes are not part of RE2".to_owned())
    }
}

fn flags(flags: &ast::Flags) -> Result<(), String> {
    let foreign = [ast::Flag::IgnoreWhitespace, ast::Flag::CRLF, ast::Flag::Unicode];
    let any = |item: &ast::FlagsItem| matches!(&item.kind, ast::FlagsItemKind::Flag(flag) if foreign.contains(flag));
    if flags.items.iter().any(any) {
        Err("RE2 knows the flags i, m, s and U only".to_owned())
    } else {
        Ok(())
    }
}

fn literal(literal: &ast::Literal) -> Result<(), String> {
    use ast::{HexLiteralKind, LiteralKind};
    match &literal.kind {
        LiteralKind::HexFixed(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong)
        | LiteralKind::HexBrace(HexLiteralKind::UnicodeShort | HexLiteralKind::UnicodeLong) => {
            Err("RE2 writes characters as \\x{…}".to_owned())
        }
        _ => Ok(()),
    }
}

fn repetition(repetition: &ast::Repetition) -> Result<(), String> {
    use ast::{RepetitionKind, RepetitionRange};
    if matches!(*repetition.ast, Ast::Repetition(_)) {
        return Err("a repetition of a repetition needs a group".to_owned());
    }
    let largest = match &repetition.op.kind {
        RepetitionKind::Range(
            RepetitionRange::Exactly(count)
            | RepetitionRange::AtLeast(count)
            | RepetitionRange::Bounded(_, count),
        ) => *count,
        _ => 0,
    };
    if largest > REPETITION_MAX { Err(format!("a repetition beyond {REPETITION_MAX}")) } else { Ok(()) }
}

fn assertion(assertion: &ast::Assertion) -> Result<(), String> {
    use ast::AssertionKind;
    match assertion.kind {
        AssertionKind::StartLine
        | AssertionKind::EndLine
        | AssertionKind::StartText
        | AssertionKind::EndText
        | AssertionKind::WordBoundary
        | AssertionKind::NotWordBoundary => Ok(()),
        _ => Err("half word boundaries are not part of RE2".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each row was given to Envoy 1.40; those that it reads otherwise than the regex crate are refused as well.
    #[test]
    fn what_both_accept_and_mean_alike_is_accepted() {
        for (source, accepted) in [
            (r"/v[0-9]+/.*", true),
            (r"\d+", true),
            (r"(?i)a", true),
            (r"\pL+", true),
            (r"(?P<n>a)", true),
            (r"\x{41}", true),
            (r"(?s).", true),
            (r"(?U)a+", true),
            (r"[]a]", true),
            (r"\b", true),
            (r"a{1000}", false),
            (r"a{900}", true),
            (r"a{1001}", false),
            (r"(?x)a b", false),
            (r"\u0041", false),
            (r"[a--b]", false),
            (r"[[:alpha:]&&[^a]]", false),
            (r"a++", false),
            (r"(a+)+", true),
            (r"\<a", false),
            (r"[a", false),
            (r"a)|(?:b", false),
            (r"(?=a)", false),
            (r"(a)\1", false),
            (r"([a-z0-9]{1,60}\.){3}[a-z]{2,60}", true),
            (r"(.{200}){5}", false),
        ] {
            assert_eq!(check(source).is_ok(), accepted, "{source}: {:?}", check(source));
        }
    }

    /// The sizes that Envoy 1.40 names when it refuses.
    #[test]
    fn programs_are_about_as_large_as_re2s() {
        for (source, instructions) in [
            ("ab", 6_usize),
            (r"user\.example(:[0-9]+)?", 22),
            (".", 6),
            (r"\pL", 11),
            ("[^a]", 6),
            ("(ab|cd|ef)", 12),
            ("a{2,5}", 12),
            ("[a-z0-9]{1,63}", 192),
            (r"([a-z0-9]{1,60}\.){3}[a-z]{2,60}", 668),
            ("é", 6),
        ] {
            let hir = Parser::new().parse(source).expect("valid");
            let ours = PROGRAM_BASE + size(&hir);
            assert!(
                ours.abs_diff(instructions) <= 2 + instructions / 50,
                "{source}: {ours}, not {instructions}"
            );
        }
    }
}
