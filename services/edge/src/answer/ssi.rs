//! Pages with server-side includes, as lighttpd's mod_ssi answers them ([`selvedge_site::ssi`] is their language).
//!
//! A page is put together before any of it is sent. Includes open what their path leads to below the page's own root and by
//! its policy on symbolic links; rules of the configuration are not asked about them: whoever writes a page answers for it.

mod command;
mod made;
mod place;
mod variables;

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt as _;
use std::time::{SystemTime, UNIX_EPOCH};

use made::Made;
use selvedge_http::conditional::{self, TagParts, Verdict};
use selvedge_http::date;
use selvedge_http::known::HeaderId;
use selvedge_site::ssi::{self, Branches, Piece, Statement};
use variables::Variables;

use super::{file, root};
use crate::request::{Body, Exchange, Flow, Response};

/// The longest page that is read.
pub(crate) const PAGE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Files that one answer includes, through all depths.
pub(crate) const INCLUDES_MAX: u32 = 1000;

/// The type of a page that nothing else is said of.
const MEDIA_TYPE: &str = "text/html";
const TOO_LONG: &[u8] = b"<!-- [an error occurred: directive too long] ";
const TOO_DEEP: &[u8] = b"(error: include directives recurse deeper than pre-defined ssi.recursion-max)";
const ENDLESS: &[u8] = b"(error: include directives create an infinite loop)";

/// Answers with the page that the path leads to, if it is one with includes.
pub(crate) async fn page(x: &mut Exchange<'_>) -> Flow {
    let conf = x.conf.clone();
    let path = &x.physical.path;
    if !conf.ssi.extension.iter().any(|suffix| path.ends_with(&**suffix))
        || !matches!(x.head.method(), "GET" | "HEAD" | "POST")
        || !x.physical.facts.as_ref().is_some_and(Metadata::is_file)
    {
        return ControlFlow::Continue(());
    }
    let opened = match root::open(&x.physical.root, path, conf.server.follow_symlink) {
        Ok(file) => file,
        Err(error) => {
            let status = if error.kind() == std::io::ErrorKind::NotFound { 404 } else { 403 };
            return ControlFlow::Break(Response::status(status));
        }
    };
    let mut assembly = Assembly {
        x,
        variables: Variables::of(x),
        made: Made::default(),
        time_format: None,
        abbreviated: false,
        depth: 0,
        includes: 0,
        newest: (0, 0),
    };
    let page = Page { path: path.clone(), uri: x.path().to_owned() };
    let assembled = match read(opened) {
        Ok((text, facts)) => assembly.put(&page, &text, &facts).await.map(|()| facts),
        Err(stop) => Err(stop),
    };
    let facts = match assembled {
        Ok(facts) => facts,
        Err(Stop(why)) => {
            tracing::error!(path = page.path, "a page cannot be put together: {why}");
            return ControlFlow::Break(Response::status(500));
        }
    };
    let (made, newest) = (assembly.made, assembly.newest);
    ControlFlow::Break(answer(x, made, &facts, newest))
}

/// Why there is no page.
struct Stop(String);

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Which page is being read: its file, and its path on the server.
struct Page {
    path: String,
    uri: String,
}

/// An answer that is being put together.
struct Assembly<'a, 'x> {
    x: &'a Exchange<'x>,
    variables: Variables,
    made: Made,
    /// In the words of strftime; `None` is as in HTTP.
    time_format: Option<String>,
    abbreviated: bool,
    /// Pages that the one that is read was included by.
    depth: u16,
    includes: u32,
    /// When the newest included file was written: seconds and nanoseconds.
    newest: (u64, u64),
}

impl Assembly<'_, '_> {
    /// Appends what a page says.
    async fn put(&mut self, page: &Page, text: &[u8], facts: &Metadata) -> Result<(), Stop> {
        let mut branches = Branches::default();
        for piece in ssi::pieces(text) {
            match piece {
                Piece::Text(text) if branches.counts() => self.made.text(text)?,
                Piece::Text(_) => {}
                Piece::TooLong => self.made.text(TOO_LONG)?,
                Piece::Invalid(problem) => tracing::warn!(path = page.path, "ssi: {problem}"),
                Piece::Statement(Statement::If(expression)) => {
                    branches.begin(|| self.holds(page, &expression));
                }
                Piece::Statement(Statement::ElseIf(expression)) => {
                    branches.next(|| self.holds(page, &expression));
                }
                Piece::Statement(Statement::Else) => {
                    branches.next(|| true);
                }
                Piece::Statement(Statement::EndIf) => {
                    branches.end();
                }
                Piece::Statement(statement) if branches.counts() => {
                    self.follow(page, statement, facts).await?;
                }
                Piece::Statement(_) => {}
            }
        }
        Ok(())
    }

