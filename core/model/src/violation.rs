//! What is wrong with a document, and where.

use std::fmt;

use crate::shape::Member;

/// One thing that is wrong, at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The field path, such as `spec.listeners[0].portMapping.port`.
    pub path: String,
    pub fault: Fault,
}

/// The ways in which a document can be wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// A required member is absent.
    Missing,
    /// A member that the shape does not know.
    Unknown {
        known: &'static [Member],
    },
    WrongType {
        expected: &'static str,
        value: String,
    },
    TooShort {
        value: String,
        min: i64,
    },
    TooLong {
        value: String,
        max: i64,
    },
    TooSmall {
        value: i64,
        min: i64,
    },
    TooLarge {
        value: i64,
        max: i64,
    },
    NotInEnum {
        value: String,
        values: &'static [&'static str],
    },
    Pattern {
        value: String,
        pattern: &'static str,
    },
    NotExactlyOne {
        present: usize,
        members: &'static [Member],
    },
    /// A rule between members, in our words.
    Rule(String),
    /// A rule between members, in App Mesh's own words; alone, they are the whole message, because tools look for them.
    Verbatim(String),
}

/// Where in a document a check stands.
#[derive(Clone, Debug, Default)]
pub struct Path {
    text: String,
    /// Length of `text` before each step, so that a step can be taken back.
    steps: Vec<usize>,
}

/// Everything that was found wrong with one document, up to [`Violations::KEPT_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    kept: Vec<Violation>,
    dropped: usize,
}

// === impl Path ===

impl Path {
    /// A path that starts at a named member.
    pub fn at(root: &str) -> Self {
        Self { text: root.to_owned(), steps: Vec::new() }
    }

    pub fn push_member(&mut self, name: &str) {
        self.steps.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        // A stranger chose this name, so only so much of it goes into a message.
        self.text.extend(name.chars().take(Self::NAME_CHARS_MAX));
    }

    pub fn push_index(&mut self, index: usize) {
        self.steps.push(self.text.len());
        self.text.push_str(&format!("[{index}]"));
    }

    /// Takes the last step back.
    pub fn pop(&mut self) {
        if let Some(length) = self.steps.pop() {
            self.text.truncate(length);
        }
    }

    /// Characters of one member's name that a path repeats.
    pub const NAME_CHARS_MAX: usize = 128;
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

// === impl Violations ===

impl Violations {
    /// Violations that one answer names; the rest are only counted.
    pub const KEPT_MAX: usize = 20;

    pub fn add(&mut self, path: &Path, fault: Fault) {
        self.push(Violation { path: path.to_string(), fault });
    }

    /// Adds a violation of a rule between members, at a literal path.
    pub fn rule(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Violation { path: path.into(), fault: Fault::Rule(message.into()) });
    }

    /// Adds a violation of a rule for which App Mesh's own message is known.
    pub fn verbatim(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Violation { path: path.into(), fault: Fault::Verbatim(message.into()) });
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.kept.iter()
    }

    /// Adds all that another check found.
    pub fn extend(&mut self, other: Self) {
        other.kept.into_iter().for_each(|violation| self.push(violation));
        self.dropped += other.dropped;
    }

    fn push(&mut self, violation: Violation) {
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(violation);
        } else {
            self.dropped += 1;
        }
    }
}

impl fmt::Display for Violations {
    /// App Mesh's own message stands alone; anything else is counted and listed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let ([only], 0) = (self.kept.as_slice(), self.dropped)
            && let Fault::Verbatim(message) = &only.fault
        {
            return f.write_str(message);
        }
        let count = self.kept.len() + self.dropped;
        write!(f, "{count} validation error{} detected: ", if count == 1 { "" } else { "s" })?;
        for (index, violation) in self.kept.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{violation}")?;
        }
        match self.dropped {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        let constraint = "failed to satisfy constraint: Member must";
        match &self.fault {
            Fault::Missing => write!(f, "Value null at '{path}' {constraint} not be null"),
            Fault::Unknown { known } => {
                write!(f, "Unknown member at '{path}', must be one of: {}", names(known))
            }
            Fault::WrongType { expected, value } => {
                write!(f, "Value '{value}' at '{path}' {constraint} be {expected}")
            }
            Fault::TooShort { value, min } => write!(
                f,
                "Value '{value}' at '{path}' {constraint} have length greater than or equal to {min}"
            ),
            Fault::TooLong { value, max } => {
                write!(f, "Value '{value}' at '{path}' {constraint} have length less than or equal to {max}")
            }
            Fault::TooSmall { value, min } => {
                write!(
                    f,
                    "Value '{value}' at '{path}' {constraint} have value greater than or equal to {min}"
                )
            }
            Fault::TooLarge { value, max } => {
                write!(f, "Value '{value}' at '{path}' {constraint} have value less than or equal to {max}")
            }
            Fault::NotInEnum { value, values } => {
                write!(
                    f,
                    "Value '{value}' at '{path}' {constraint} satisfy enum value set: [{}]",
                    values.join(", ")
                )
            }
            Fault::Pattern { value, pattern } => {
                write!(
                    f,
                    "Value '{value}' at '{path}' {constraint} satisfy regular expression pattern: {pattern}"
                )
            }
            Fault::NotExactlyOne { present, members } => write!(
                f,
                "Value at '{path}' {constraint} have exactly one of: {} ({present} are present)",
                names(members)
            ),
            Fault::Rule(message) | Fault::Verbatim(message) => {
                write!(f, "Value at '{path}' is refused: {message}")
            }
        }
    }
}

// === impl Fault ===

impl PartialEq for Fault {
    /// Two faults are equal when they say the same.
    fn eq(&self, other: &Self) -> bool {
        let text = |fault: &Self| Violation { path: String::new(), fault: fault.clone() }.to_string();
        std::mem::discriminant(self) == std::mem::discriminant(other) && text(self) == text(other)
    }
}

impl Eq for Fault {}

fn names(members: &[Member]) -> String {
    members.iter().map(|member| member.name).collect::<Vec<_>>().join(", ")
}
