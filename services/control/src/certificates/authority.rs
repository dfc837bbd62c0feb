//! Authorities at work: the one that signs when none is named, and what any of them issues.

use selvedge_aws::error::ErrorShape;
use selvedge_identity::authority::{Grant, Serial, Subject, Validity, name_of};
use selvedge_identity::key::Algorithm;
use selvedge_identity::{Authority as Signer, Key, arn, pem, rotation};
use selvedge_model::Value;
use selvedge_store::{Read, Transaction, Vault};
use serde_json::json;

use super::document::{self, AUTHORITY_COUNT, Authority, DEFAULT, authority_key};
use super::failure::{Failure, unsigned};
use super::{Certificates, count, draw, get, put};

/// How long an authority that is made here lives, in seconds: ten years.
pub(super) const ROOT_LIFE: i64 = 3650 * 86_400;
/// How far before now a certificate begins, in seconds: clocks differ.
pub(super) const BACKDATED: i64 = 300;
/// Authorities that may be kept.
pub const AUTHORITIES_MAX: usize = 200;

/// What came of issuing a certificate.
pub(super) struct Issued {
    /// PEM.
    pub(super) certificate: String,
    pub(super) chain: String,
    /// How it was signed, as AWS writes it.
    pub(super) signature: String,
    pub(super) facts: selvedge_identity::Certificate,
}

/// Bytes of a serial number from a UUID.
pub(super) fn serial(uuid: &str) -> Serial {
    let digits: Vec<u8> = uuid.bytes().filter(u8::is_ascii_hexdigit).collect();
    let mut serial = Serial::default();
    for (byte, pair) in serial.iter_mut().zip(digits.chunks(2)) {
        let text = std::str::from_utf8(pair).unwrap_or_default();
        *byte = u8::from_str_radix(text, 16).unwrap_or_default();
    }
    serial
}

/// `0a:1b:…`, as both services write serial numbers.
pub(super) fn colons(serial: &str) -> String {
    let digits: Vec<char> = serial.chars().collect();
    let pairs: Vec<String> = digits.chunks(2).map(|pair| pair.iter().collect()).collect();
    pairs.join(":")
}

impl Certificates {
    /// The authority that signs when none is named; made when it is first needed.
    pub(super) fn default_authority(
        &self,
        tx: &mut dyn Transaction,
        region: &str,
        now: u64,
    ) -> Result<Authority, Failure> {
        if let Some(id) = get::<String>(&*tx, DEFAULT)?
            && let Some(found) = get::<Authority>(&*tx, &authority_key(&id))?
            && found.status(seconds(now)) == "ACTIVE"
        {
            return Ok(found);
        }
        let configuration = json!({
            "KeyAlgorithm": Algorithm::P256.name(),
            "SigningAlgorithm": Algorithm::P256.signature(),
            "Subject": { "Organization": "Selvedge", "CommonName": "Selvedge mesh authority" },
        });
        let limit = selvedge_aws::operations::acm::LIMIT_EXCEEDED_EXCEPTION;
        let made = self.make_root(tx, &configuration, region, now, limit)?;
        put(tx, DEFAULT, &made.id)?;
        self.list(tx, &made, now)?;
        tracing::info!(authority = made.arn, "made an authority for certificates that name none");
        Ok(made)
    }

    /// An authority that is its own root, active at once.
    pub(super) fn make_root(
        &self,
        tx: &mut dyn Transaction,
        configuration: &Value,
        region: &str,
        now: u64,
        limit: ErrorShape,
    ) -> Result<Authority, Failure> {
        if count(tx, AUTHORITY_COUNT, 1)? > AUTHORITIES_MAX {
            return Err(limit.because(format!("there may be at most {AUTHORITIES_MAX} authorities")).into());
        }
        let text = |member: &str| configuration.get(member).and_then(Value::as_str).unwrap_or_default();
        let algorithm = Algorithm::named(text("KeyAlgorithm")).unwrap_or(Algorithm::P256);
        let key = draw::key(algorithm)?;
        let at = seconds(now);
        let validity = Validity { not_before: at - BACKDATED, not_after: at + ROOT_LIFE };
        let id = self.surroundings.uuid();
        let subject = subject(configuration);
        let root = Signer::root(&subject, &key, validity, serial(&self.surroundings.uuid()))
            .map_err(|error| unsigned(&error, limit))?;
        let facts = selvedge_identity::Certificate::read(&root)
            .map_err(|error| unsigned(&selvedge_identity::authority::Refused::Authority(error), limit))?;
        let (partition, account) = (&self.settings.partition, &self.settings.account);
        let made = Authority {
            arn: arn::authority(partition, region, account, &id),
            sort: "ROOT".to_owned(),
            status: "ACTIVE".to_owned(),
            configuration: configuration.clone(),
            usage: "GENERAL_PURPOSE".to_owned(),
            certificate: pem::write("CERTIFICATE", &root),
            chain: String::new(),
            sealed: self.vault.seal(&authority_key(&id), key.pkcs8())?,
            created_at: now,
            changed_at: now,
            not_before: facts.not_before,
            not_after: facts.not_after,
            serial: facts.serial,
            restorable_until: None,
            before: None,
            tags: document::Tags::new(),
            token: None,
            issued: 0,
            revocation: None,
            id,
        };
        put(tx, &authority_key(&made.id), &made)?;
        Ok(made)
    }

