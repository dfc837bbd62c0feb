//! Who passes, how often, and under which certificate: what the keys `mesh.*` and our own form say of it.

use std::sync::Arc;
use std::time::Duration;

use selvedge_guard::bearer::{AUDIENCES_MAX, Accept};
use selvedge_guard::claims::{Rule, Rules};
use selvedge_guard::forward;
use selvedge_guard::identity::Headers;
use selvedge_guard::rate::BURST_MAX;
use selvedge_guard::reach::Target;
use selvedge_guard::sign_in::Settings;

use super::edge::{CLIENT_RATES_MAX, ClientKey, ClientRate, SignIn};
use super::reading::{Reading, int, key_lists, keyed, named_texts, text, texts};
use super::{Named, Text, Texts};
use crate::value::{List, Value};

/// A provider by whom people sign in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oidc {
    pub settings: Settings,
    /// A file with the client's secret; none for a public client.
    pub secret_file: Option<Text>,
    /// A file with the keys of cookies, one a line, the one that seals first.
    pub cookie_keys: Text,
    /// A file of authorities that are believed in place of the machine's.
    pub roots: Option<Text>,
}

/// An issuer whose bearer tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    pub accept: Accept,
    pub keys: KeysFrom,
    /// A file of authorities that are believed in place of the machine's.
    pub roots: Option<Text>,
}

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysFrom {
    File(Text),
    Url(Text),
}

/// Certificates that an authority issues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// The URL of the authority's directory.
    pub directory: Text,
    /// Where the authority may write.
    pub contact: Option<Text>,
    /// The names to stand in the certificate.
    pub names: Texts,
    /// By HTTP-01 on port 80, rather than by TLS-ALPN-01 on port 443.
    pub http: bool,
    pub key: AcmeKey,
    pub profile: Option<Text>,
    /// An account that one has with the authority already: its identifier, and the file with its key (RFC 8555 §7.3.4).
    pub external: Option<(Text, Text)>,
    /// What keeps account and certificates.
    pub store: AcmeStore,
    /// Where listeners find what is in force.
    pub folder: Text,
    /// A file of authorities that are believed in place of the machine's.
    pub roots: Option<Text>,
}

/// What kind of key a certificate has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcmeKey {
    #[default]
    P256,
    P384,
    Rsa2048,
    Rsa4096,
}

/// What keeps the account, certificates and their keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmeStore {
    /// A database in the folder, for the edges of one machine.
    Folder,
    /// The control plane, for those of several.
    Mesh,
}

/// The well-known directory that a short name stands for.
fn directory(name: &str) -> &str {
    match name {
        "letsencrypt" => "https://acme-v02.api.letsencrypt.org/directory",
        "letsencrypt-staging" => "https://acme-staging-v02.api.letsencrypt.org/directory",
        other => other,
    }
}