    fn holds(&self, page: &Page, expression: &str) -> bool {
        let held = ssi::expression::holds(expression, |name| self.variables.find(name));
        if held.is_none() {
            tracing::warn!(path = page.path, "ssi: not an expression: {expression}");
        }
        held.unwrap_or(false)
    }

    async fn follow(&mut self, page: &Page, statement: Statement<'_>, facts: &Metadata) -> Result<(), Stop> {
        match statement {
            Statement::Echo(name) => {
                let value = self.value(page, &name, facts);
                self.made.text(value.as_deref().unwrap_or("(none)").as_bytes())
            }
            Statement::Set { variable, value } => {
                self.variables.set(&variable, &value).map_err(|problem| Stop(problem.to_owned()))
            }
            Statement::Config { time, abbreviated } => {
                if let Some(time) = time {
                    self.time_format = Some(time.into_owned()).filter(|format| !format.is_empty());
                }
                self.abbreviated = abbreviated.unwrap_or(self.abbreviated);
                Ok(())
            }
            Statement::PrintEnvironment => {
                let all = self.variables.printed();
                self.made.text(all.as_bytes())
            }
            Statement::Execute(command) => match self.x.conf.ssi.exec {
                true => {
                    let said = command::run(&command).await;
                    self.made.text(&said)
                }
                false => Ok(()),
            },
            Statement::FileSize(place) => match self.open(page, &place) {
                Some((_, _, facts)) => {
                    let size =
                        if self.abbreviated { abbreviated(facts.len()) } else { facts.len().to_string() };
                    self.made.text(size.as_bytes())
                }
                None => Ok(()),
            },
            Statement::LastModified(place) => match self.open(page, &place) {
                Some((_, _, facts)) => {
                    let time = self.time(facts.modified().unwrap_or(UNIX_EPOCH), Zone::Local);
                    self.made.text(time.as_bytes())
                }
                None => Ok(()),
            },
            Statement::Include(place) => Box::pin(self.include(page, &place)).await,
            Statement::If(_)
            | Statement::ElseIf(_)
            | Statement::Else
            | Statement::EndIf
            | Statement::Comment => Ok(()),
        }
    }

    async fn include(&mut self, page: &Page, place: &ssi::Place<'_>) -> Result<(), Stop> {
        self.includes += 1;
        if self.includes > INCLUDES_MAX {
            return Err(Stop(format!("more than {INCLUDES_MAX} includes")));
        }
        let Some((within, file, facts)) = self.open(page, place) else { return Ok(()) };
        let written = u64::try_from(facts.mtime()).unwrap_or(0);
        self.newest = self.newest.max((written, u64::try_from(facts.mtime_nsec()).unwrap_or(0)));
        let recursion_max = self.x.conf.ssi.recursion_max;
        // What is too long for a page is none.
        let as_it_is = recursion_max == 0 || facts.len() > PAGE_BYTES_MAX;
        if as_it_is || matches!(place, ssi::Place::File(_)) {
            return self.made.file(file, facts.len());
        }
        if self.depth >= recursion_max {
            return self.made.text(TOO_DEEP);
        }
        if within.path == page.path {
            return self.made.text(ENDLESS);
        }
        let (text, facts) = read(file)?;
        self.depth += 1;
        let put = self.put(&within, &text, &facts).await;
        self.depth -= 1;
        put
    }

    /// The file that a place leads to. What is not there is only told.
    fn open(&self, page: &Page, place: &ssi::Place<'_>) -> Option<(Page, File, Metadata)> {
        let opened = place::find(self.x, page, place).and_then(|(root, found)| {
            let file = root::open(&root, &found.path, self.x.conf.server.follow_symlink)
                .map_err(|error| format!("{}: {error}", found.path))?;
            match file.metadata() {
                Ok(facts) if facts.is_file() => Ok((found, file, facts)),
                Ok(_) => Err(format!("{}: not a file", found.path)),
                Err(error) => Err(format!("{}: {error}", found.path)),
            }
        });
        opened.inspect_err(|problem| tracing::warn!(path = page.path, "ssi: {problem}")).ok()
    }

    fn value(&self, page: &Page, name: &str, facts: &Metadata) -> Option<String> {
        Some(match name {
            "DATE_GMT" => self.time(SystemTime::now(), Zone::Greenwich),
            "DATE_LOCAL" => self.time(SystemTime::now(), Zone::Local),
            "LAST_MODIFIED" => self.time(facts.modified().unwrap_or(UNIX_EPOCH), Zone::Local),
            "DOCUMENT_NAME" => page.path.rsplit('/').next().unwrap_or_default().to_owned(),
            "DOCUMENT_URI" => page.uri.clone(),
            "SCRIPT_URL" => self.x.target.text.clone(),
            "SCRIPT_URI" => {
                let authority = self.x.head.authority().unwrap_or_default();
                match authority.is_empty() {
                    true => String::new(),
                    false => format!("{}://{authority}{}", self.x.scheme(), self.x.target.text),
                }
            }
            "USER_NAME" => match nix::unistd::User::from_uid(nix::unistd::Uid::from_raw(facts.uid())) {
                Ok(Some(user)) => user.name,
                _ => facts.uid().to_string(),
            },
            _ => return self.variables.find(name).map(str::to_owned),
        })
    }