    /// An authority that may sign.
    pub(super) fn find_authority(
        &self,
        view: &dyn Read,
        arn: &str,
        missing: ErrorShape,
    ) -> Result<Authority, Failure> {
        let found = match arn::authority_id(arn) {
            Some(id) => get::<Authority>(view, &authority_key(id))?,
            None => None,
        };
        let found = found.filter(|found| found.arn == arn);
        found.ok_or_else(|| missing.because(format!("there is no authority {arn}")).into())
    }

    /// A certificate for `names` and `key` by an authority; the first name is its subject.
    pub(super) fn issue(
        &self,
        authority: &Authority,
        names: &[String],
        key: &Key,
        now: u64,
        invalid: ErrorShape,
    ) -> Result<Issued, Failure> {
        let at = seconds(now);
        let status = authority.status(at);
        if status != "ACTIVE" {
            return Err(invalid.because(format!("the authority {} is {status}", authority.arn)).into());
        }
        let signer = signer(&self.vault, authority, invalid)?;
        let life = i64::try_from(self.life.as_secs()).unwrap_or(i64::MAX);
        // Nothing outlives who vouches for it.
        let not_after = at.saturating_add(life).min(authority.not_after);
        let grant = Grant {
            subject: Subject {
                common_name: names.first().filter(|name| name.len() <= 64).cloned(),
                ..Subject::default()
            },
            names: names.to_vec(),
            validity: Validity { not_before: at - BACKDATED, not_after },
            serial: serial(&self.surroundings.uuid()),
        };
        let der = signer.issue(&grant, key).map_err(|error| unsigned(&error, invalid))?;
        let facts = selvedge_identity::Certificate::read(&der)
            .map_err(|error| unsigned(&selvedge_identity::authority::Refused::Authority(error), invalid))?;
        tracing::info!(
            authority = authority.arn,
            certificate = name_of(&der),
            domain = names.first(),
            "issued a certificate"
        );
        let algorithm = authority.configuration.get("KeyAlgorithm").and_then(Value::as_str);
        let algorithm = algorithm.and_then(Algorithm::named).unwrap_or(Algorithm::P256);
        Ok(Issued {
            signature: algorithm.signature().to_owned(),
            certificate: pem::write("CERTIFICATE", &der),
            chain: format!("{}{}", authority.certificate, authority.chain),
            facts,
        })
    }

    /// When a certificate is to be renewed.
    pub(super) fn renewal(&self, facts: &selvedge_identity::Certificate) -> i64 {
        let draw = serial(&self.surroundings.uuid());
        let draw = draw.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        rotation::renewal(facts.not_before, facts.not_after, draw)
    }
}

/// An authority, ready to sign.
pub(super) fn signer(vault: &Vault, authority: &Authority, invalid: ErrorShape) -> Result<Signer, Failure> {
    let key = signer_key(vault, authority)?;
    let der = pem::section("CERTIFICATE", &authority.certificate)
        .ok_or_else(|| broken(authority, "it has no certificate"))?;
    Signer::open(&der, key).map_err(|error| unsigned(&error, invalid))
}

/// An authority's key, opened.
pub(super) fn signer_key(vault: &Vault, authority: &Authority) -> Result<Key, Failure> {
    let opened = zeroize::Zeroizing::new(vault.open(&authority_key(&authority.id), &authority.sealed)?);
    Key::of_der(&opened).map_err(|error| broken(authority, &error.to_string()))
}

fn broken(authority: &Authority, reason: &str) -> Failure {
    Failure::Store(selvedge_store::Error::Corrupt(format!("{}: {reason}", authority_key(&authority.id))))
}

/// The subject of a configuration.
pub(super) fn subject(configuration: &Value) -> Subject {
    let of = |member: &str| {
        let found = configuration.get("Subject").and_then(|subject| subject.get(member));
        found.and_then(Value::as_str).map(str::to_owned)
    };
    Subject {
        country: of("Country"),
        state: of("State"),
        locality: of("Locality"),
        organization: of("Organization"),
        organizational_unit: of("OrganizationalUnit"),
        common_name: of("CommonName"),
    }
}

pub(super) fn seconds(millis: u64) -> i64 {
    i64::try_from(millis / 1000).unwrap_or(i64::MAX)
}
