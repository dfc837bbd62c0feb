//! An answer that is kept: whether it may be, how old it is, and what may be done with it.

use bytes::Bytes;

use super::{Control, Variant};
use crate::date;
use crate::fields::Fields;
use crate::head::{RequestHead, ResponseHead};
use crate::known::HeaderId;

/// The largest body that is kept.
pub const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// When the exchange with the origin took place; in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub asked: u64,
    pub answered: u64,
}

/// An answer with what decides over it.
#[derive(Clone, Debug)]
pub struct Stored {
    pub status: u16,
    pub fields: Fields,
    pub body: Bytes,
    pub variant: Variant,
    /// Its age when it came (RFC 9111 §4.2.3).
    age_at_first: u64,
    came_at: u64,
    /// For so long it is fresh.
    lifetime: u64,
    control: Control,
}

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotStored {
    Method,
    Status,
    /// The origin, or the client, said so.
    NoStore,
    Private,
    /// The request showed who asks, and the origin did not say that it is for everybody.
    Authorization,
    SetsCookie,
    /// It depends on everything, or on too much.
    Vary,
    /// Nobody said for how long it is good, and it has nothing to be checked by.
    Undated,
    /// It is a part.
    Partial,
}

/// What may be done with an answer that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Fresh,
    /// It may be sent, while it is being renewed.
    StaleWhileRevalidate,
    /// The origin has to be asked first; if it fails, the answer may be sent all the same.
    StaleIfError,
    /// The origin has to be asked first.
    Stale,
}

/// Statuses whose answers are whole, and understood.
const KEPT: &[u16] = &[200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];