    fn time(&self, at: SystemTime, zone: Zone) -> String {
        let format = self.time_format.as_deref().unwrap_or("%a, %d %b %Y %T %Z");
        written(at, zone, format).filter(|text| !text.is_empty()).unwrap_or_else(|| "(none)".to_owned())
    }
}

#[derive(Clone, Copy, Debug)]
enum Zone {
    Greenwich,
    Local,
}

/// A time in the words of strftime.
fn written(at: SystemTime, zone: Zone, format: &str) -> Option<String> {
    use jiff::fmt::strtime::{BrokenDownTime, Config};
    use jiff::tz::TimeZone;
    let at = jiff::Timestamp::try_from(at).ok()?;
    let zone = match zone {
        // By the name that C's library has for it.
        Zone::Greenwich => TimeZone::get("GMT").unwrap_or(TimeZone::UTC),
        Zone::Local => TimeZone::system(),
    };
    let broken_down = BrokenDownTime::from(&at.to_zoned(zone));
    broken_down.to_string_with_config(&Config::new().lenient(true), format).ok()
}

/// `4 kB`: whole units, rounded down.
fn abbreviated(mut size: u64) -> String {
    let mut unit = 0;
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    while size > 1024 && unit + 1 < UNITS.len() {
        size /= 1024;
        unit += 1;
    }
    format!("{size} {}", UNITS[unit])
}

/// All of a page.
fn read(file: File) -> Result<(Vec<u8>, Metadata), Stop> {
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(Stop("not a file".to_owned()));
    }
    let mut text = Vec::new();
    file.take(PAGE_BYTES_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > PAGE_BYTES_MAX {
        return Err(Stop(format!("a page of more than {PAGE_BYTES_MAX} bytes")));
    }
    Ok((text, facts))
}

/// Dresses what was made. Tags and times only where the configuration says that nothing in pages changes by itself.
fn answer(x: &Exchange<'_>, made: Made, facts: &Metadata, newest: (u64, u64)) -> Response {
    let mut response = Response::status(200);
    let media_type = x.conf.ssi.content_type.as_deref().unwrap_or(MEDIA_TYPE);
    response.head.fields.append_id(HeaderId::ContentType, media_type.as_bytes());
    response.body = made.body();
    if !x.conf.ssi.conditional_requests {
        return response;
    }
    let own = (u64::try_from(facts.mtime()).unwrap_or(0), u64::try_from(facts.mtime_nsec()).unwrap_or(0));
    // The nanoseconds stay the page's own, as in lighttpd: its tags are ours.
    let seconds = own.0.max(newest.0);
    let etag = &x.conf.etag;
    let parts = TagParts { inode: etag.use_inode, size: etag.use_size, mtime: etag.use_mtime };
    let tag = conditional::file_tag(parts, facts.ino(), facts.size(), (seconds, own.1));
    if let Some(tag) = &tag {
        response.head.fields.append(b"etag", tag.as_bytes());
    }
    response.head.fields.append(b"last-modified", &date::imf_fixdate(seconds));
    response.modified = Some(seconds);
    match conditional::judge(file::conditions(x), tag.as_deref(), response.modified) {
        Verdict::Send => {}
        Verdict::NotModified => {
            response.head.status = 304;
            response.body = Body::None;
        }
        Verdict::Failed => return Response::status(412),
    }
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn sizes_and_times_are_written_as_lighttpd_writes_them() {
        for (size, expected) in [
            (0, "0 B"),
            (1024, "1024 B"),
            (1025, "1 kB"),
            (5000, "4 kB"),
            (3 << 20, "3 MB"),
            (1 << 60, "1048576 TB"),
        ] {
            assert_eq!(abbreviated(size), expected);
        }
        let at = UNIX_EPOCH + Duration::from_secs(1_704_164_645);
        for (format, expected) in [
            ("%a, %d %b %Y %T %Z", "Tue, 02 Jan 2024 03:04:05 GMT"),
            ("%Y-%m-%d %H:%M", "2024-01-02 03:04"),
            ("100%", "100%"),
            ("plain", "plain"),
        ] {
            assert_eq!(written(at, Zone::Greenwich, format).as_deref(), Some(expected), "{format}");
        }
    }
}