/// `( "name" => ( "issuer" => "https://…", "client-id" => "…", "cookie-keys" => "/file", … ) )`.
pub(super) fn oidc(value: &Value, reading: &mut Reading<'_>) -> Result<Named<Arc<Oidc>>, String> {
    let mut providers = Vec::new();
    for (name, list) in key_lists(value, reading)? {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(format!("mesh.oidc: a provider's name has letters, digits and hyphens: {name:?}"));
        }
        let mut parts = Parts::new("mesh.oidc", list, reading);
        let issuer = parts.url("issuer")?;
        let mut settings = Settings::new(name, &issuer, &parts.required("client-id")?);
        if let Some(scopes) = parts.texts("scopes")? {
            settings.scopes = scopes.iter().map(|scope| scope.to_string()).collect();
            if !settings.scopes.iter().any(|scope| scope == "openid") {
                return Err("mesh.oidc: \"openid\" is among the \"scopes\" of every sign-in".into());
            }
        }
        for (key, field) in [
            ("callback", &mut settings.callback_path),
            ("logout", &mut settings.logout_path),
            ("after-logout", &mut settings.after_logout),
        ] {
            if let Some(path) = parts.optional(key)? {
                if !path.starts_with('/') || path.starts_with("//") {
                    return Err(format!("mesh.oidc: \"{key}\" is a path of this site, such as /{key}"));
                }
                *field = path.to_string();
            }
        }
        if let Some(hours) = parts.number("session-hours")? {
            if !(1..=24 * 365).contains(&hours) {
                return Err("mesh.oidc: \"session-hours\" is from 1 to 8760".into());
            }
            settings.session = Duration::from_secs(u64::from(hours) * 3600);
        }
        if let Some(claims) = parts.texts("claims")? {
            settings.claims = claims.iter().map(|claim| claim.to_string()).collect();
        }
        let provider = Oidc {
            secret_file: parts.optional("client-secret-file")?,
            cookie_keys: parts.required("cookie-keys")?,
            roots: parts.optional("ca-file")?,
            settings,
        };
        parts.end()?;
        providers.push((name.clone(), Arc::new(provider)));
    }
    Ok(providers.into())
}

/// `( "name" => ( "issuer" => "…", "audience" => ( "…" ), "jwks" => "https://…" ) )`, or `"jwks-file" => "/file"`.
pub(super) fn jwt(value: &Value, reading: &mut Reading<'_>) -> Result<Named<Arc<Jwt>>, String> {
    let mut issuers = Vec::new();
    for (name, list) in key_lists(value, reading)? {
        let mut parts = Parts::new("mesh.jwt", list, reading);
        let issuer = parts.required("issuer")?.to_string();
        let audiences = parts.texts("audience")?.unwrap_or_else(|| Arc::from([]));
        if audiences.is_empty() || audiences.len() > AUDIENCES_MAX {
            return Err(format!(
                "mesh.jwt: \"audience\" is a list of 1 to {AUDIENCES_MAX} texts: a token is for somebody"
            ));
        }
        let audiences = audiences.iter().map(|audience| audience.to_string()).collect();
        let url = parts.list.get("jwks").is_some().then(|| parts.url("jwks")).transpose()?;
        let keys = match (url, parts.optional("jwks-file")?) {
            (Some(url), None) => KeysFrom::Url(url),
            (None, Some(file)) => KeysFrom::File(file),
            _ => return Err("mesh.jwt: either \"jwks\" or \"jwks-file\" says where the keys are".into()),
        };
        let jwt = Jwt { accept: Accept { issuer, audiences }, keys, roots: parts.optional("ca-file")? };
        parts.end()?;
        issuers.push((name.clone(), Arc::new(jwt)));
    }
    Ok(issuers.into())
}

/// Where spans of requests are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traces {
    /// The collector's URL for traces, by OTLP over HTTP.
    pub collector: Text,
    /// Of a hundred requests that no trusted caller has decided about, so many are recorded.
    pub percent: u8,
    /// Whose spans they are: `service.name`.
    pub name: Text,
}

