//! Reads `lighttpd.conf`. Values are worked out while reading, as variables are looked up in what was read so far.

mod expression;

use std::sync::Arc;

use super::block::{Block, Document};
use super::command;
use super::condition::ConditionText;
use super::files::Files;
use super::token::{Kind, Token, Tokenizer};
use crate::Compat;
use crate::diagnostic::Diagnostic;
use crate::place::{Place, Sources};
use crate::value::Value;
use expression::{add, begins_value};

/// The largest file.
pub const FILE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The files of one configuration.
pub const FILES_MAX: usize = 1024;
/// How deep files include files.
pub const INCLUDE_DEPTH_MAX: usize = 16;
/// How deep blocks stand in blocks, and lists in lists.
pub const NESTING_MAX: usize = 24;
/// The bytes of one value, so that a short file cannot grow without end by adding a variable to itself.
const VALUE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a configuration is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Whose grammar counts.
    pub compat: Compat,
    /// Whether commands of `include_shell` are run. Debian's helper scripts and `cat` are done without.
    pub allow_shell: bool,
}

/// Reads the configuration in the file at `path`, and the files that it includes.
///
/// # Errors
/// What is wrong, with its place, and the files that were read. Like lighttpd, it stops at the first.
pub fn parse(
    path: &str,
    files: &mut dyn Files,
    options: Options,
) -> Result<Document, (Vec<Diagnostic>, Sources)> {
    let folder = path.rfind('/').map_or("", |slash| &path[..=slash]).to_owned();
    let mut global = Block::new("global".into(), None, None, Place::default());
    if let Some(folder) = files.working_directory() {
        global.values.insert("var.CWD".into(), (Value::Text(folder.into()), Place::default()));
    }
    global.values.insert("var.PID".into(), (Value::Integer(files.process_id().into()), Place::default()));
    let mut parser = Parser {
        files,
        options,
        folder,
        sources: Sources::default(),
        blocks: vec![global],
        stack: Vec::new(),
        current: 0,
        depth: 0,
        warnings: Vec::new(),
    };
    match parser.file(path, None) {
        Ok(()) => Ok(Document { blocks: parser.blocks, sources: parser.sources, warnings: parser.warnings }),
        Err(found) => Err((vec![found], parser.sources)),
    }
}

struct Parser<'f> {
    files: &'f mut dyn Files,
    options: Options,
    /// Where the first file is: what includes begin with.
    folder: String,
    sources: Sources,
    blocks: Vec<Block>,
    stack: Vec<usize>,
    current: usize,
    depth: usize,
    warnings: Vec<Diagnostic>,
}

type Parsed<T> = Result<T, Diagnostic>;

