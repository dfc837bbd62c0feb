//! `url.redirect`, `url.rewrite-*`: expressions and what they make of a URL.

use std::sync::Arc;

use super::reading::{Reading, named_texts, short};
use crate::condition::ConditionId;
use crate::pattern::{Groups, Pattern, PatternExhausted};
use crate::template::Template;
use crate::value::Value;

/// Rules that are tried in order; the first whose expression matches counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// The rules.
    pub rules: Arc<[Rule]>,
    /// The block they stand in, whose condition `%1` asks about.
    pub condition: Option<ConditionId>,
    /// From this one on, rewriting starts over with what came out; those before end it.
    pub repeat_from: usize,
}

/// One rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// What the URL is held to: the path, with `?` and the query when it has one.
    pub pattern: Pattern,
    /// What becomes of it; when it is blank, the rule matches and changes nothing.
    pub template: Template,
}

impl Rules {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule that matches, with its number and its groups.
    ///
    /// # Errors
    /// [`PatternExhausted`].
    pub fn find(&self, url: &str) -> Result<Option<(usize, &Rule, Groups)>, PatternExhausted> {
        for (number, rule) in self.rules.iter().enumerate() {
            if let Some(groups) = rule.pattern.groups(url)? {
                return Ok(Some((number, rule, groups)));
            }
        }
        Ok(None)
    }

    /// Whether rewriting starts over after rule `number`.
    pub fn repeats(&self, number: usize) -> bool {
        number >= self.repeat_from
    }

    /// Whether a rule asks for groups of the enclosing condition.
    pub fn asks_condition(&self) -> bool {
        self.rules.iter().any(|rule| rule.template.asks_condition())
    }
}

/// Reads rules, to which others of the same block may be appended.
pub(crate) fn read(value: &Value, reading: &mut Reading<'_>) -> Result<Vec<Rule>, String> {
    named_texts(value, reading)?
        .iter()
        .map(|(expression, template)| {
            let pattern = Pattern::new(expression)
                .map_err(|error| format!("pcre-compile failed for {expression}: {error}"))?;
            Ok(Rule { pattern, template: Template::parse(template) })
        })
        .collect()
}

pub(super) fn redirect(value: &Value, reading: &mut Reading<'_>) -> Result<Rules, String> {
    let rules: Arc<[Rule]> = read(value, reading)?.into();
    Ok(Rules { repeat_from: rules.len(), rules, condition: reading.condition })
}

/// A status of three digits; anything else is 301.
pub(super) fn redirect_code(value: &Value, reading: &mut Reading<'_>) -> Result<u16, String> {
    Ok(match short(value, reading)? {
        code @ 100..=999 => code,
        _ => 301,
    })
}
