//! A Dockerfile, as far as ours goes: its stages and their instructions.

/// From one `FROM` to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) base: String,
    /// As the `AS` of its first line says; the last stage needs none.
    pub(super) name: Option<String>,
    pub(super) instructions: Vec<(String, String)>,
}

/// The stages of a Dockerfile; what comes before the first is none of them.
pub(super) fn parse(text: &str) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for line in logical_lines(text) {
        let (word, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let (word, rest) = (word.to_ascii_uppercase(), rest.trim());
        if word == "FROM" {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let name = words.iter().position(|word| word.eq_ignore_ascii_case("as"));
            let name = name.and_then(|at| words.get(at + 1)).map(ToString::to_string);
            let base = words.first().map(ToString::to_string).unwrap_or_default();
            stages.push(Stage { base, name, instructions: Vec::new() });
        } else if let Some(stage) = stages.last_mut() {
            stage.instructions.push((word, rest.to_owned()));
        }
    }
    stages
}

/// Lines that a backslash ended are one; comments and empty lines are none.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_suffix('\\') {
            Some(part) => pending.push_str(part),
            None => lines.push(std::mem::take(&mut pending) + line),
        }
    }
    lines
}

impl Stage {
    /// What follows that word, wherever it stands.
    pub(super) fn all<'a>(&'a self, word: &'a str) -> impl Iterator<Item = &'a str> {
        self.instructions.iter().filter(move |(found, _)| found == word).map(|(_, rest)| rest.as_str())
    }

    /// What follows the last of that word.
    pub(super) fn last(&self, word: &str) -> Option<&str> {
        self.instructions.iter().rfind(|(found, _)| found == word).map(|(_, rest)| rest.as_str())
    }

    /// The commands that it runs, those that `&&` joins one by one.
    pub(super) fn commands(&self) -> impl Iterator<Item = &str> {
        self.all("RUN").flat_map(|line| line.split("&&")).map(str::trim)
    }

    /// The Debian packages that it installs.
    #[cfg(test)]
    pub(super) fn packages(&self) -> Vec<&str> {
        let installs = self.commands().filter_map(|command| command.strip_prefix("apt-get install"));
        installs.flat_map(str::split_whitespace).filter(|word| !word.starts_with('-')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_have_a_base_a_name_and_instructions() {
        let text = "# what it is\nARG outside=1\nFROM a/b:1 AS build\nRUN apt-get update \\\n    && apt-get install -y one two\n\
                    COPY . .\n\nfrom scratch\nUSER 1\nUSER 2\n";
        let stages = parse(text);
        assert_eq!(stages.len(), 2);
        assert_eq!((&*stages[0].base, stages[0].name.as_deref()), ("a/b:1", Some("build")));
        assert_eq!(
            stages[0].commands().collect::<Vec<_>>(),
            ["apt-get update", "apt-get install -y one two"]
        );
        assert_eq!(stages[0].packages(), ["one", "two"]);
        assert_eq!((&*stages[1].base, &stages[1].name), ("scratch", &None));
        assert_eq!(stages[1].last("USER"), Some("2"));
        assert_eq!(stages[1].last("COPY"), None);
    }
}