impl Parser<'_> {
    fn file(&mut self, path: &str, asked: Option<Place>) -> Parsed<()> {
        let bytes = self.files.read(path).map_err(|error| {
            Diagnostic::error(asked, format!("opening configfile {path} failed: {error}"))
        })?;
        self.text(path, bytes, asked)
    }

    /// Reads a text on its own: a block that it opens, it closes.
    fn text(&mut self, name: &str, bytes: Vec<u8>, asked: Option<Place>) -> Parsed<()> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(Diagnostic::error(asked, format!("{name} is larger than {FILE_BYTES_MAX} bytes")));
        }
        if self.sources.files().len() >= FILES_MAX {
            return Err(Diagnostic::error(
                asked,
                format!("the configuration has more than {FILES_MAX} files"),
            ));
        }
        if self.depth >= INCLUDE_DEPTH_MAX {
            return Err(Diagnostic::error(
                asked,
                format!("files include files more than {INCLUDE_DEPTH_MAX} deep"),
            ));
        }
        let text: Arc<str> = match String::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into(),
        };
        let file = self.sources.add(name, Arc::clone(&text));
        self.depth += 1;
        let with_elif = self.options.compat >= Compat::V1_4_85;
        let mut tokens = Tokenizer::new(&text, file, with_elif);
        self.lines(&mut tokens, false)?;
        self.depth -= 1;
        Ok(())
    }

    /// Lines, up to the end of the file or of the block.
    fn lines(&mut self, tokens: &mut Tokenizer<'_>, in_block: bool) -> Parsed<()> {
        loop {
            let token = tokens.next()?;
            match token.kind {
                Kind::EndOfLine => {}
                Kind::End if !in_block => return Ok(()),
                Kind::RightBrace if in_block => return Ok(()),
                Kind::Name(name) => self.assignment(tokens, &name, token.place)?,
                Kind::Global => self.global(tokens, token.place)?,
                Kind::Dollar => self.chain(tokens, token.place)?,
                Kind::Include => self.include(tokens, token.place)?,
                Kind::IncludeShell => self.include_shell(tokens, token.place)?,
                Kind::End => {
                    return Err(Diagnostic::error(token.place, "a block is not closed: } is missing"));
                }
                Kind::RightBrace => self.ignore(&token),
                other => return Err(unexpected(&Token { kind: other, place: token.place }, "a directive")),
            }
        }
    }

    fn assignment(&mut self, tokens: &mut Tokenizer<'_>, name: &str, place: Place) -> Parsed<()> {
        let is_operator = |kind: &Kind| matches!(kind, Kind::Assign | Kind::Append | Kind::ForceAssign);
        let operator = self.past_line_end(tokens, is_operator)?;
        if !is_operator(&operator.kind) {
            return Err(unexpected(&operator, "=, += or :="));
        }
        let first = self.past_line_end(tokens, begins_value)?;
        tokens.give_back(first);
        let value = self.expression(tokens, 0)?;
        let key: Arc<str> = qualified(name).into();
        if key.starts_with("env.") {
            return Err(Diagnostic::error(place, format!("Setting env variable is not supported: {key}")));
        }
        let values = &mut self.blocks[self.current].values;
        match operator.kind {
            Kind::Assign => {
                if let Some((_, before)) = values.get(&key) {
                    let before = self.sources.shown(*before);
                    return Err(Diagnostic::error(place, format!("Duplicate config variable: {key}"))
                        .with_hint(format!("it is set at {before}; += adds to it and := sets it anew")));
                }
                values.insert(key, (value, place));
            }
            Kind::ForceAssign => {
                values.insert(key, (value, place));
            }
            _ => {
                // As lighttpd's: the last takes the place of the one that is taken out.
                let own = values.swap_remove(&key).map(|(value, _)| value);
                let before = own.or_else(|| self.variable(&key).cloned());
                let sum = match before {
                    Some(before) => add(before, &value, place)?,
                    None => value,
                };
                self.blocks[self.current].values.insert(key, (sum, place));
            }
        }
        Ok(())
    }

    fn global(&mut self, tokens: &mut Tokenizer<'_>, place: Place) -> Parsed<()> {
        self.open_brace(tokens, "{")?;
        self.enter(0, place)?;
        self.lines(tokens, true)?;
        self.leave();
        Ok(())
    }

    /// A condition and its `else` blocks. The `$` is read.
    fn chain(&mut self, tokens: &mut Tokenizer<'_>, place: Place) -> Parsed<()> {
        let mut before = self.conditional(tokens, place)?;
        loop {
            let mut end = tokens.next()?;
            let had_end = end.kind == Kind::EndOfLine;
            if had_end {
                end = tokens.next()?;
            }
            if end.kind != Kind::Else {
                tokens.give_back(end);
                return Ok(());
            }
            let place = end.place;
            let after = tokens.next()?;
            let otherwise = after.kind != Kind::Dollar;
            let block = if otherwise {
                tokens.give_back(after);
                self.plain_else(tokens, before, place)?
            } else {
                self.conditional(tokens, after.place)?
            };
            if before >= block {
                return Err(Diagnostic::error(place, "unreachable else condition"));
            }
            if self.blocks[before].condition.as_ref().is_some_and(|condition| condition.otherwise) {
                return Err(Diagnostic::error(place, "unreachable condition following else catch-all"));
            }
            self.blocks[block].previous = Some(before);
            self.blocks[before].next = Some(block);
            before = block;
        }
    }

    /// `HTTP["host"] == "a" { … }`; answers the block.
    fn conditional(&mut self, tokens: &mut Tokenizer<'_>, place: Place) -> Parsed<usize> {
        let object = tokens.next()?;
        let Kind::Object(name) = &object.kind else {
            return Err(unexpected(&object, "HTTP, SERVER or REQUEST_HEADER"));
        };
        expect(tokens, &Kind::LeftBracket, "[")?;
        let field = self.key_text(tokens)?;
        expect(tokens, &Kind::RightBracket, "]")?;
        let operator = tokens.next()?;
        let Kind::Compare(compare) = operator.kind else {
            return Err(unexpected(&operator, "one of == != =~ !~ =^ =$"));
        };
        let value = self.expression(tokens, 0)?;
        let Value::Text(value) = value else {
            return Err(Diagnostic::error(
                operator.place,
                "what follows the operator of a condition must be a string",
            ));
        };
        let condition = ConditionText::new(name, &field, compare, &value).map_err(|message| {
            let known = "HTTP[\"host\"], HTTP[\"url\"], HTTP[\"querystring\"], HTTP[\"scheme\"], \
                         HTTP[\"request-method\"], HTTP[\"remoteip\"], SERVER[\"socket\"], REQUEST_HEADER[\"…\"]";
            let found = Diagnostic::error(place, message);
            if found.message.starts_with("error comp_key") {
                found.with_hint(format!("conditions can be on {known}"))
            } else {
                found
            }
        })?;
        let path = format!("{} / {}", self.blocks[self.current].path, condition.text);
        let block = match self.blocks.iter().position(|block| block.path == path) {
            Some(block) => block,
            None => self.add_block(path, condition, place)?,
        };
        self.open_brace(tokens, "{")?;
        self.enter(block, place)?;
        self.lines(tokens, true)?;
        self.leave();
        Ok(block)
    }

    fn plain_else(&mut self, tokens: &mut Tokenizer<'_>, before: usize, place: Place) -> Parsed<usize> {
        self.open_brace(tokens, "{ or a condition")?;
        let Some(condition) = self.blocks[before].condition.as_ref().map(ConditionText::otherwise) else {
            return Err(Diagnostic::error(place, "else without a condition before"));
        };
        let parent = &self.blocks[self.current].path;
        let path = format!("{parent} / {}", condition.text);
        let temporary = format!("{parent} / else_tmp_token");
        let block = self.add_block(temporary, condition, place)?;
        self.enter(block, place)?;
        self.lines(tokens, true)?;
        self.leave();
        if self.blocks.iter().any(|other| other.path == path) {
            return Err(Diagnostic::error(place, "unreachable else condition"));
        }
        self.blocks[block].path = path;
        Ok(block)
    }

    fn add_block(&mut self, path: String, condition: ConditionText, place: Place) -> Parsed<usize> {
        let number = self.blocks.len();
        if number > crate::program::CONDITIONS_MAX {
            let most = crate::program::CONDITIONS_MAX;
            return Err(Diagnostic::error(
                place,
                format!("the configuration has more than {most} conditions"),
            ));
        }
        self.blocks.push(Block::new(path, Some(condition), Some(self.current), place));
        self.blocks[self.current].children.push(number);
        Ok(number)
    }

    fn enter(&mut self, block: usize, place: Place) -> Parsed<()> {
        if !self.stack.is_empty() && self.current == 0 {
            return Err(Diagnostic::error(place, "Cannot use conditionals inside a global { ... } block"));
        }
        if self.stack.len() >= NESTING_MAX {
            return Err(Diagnostic::error(place, format!("blocks are nested more than {NESTING_MAX} deep")));
        }
        self.stack.push(self.current);
        self.current = block;
        Ok(())
    }

    fn leave(&mut self) {
        self.current = self.stack.pop().unwrap_or(0);
    }

    fn include(&mut self, tokens: &mut Tokenizer<'_>, place: Place) -> Parsed<()> {
        let name = self.key_text(tokens)?;
        let path = if self.folder.is_empty()
            || name.starts_with('/')
            || name.starts_with("./")
            || name.starts_with("../")
        {
            name
        } else {
            format!("{}{name}", self.folder)
        };
        let found = self.files.glob(&path);
        if found.is_empty() && !path.contains(['*', '?', '[', ']', '{', '}']) {
            return Err(Diagnostic::error(place, format!("include file not found: {path}")));
        }
        for path in found {
            self.file(&path, Some(place))?;
        }
        Ok(())
    }

    fn include_shell(&mut self, tokens: &mut Tokenizer<'_>, place: Place) -> Parsed<()> {
        let command = self.key_text(tokens)?;
        let native = command::run(&command, &self.folder, self.files);
        let output = match native {
            Some(output) => output,
            None if self.options.allow_shell => self.files.shell(&command, &self.folder),
            None => {
                let message = format!("include_shell would run a command: {command}");
                return Err(Diagnostic::error(place, message).with_hint(
                    "start with --allow-shell to allow it; Debian's helper scripts and cat are done without a shell",
                ));
            }
        };
        let output = output
            .map_err(|error| Diagnostic::error(place, format!("command \"{command}\" failed: {error}")))?;
        self.text(&command, output, Some(place))
    }

    /// A brace, perhaps on the next line.
    fn open_brace(&mut self, tokens: &mut Tokenizer<'_>, shown: &str) -> Parsed<()> {
        loop {
            let token = tokens.next()?;
            match token.kind {
                Kind::LeftBrace => return Ok(()),
                Kind::EndOfLine => {}
                _ => return Err(unexpected(&token, shown)),
            }
        }
    }

    /// The next word, or the one on the next line where it is what is wanted.
    fn past_line_end(&mut self, tokens: &mut Tokenizer<'_>, wanted: fn(&Kind) -> bool) -> Parsed<Token> {
        let token = tokens.next()?;
        if token.kind != Kind::EndOfLine {
            return Ok(token);
        }
        let after = tokens.next()?;
        if wanted(&after.kind) {
            self.ignore(&token);
            return Ok(after);
        }
        tokens.give_back(after);
        Ok(token)
    }

    /// lighttpd passes over what it does not expect and says nothing.
    fn ignore(&mut self, token: &Token) {
        let message = format!("{} is passed over here, as lighttpd does", token.kind.shown());
        self.warnings.push(Diagnostic::warning(token.place, message));
    }
}

/// A name without a dot is a variable's.
fn qualified(name: &str) -> String {
    if name.contains('.') { name.to_owned() } else { format!("var.{name}") }
}

fn expect(tokens: &mut Tokenizer<'_>, kind: &Kind, shown: &str) -> Parsed<Token> {
    let token = tokens.next()?;
    if token.kind == *kind { Ok(token) } else { Err(unexpected(&token, shown)) }
}

fn unexpected(token: &Token, wanted: &str) -> Diagnostic {
    Diagnostic::error(token.place, format!("unexpected {} where {wanted} should be", token.kind.shown()))
}