/// Fields of an answer that are about a connection, or about this one delivery.
const NOT_KEPT: &[&str] =
    &["connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "age"];

impl Stored {
    /// Whether an answer may be kept, before its body is there: its life as far as the head tells it.
    ///
    /// # Errors
    /// Why it may not.
    pub fn new(request: &RequestHead, answer: &ResponseHead, times: Times) -> Result<Self, NotStored> {
        Self::of_somebody(false, request, answer, times)
    }

    /// As [`Stored::new`]; `is_somebody` where the asker is known by other means than `Authorization` as well.
    ///
    /// # Errors
    /// Why it may not be kept.
    pub fn of_somebody(
        is_somebody: bool,
        request: &RequestHead,
        answer: &ResponseHead,
        times: Times,
    ) -> Result<Self, NotStored> {
        let control = Control::of(&answer.fields);
        if request.method() != "GET" {
            return Err(NotStored::Method);
        }
        if control.no_store || Control::of(&request.fields).no_store {
            return Err(NotStored::NoStore);
        }
        if control.private {
            return Err(NotStored::Private);
        }
        if answer.status == 206 || answer.fields.named("content-range").is_some() {
            return Err(NotStored::Partial);
        }
        if !KEPT.contains(&answer.status) {
            return Err(NotStored::Status);
        }
        let for_everybody = control.public || control.s_maxage.is_some() || control.must_revalidate;
        let is_somebody = is_somebody || request.fields.named("authorization").is_some();
        if is_somebody && !for_everybody {
            return Err(NotStored::Authorization);
        }
        if answer.fields.named("set-cookie").is_some() {
            return Err(NotStored::SetsCookie);
        }
        let variant = Variant::of(&request.fields, &answer.fields).ok_or(NotStored::Vary)?;
        let mut stored = Self {
            status: answer.status,
            fields: Fields::default(),
            body: Bytes::new(),
            variant,
            age_at_first: 0,
            came_at: times.answered,
            lifetime: 0,
            control,
        };
        let named = connection_fields(&answer.fields);
        for (name, value) in answer.fields.iter() {
            if !NOT_KEPT.contains(&name) && !named.iter().any(|own| own == name) {
                stored.fields.append(name.as_bytes(), value);
            }
        }
        stored.date(&answer.fields, times).ok_or(NotStored::Undated)?;
        Ok(stored)
    }

    /// Works out age and lifetime. `None` when nobody says for how long it is good and nothing can check it.
    fn date(&mut self, answer: &Fields, times: Times) -> Option<()> {
        let moment = |name: &str| date::parse(std::str::from_utf8(answer.named(name)?).ok()?);
        let date = moment("date").unwrap_or(times.answered);
        let apparent = times.answered.saturating_sub(date);
        let told = answer.named("age").and_then(|age| std::str::from_utf8(age).ok());
        let told = told.and_then(|age| super::control::seconds(age.trim())).unwrap_or(0);
        let corrected = told.saturating_add(times.answered.saturating_sub(times.asked));
        self.age_at_first = apparent.max(corrected);
        self.came_at = times.answered;
        let expires = answer.named("expires").map(|_| {
            // What cannot be read has passed (RFC 9111 §5.3), and so has what stands twice.
            let once = answer.all_named("expires").count() == 1;
            moment("expires").filter(|_| once).map_or(0, |expires| expires.saturating_sub(date))
        });
        let lifetime = self.control.s_maxage.or(self.control.max_age).or(expires);
        self.lifetime = if self.control.no_cache { 0 } else { lifetime.unwrap_or(0) };
        (self.lifetime > 0 || self.has_validator()).then_some(())
    }

    /// Its age at `now` (RFC 9111 §4.2.3).
    pub fn age(&self, now: u64) -> u64 {
        self.age_at_first.saturating_add(now.saturating_sub(self.came_at))
    }

    /// What may be done with it at `now`.
    pub fn standing(&self, now: u64) -> Standing {
        let age = self.age(now);
        if age < self.lifetime {
            return Standing::Fresh;
        }
        let stale_for = age - self.lifetime;
        let control = &self.control;
        let never = control.must_revalidate
            || control.proxy_revalidate
            || control.s_maxage.is_some()
            || control.no_cache;
        let within = |bound: Option<u64>| !never && bound.is_some_and(|bound| stale_for < bound);
        if within(control.stale_while_revalidate) {
            Standing::StaleWhileRevalidate
        } else if within(control.stale_if_error) {
            Standing::StaleIfError
        } else {
            Standing::Stale
        }
    }

    /// Whether a 304 speaks of this answer: it has its strong validator, or none (RFC 9111 §4.3.4).
    pub fn is_meant_by(&self, answer: &ResponseHead) -> bool {
        match answer.fields.named("etag") {
            Some(tag) if !tag.starts_with(b"W/") => self.fields.named("etag") == Some(tag),
            _ => self.has_validator(),
        }
    }

    /// Whether it has something by which the origin can say that it is still good.
    pub fn has_validator(&self) -> bool {
        self.fields.named("etag").is_some() || self.fields.named("last-modified").is_some()
    }

    /// Makes a request to the origin a question whether this is still good (RFC 9111 §4.3.1); what the client asked by is
    /// taken off, because the answer goes to the cache.
    pub fn ask(&self, request: &mut RequestHead) {
        strip_conditions(&mut request.fields);
        if let Some(tag) = self.fields.named("etag") {
            request.fields.append(b"if-none-match", tag);
        }
        if let Some(modified) = self.fields.named("last-modified") {
            request.fields.append(b"if-modified-since", modified);
        }
    }

    /// The origin said 304: what it says anew counts, and the body stays (RFC 9111 §3.2, §4.3.4). `is_somebody` as for
    /// [`Stored::of_somebody`].
    ///
    /// # Errors
    /// When the answer may not be kept any longer.
    pub fn freshened(
        &self,
        is_somebody: bool,
        request: &RequestHead,
        answer: &ResponseHead,
        times: Times,
    ) -> Result<Self, NotStored> {
        const OF_THE_BODY: &[&str] = &["content-length", "content-encoding", "content-type", "content-range"];
        let mut head = ResponseHead { status: self.status, ..ResponseHead::default() };
        head.fields.clone_from(&self.fields);
        let renews = |name: &str| !OF_THE_BODY.contains(&name);
        let mut named: Vec<&str> =
            answer.fields.iter().map(|(name, _)| name).filter(|name| renews(name)).collect();
        named.sort_unstable();
        named.dedup();
        named.iter().for_each(|name| head.fields.remove_named(name));
        for (name, value) in answer.fields.iter().filter(|(name, _)| renews(name)) {
            head.fields.append(name.as_bytes(), value);
        }
        let mut stored = Self::of_somebody(is_somebody, request, &head, times)?;
        stored.body = self.body.clone();
        Ok(stored)
    }

    /// The head to answer with: what was kept, and its age.
    pub fn head(&self, now: u64) -> ResponseHead {
        let mut head = ResponseHead { status: self.status, ..ResponseHead::default() };
        head.fields.clone_from(&self.fields);
        head.fields.remove(HeaderId::ContentLength);
        head.fields.append(b"age", self.age(now).to_string().as_bytes());
        head
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.body.len() + self.fields.capacity_bytes() + size_of::<Self>()
    }
}

/// Takes off what makes an answer depend on what the client has already.
pub fn strip_conditions(fields: &mut Fields) {
    for name in ["if-none-match", "if-modified-since", "if-match", "if-unmodified-since", "if-range", "range"]
    {
        fields.remove_named(name);
    }
}

/// The names in `Connection`, which go no further than this connection.
fn connection_fields(fields: &Fields) -> Vec<String> {
    let names = fields.all(HeaderId::Connection).flat_map(|value| value.split(|byte| *byte == b','));
    names.map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { asked: 1_000_000, answered: 1_000_000 };

    fn request(method: &str, pairs: &[(&str, &str)]) -> RequestHead {
        let mut head = RequestHead::default();
        head.set_method(method);
        pairs.iter().for_each(|(name, value)| head.fields.append(name.as_bytes(), value.as_bytes()));
        head
    }

    fn answer(status: u16, pairs: &[(&str, &str)]) -> ResponseHead {
        let mut head = ResponseHead { status, ..ResponseHead::default() };
        pairs.iter().for_each(|(name, value)| head.fields.append(name.as_bytes(), value.as_bytes()));
        head
    }

    fn keep(asked: &[(&str, &str)], said: &[(&str, &str)]) -> Result<Stored, NotStored> {
        Stored::new(&request("GET", asked), &answer(200, said), TIMES)
    }

    #[test]
    fn what_may_be_kept() {
        type Headers = [(&'static str, &'static str)];
        let rows: &[(&Headers, &Headers, Option<NotStored>)] = &[
            (&[], &[("cache-control", "max-age=60")], None),
            (&[], &[("cache-control", "no-cache"), ("etag", "\"a\"")], None),
            (&[], &[("expires", "Thu, 01 Jan 1970 00:00:00 GMT")], Some(NotStored::Undated)),
            (&[], &[], Some(NotStored::Undated)),
            (&[], &[("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")], None),
            (&[], &[("cache-control", "max-age=60, no-store")], Some(NotStored::NoStore)),
            (&[("cache-control", "no-store")], &[("cache-control", "max-age=60")], Some(NotStored::NoStore)),
            (&[], &[("cache-control", "max-age=60, private")], Some(NotStored::Private)),
            (&[], &[("cache-control", "max-age=60"), ("set-cookie", "a=b")], Some(NotStored::SetsCookie)),
            (&[], &[("cache-control", "max-age=60"), ("vary", "*")], Some(NotStored::Vary)),
            (
                &[],
                &[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/2")],
                Some(NotStored::Partial),
            ),
            (&[("authorization", "x")], &[("cache-control", "max-age=60")], Some(NotStored::Authorization)),
            (&[("authorization", "x")], &[("cache-control", "max-age=60, public")], None),
            (&[("authorization", "x")], &[("cache-control", "s-maxage=60")], None),
            (&[("authorization", "x")], &[("cache-control", "max-age=60, must-revalidate")], None),
        ];
        for (asked, said, refused) in rows {
            assert_eq!(keep(asked, said).err(), *refused, "{asked:?} {said:?}");
        }
        let said = answer(200, &[("cache-control", "max-age=60")]);
        for method in ["HEAD", "POST", "PUT", "OPTIONS", "get"] {
            assert_eq!(
                Stored::new(&request(method, &[]), &said, TIMES).err(),
                Some(NotStored::Method),
                "{method}"
            );
        }
        for status in [201, 302, 304, 307, 400, 401, 403, 500, 502, 503] {
            let said = answer(status, &[("cache-control", "max-age=60")]);
            assert_eq!(
                Stored::new(&request("GET", &[]), &said, TIMES).err(),
                Some(NotStored::Status),
                "{status}"
            );
        }
    }

    #[test]
    fn how_it_ages() {
        let at = |said: &[(&str, &str)], later: u64| {
            keep(&[], said).expect("it may be kept").standing(TIMES.answered + later)
        };
        let date = |seconds: u64| {
            String::from_utf8(date::imf_fixdate(TIMES.answered + seconds).to_vec()).expect("ASCII")
        };
        let max_age = [("cache-control", "max-age=60")];
        assert_eq!((at(&max_age, 59), at(&max_age, 60)), (Standing::Fresh, Standing::Stale));
        let shared = [("cache-control", "max-age=600, s-maxage=60")];
        assert_eq!((at(&shared, 59), at(&shared, 60)), (Standing::Fresh, Standing::Stale));
        let expires = date(60);
        let expires = [("expires", expires.as_str()), ("etag", "x")];
        assert_eq!((at(&expires, 59), at(&expires, 60)), (Standing::Fresh, Standing::Stale));
        let overruled = [expires[0], ("cache-control", "max-age=10")];
        assert_eq!(at(&overruled, 10), Standing::Stale);
        let unreadable = [("expires", "0"), ("etag", "x")];
        assert_eq!(at(&unreadable, 0), Standing::Stale);
        let aged = [("cache-control", "max-age=60"), ("age", "50")];
        assert_eq!((at(&aged, 9), at(&aged, 10)), (Standing::Fresh, Standing::Stale));
        let twice = [expires[0], expires[0], expires[1]];
        assert_eq!(at(&twice, 0), Standing::Stale);
    }

    #[test]
    fn what_may_be_sent_though_it_is_stale() {
        let at = |control: &str, later: u64| {
            keep(&[], &[("cache-control", control)]).expect("it may be kept").standing(TIMES.answered + later)
        };
        let both = "max-age=60, stale-while-revalidate=30, stale-if-error=90";
        assert_eq!(at(both, 60), Standing::StaleWhileRevalidate);
        assert_eq!(at(both, 90), Standing::StaleIfError);
        assert_eq!(at(both, 150), Standing::Stale);
        for word in ["must-revalidate", "proxy-revalidate", "s-maxage=60"] {
            assert_eq!(at(&format!("{both}, {word}"), 60), Standing::Stale, "{word}");
        }
    }

    #[test]
    fn a_304_renews_the_head_and_keeps_the_body() {
        let mut stored = keep(
            &[],
            &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-type", "t"), ("x", "1")],
        )
        .expect("it may be kept");
        stored.body = Bytes::from_static(b"body");
        let mut asks = request("GET", &[("if-none-match", "\"client\""), ("range", "bytes=0-1")]);
        stored.ask(&mut asks);
        assert_eq!(asks.fields.all_named("if-none-match").collect::<Vec<_>>(), [b"\"a\""]);
        assert!(asks.fields.named("range").is_none());
        let later = Times { asked: TIMES.asked + 100, answered: TIMES.answered + 100 };
        let said = answer(
            304,
            &[("cache-control", "max-age=10"), ("x", "2"), ("content-type", "evil"), ("content-length", "9")],
        );
        let renewed = stored.freshened(false, &request("GET", &[]), &said, later).expect("it may be kept");
        assert_eq!((renewed.status, &renewed.body[..]), (200, &b"body"[..]));
        assert_eq!(renewed.standing(later.answered + 9), Standing::Fresh);
        assert_eq!(renewed.standing(later.answered + 10), Standing::Stale);
        assert_eq!(renewed.fields.all_named("x").collect::<Vec<_>>(), [b"2"]);
        assert_eq!(renewed.fields.named("content-type"), Some(&b"t"[..]));
        // What was for everybody and is not any longer is nobody's who is known.
        let own = stored.freshened(true, &request("GET", &[]), &said, later);
        assert_eq!(own.err(), Some(NotStored::Authorization));
        let no_more = answer(304, &[("cache-control", "no-store")]);
        assert_eq!(
            stored.freshened(false, &request("GET", &[]), &no_more, later).err(),
            Some(NotStored::NoStore)
        );
    }

    #[test]
    fn a_304_of_another_answer_is_none_of_this() {
        let stored = keep(&[], &[("cache-control", "no-cache"), ("etag", "\"a\"")]).expect("it may be kept");
        for (tag, meant) in
            [(Some("\"a\""), true), (Some("\"b\""), false), (Some("W/\"b\""), true), (None, true)]
        {
            let said = answer(304, &tag.map(|tag| [("etag", tag)]).unwrap_or([("x", "y")]));
            assert_eq!(stored.is_meant_by(&said), meant, "{tag:?}");
        }
        let undated = keep(&[], &[("cache-control", "max-age=1")]).expect("it may be kept");
        assert!(!undated.is_meant_by(&answer(304, &[])), "it was not asked about");
    }

    #[test]
    fn what_is_of_the_connection_is_not_kept() {
        let stored = keep(
            &[],
            &[
                ("cache-control", "max-age=60"),
                ("connection", "close, x-hop"),
                ("x-hop", "1"),
                ("keep-alive", "1"),
                ("x", "1"),
            ],
        )
        .expect("it may be kept");
        let names: Vec<&str> = stored.fields.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["cache-control", "x"]);
        let head = stored.head(TIMES.answered + 7);
        assert_eq!(head.fields.named("age"), Some(&b"7"[..]));
    }
}