/// `( "otlp" => "http://127.0.0.1:4318", "percent" => 5, "name" => "shop-edge" )`.
pub(super) fn traces(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Arc<Traces>>, String> {
    let list = keyed(value, reading)?;
    if list.is_empty() {
        return Ok(None);
    }
    let mut parts = Parts::new("mesh.traces", list, reading);
    let url = parts.url("otlp")?;
    let is_bare = Target::parse(&url).is_ok_and(|target| target.path == "/");
    let percent = parts.number("percent")?.unwrap_or(100);
    let percent = u8::try_from(percent).ok().filter(|percent| *percent <= 100);
    let traces = Traces {
        collector: if is_bare { format!("{}/v1/traces", url.trim_end_matches('/')).into() } else { url },
        percent: percent.ok_or("mesh.traces: \"percent\" is from 0 to 100")?,
        name: parts.optional("name")?.unwrap_or_else(|| "edge".into()),
    };
    parts.end()?;
    Ok(Some(Arc::new(traces)))
}

/// `( "directory" => "letsencrypt", "names" => ( "…" ), "store" => "/folder", … )`.
pub(super) fn acme(value: &Value, reading: &mut Reading<'_>) -> Result<Option<Arc<Acme>>, String> {
    let list = keyed(value, reading)?;
    if list.is_empty() {
        return Ok(None);
    }
    let mut parts = Parts::new("mesh.acme", list, reading);
    let named = parts.required("directory")?;
    let url = directory(&named);
    Target::parse(url).map_err(|error| format!("mesh.acme: \"directory\": {error}"))?;
    let names = parts.texts("names")?.filter(|names| !names.is_empty());
    let names = names.ok_or("mesh.acme: \"names\" is a list of the names to stand in the certificate")?;
    if let Some(name) = names.iter().find(|name| name.starts_with("*.")) {
        return Err(format!(
            "mesh.acme: {name}: a wildcard is proven by DNS alone, which is not supported: name the hosts one by one, or have \
             another program fetch the certificate and name its files in ssl.pemfile and ssl.privkey"
        ));
    }
    let http = parts.word("challenge", &[("tls-alpn-01", false), ("http-01", true)])?;
    let key = parts.word(
        "key-type",
        &[
            ("p256", AcmeKey::P256),
            ("p384", AcmeKey::P384),
            ("rsa2048", AcmeKey::Rsa2048),
            ("rsa4096", AcmeKey::Rsa4096),
        ],
    )?;
    let external = match (parts.optional("eab-id")?, parts.optional("eab-key-file")?) {
        (None, None) => None,
        (Some(id), Some(file)) => Some((id, file)),
        _ => return Err("mesh.acme: \"eab-id\" and \"eab-key-file\" belong together".into()),
    };
    let (kept, folder) = (parts.required("store")?, parts.optional("folder")?);
    let (store, folder) = match (&*kept, folder) {
        ("mesh", Some(folder)) => (AcmeStore::Mesh, folder),
        ("mesh", None) => {
            return Err(
                "mesh.acme: \"store\" => \"mesh\" needs a \"folder\", where this edge keeps what it shows"
                    .into(),
            );
        }
        (_, None) => (AcmeStore::Folder, kept),
        (_, Some(_)) => return Err("mesh.acme: \"folder\" goes with \"store\" => \"mesh\"".into()),
    };
    let acme = Acme {
        directory: url.into(),
        contact: parts.optional("contact")?,
        names,
        http,
        key,
        profile: parts.optional("profile")?,
        external,
        store,
        folder,
        roots: parts.optional("ca-file")?,
    };
    parts.end()?;
    Ok(Some(Arc::new(acme)))
}

/// `"oidc:NAME"`, `"jwt:NAME"`, `"certificate"`; blank for nobody.
pub(super) fn sign_in(value: &Value, reading: &mut Reading<'_>) -> Result<Option<SignIn>, String> {
    let said = text(value, reading)?;
    Ok(Some(match said.split_once(':') {
        Some(("oidc", name)) => SignIn::Oidc(name.into()),
        Some(("jwt", name)) => SignIn::Jwt(name.into()),
        None if *said == *"certificate" => SignIn::Certificate,
        None if said.is_empty() => return Ok(None),
        _ => return Err("mesh.sign-in is \"oidc:NAME\", \"jwt:NAME\" or \"certificate\"".into()),
    }))
}

/// `( "groups" => ( "staff", "ops" ), "email" => "*@example.com", "sub" => "" )`; blank: anything, as long as it is there.
pub(super) fn claims(value: &Value, reading: &mut Reading<'_>) -> Result<Rules, String> {
    let mut rules = Vec::new();
    for (claim, value) in keyed(value, reading)?.iter() {
        let one_of: Vec<String> = match value {
            Value::Text(text) if text.is_empty() => Vec::new(),
            Value::Text(text) => vec![text.to_string()],
            Value::Integer(number) => vec![number.to_string()],
            Value::List(_) => texts(value, reading)?.iter().map(|text| text.to_string()).collect(),
        };
        rules.push(Rule { claim: claim.map(|claim| claim.to_string()).unwrap_or_default(), one_of });
    }
    Rules::new(rules).map_err(|error| format!("mesh.claims: {error}"))
}

/// `( "x-user" => "preferred_username" )`.
pub(super) fn identity_headers(value: &Value, reading: &mut Reading<'_>) -> Result<Headers, String> {
    let named = named_texts(value, reading)?;
    let pairs = named.iter().map(|(header, claim)| (&**header, &**claim));
    Headers::new(pairs).map_err(|error| format!("mesh.identity-headers: {error}"))
}

/// `( "url" => "http://127.0.0.1:9000/check", "take" => ( "x-user" ), "subject" => "x-user" )`.
pub(super) fn forward_auth(
    value: &Value,
    reading: &mut Reading<'_>,
) -> Result<Option<Arc<forward::Settings>>, String> {
    let list = keyed(value, reading)?;
    if list.is_empty() {
        return Ok(None);
    }
    let mut parts = Parts::new("mesh.forward-auth", list, reading);
    let lowered = |texts: Option<Texts>| -> Option<Vec<String>> {
        texts.map(|texts| texts.iter().map(|text| text.to_ascii_lowercase()).collect())
    };
    let settings = forward::Settings {
        url: parts.url("url")?.to_string(),
        send: lowered(parts.texts("send")?)
            .unwrap_or_else(|| vec!["cookie".to_owned(), "authorization".to_owned()]),
        take: lowered(parts.texts("take")?).unwrap_or_default(),
        subject: parts.optional("subject")?.map(|subject| subject.to_ascii_lowercase()),
    };
    if settings.take.len() > forward::HEADERS_MAX {
        return Err(format!("mesh.forward-auth: \"take\" has at most {} headers", forward::HEADERS_MAX));
    }
    parts.end()?;
    Ok(Some(Arc::new(settings)))
}

/// `"20/s"`, or `( "rate" => "20/s", "burst" => 40, "key" => "ip" )`.
pub(super) fn per_client(value: &Value, reading: &mut Reading<'_>) -> Result<Option<ClientRate>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("mesh.per-client: {error}");
    let (said, burst, key) = match value {
        Value::Text(text) if text.is_empty() => return Ok(None),
        Value::Text(text) => (text.clone(), None, None),
        _ => {
            let list = keyed(value, reading)?;
            let mut parts = Parts::new("mesh.per-client", list, reading);
            let read = (parts.required("rate")?, parts.number("burst")?, parts.optional("key")?);
            parts.end()?;
            read
        }
    };
    let (requests, per_ms) = rate(&said).map_err(|error| wrong(&error))?;
    let burst = burst.unwrap_or_else(|| requests.min(BURST_MAX));
    if !(1..=BURST_MAX).contains(&burst) {
        return Err(wrong(&selvedge_guard::rate::RateInvalid::Burst));
    }
    let key = match key.as_deref() {
        None | Some("ip") => ClientKey::Ip,
        Some("identity") => ClientKey::Identity,
        Some(other) => match other.strip_prefix("header:").filter(|name| !name.is_empty()) {
            Some(name) => ClientKey::Header(name.to_ascii_lowercase().into()),
            None => return Err(wrong(&"\"key\" is \"ip\", \"identity\" or \"header:NAME\"")),
        },
    };
    reading.ids.client_rates += 1;
    let id = reading.ids.client_rates;
    if id > CLIENT_RATES_MAX {
        return Err(wrong(&format_args!("there are more than {CLIENT_RATES_MAX} limits of clients")));
    }
    Ok(Some(ClientRate { id, requests, per_ms, burst, key }))
}

/// Requests and the milliseconds in which they may come, of `20/s`.
pub(crate) fn rate(text: &str) -> Result<(u32, u64), selvedge_guard::rate::RateInvalid> {
    use selvedge_guard::rate::{Rate, RateInvalid};
    text.parse::<Rate>()?;
    let (requests, unit) = text.split_once('/').ok_or(RateInvalid::Form)?;
    let requests = requests.trim().parse().map_err(|_| RateInvalid::Form)?;
    let per_ms = match unit.trim() {
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => 86_400_000,
    };
    Ok((requests, per_ms))
}

/// `( "</app.css>; rel=preload; as=style" )`.
pub(super) fn early_hints(value: &Value, reading: &mut Reading<'_>) -> Result<Texts, String> {
    let links = texts(value, reading)?;
    let is_link = |link: &Text| {
        link.starts_with('<') && link.contains('>') && link.bytes().all(|byte| (b' '..0x7f).contains(&byte))
    };
    match links.iter().find(|link| !is_link(link)) {
        Some(link) => {
            Err(format!("mesh.early-hints: {link:?} is no link such as </app.css>; rel=preload; as=style"))
        }
        None => Ok(links),
    }
}

/// The values of a list by their names; what is not asked for is unknown.
pub(super) struct Parts<'r, 'v, 'i> {
    key: &'static str,
    list: &'v List,
    reading: &'r mut Reading<'i>,
    asked: Vec<&'static str>,
}

impl<'r, 'v, 'i> Parts<'r, 'v, 'i> {
    pub(super) fn new(key: &'static str, list: &'v List, reading: &'r mut Reading<'i>) -> Self {
        Self { key, list, reading, asked: Vec::new() }
    }

    pub(super) fn find(&mut self, name: &'static str) -> Option<&'v Value> {
        self.asked.push(name);
        self.list.get(name)
    }

    fn optional(&mut self, name: &'static str) -> Result<Option<Text>, String> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(format!("{}: \"{name}\" is a text", self.key)),
        }
    }

    pub(super) fn required(&mut self, name: &'static str) -> Result<Text, String> {
        self.optional(name)?.ok_or_else(|| format!("{} needs \"{name}\"", self.key))
    }

    fn url(&mut self, name: &'static str) -> Result<Text, String> {
        let url = self.required(name)?;
        Target::parse(&url).map_err(|error| format!("{}: \"{name}\": {error}", self.key))?;
        Ok(url)
    }

    fn texts(&mut self, name: &'static str) -> Result<Option<Texts>, String> {
        match self.find(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(Arc::from([text.clone()]))),
            Some(value) => texts(value, self.reading).map(Some),
        }
    }

    /// One of some words; the first when there is none.
    fn word<T: Copy>(&mut self, name: &'static str, words: &[(&str, T)]) -> Result<T, String> {
        let Some(said) = self.optional(name)? else { return Ok(words[0].1) };
        let known = words.iter().find(|(word, _)| **word == *said);
        known.map(|(_, meant)| *meant).ok_or_else(|| {
            let words: Vec<String> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
            format!("{}: \"{name}\" is one of {}, and not {said:?}", self.key, words.join(", "))
        })
    }

    fn number(&mut self, name: &'static str) -> Result<Option<u32>, String> {
        match self.find(name) {
            None => Ok(None),
            Some(value) => int(value, self.reading).map(Some),
        }
    }

    pub(super) fn end(self) -> Result<(), String> {
        let unknown = self.list.iter().find_map(|(name, _)| {
            let name = name.map_or("", |name| &**name);
            (!self.asked.contains(&name)).then_some(name)
        });
        match unknown {
            Some(name) => {
                Err(format!("{} does not know \"{name}\": it takes {}", self.key, self.asked.join(", ")))
            }
            None => Ok(()),
        }
    }
}
