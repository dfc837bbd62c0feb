//! What was found at the listeners, for people and for programs.

use std::fmt::Write as _;

use selvedge_identity::Certificate;
use serde_json::{Value, json};

use super::super::names::{covers, date};
use super::handshake::Agreed;
use super::{Found, Look};

/// The columns of a handshake.
const COLUMNS: [&str; 8] = [
    "asked for",
    "version",
    "cipher",
    "group",
    "protocol",
    "certificate of",
    "until",
    "issuer's word (OCSP)",
];

impl Look {
    /// A line, and a table for TLS; `now` is in seconds since 1970.
    pub(in crate::edge) fn text(&self, now: i64) -> String {
        let listener = &self.listener;
        match &self.found {
            Found::Nothing(why) => format!("{listener}: failed: {why}\n"),
            Found::Plain => format!("{listener}: answers, without TLS\n"),
            Found::Tls(names) => {
                let mut rows = vec![COLUMNS.map(str::to_owned)];
                let mut failed = String::new();
                for (name, agreed) in names {
                    let asked = name.as_deref().unwrap_or("no name");
                    match agreed {
                        Ok(agreed) => rows.push(row(asked, name.as_deref(), agreed, now)),
                        Err(why) => drop(writeln!(failed, "  {asked}: failed: {why}")),
                    }
                }
                let word = if failed.is_empty() { "answers, with TLS" } else { "failed" };
                format!(
                    "{listener}: {word}\n{}{failed}",
                    if rows.len() > 1 { table(&rows) } else { String::new() }
                )
            }
        }
    }

    /// The same for programs.
    pub(in crate::edge) fn json(&self, now: i64) -> Value {
        let names = match &self.found {
            Found::Tls(names) => names.as_slice(),
            _ => &[],
        };
        let failed = match &self.found {
            Found::Nothing(why) => Some(why),
            _ => None,
        };
        let handshakes = names.iter().map(|(name, agreed)| match agreed {
            Ok(agreed) => of_handshake(name.as_deref(), agreed, now),
            Err(why) => json!({ "name": name, "failed": why }),
        });
        json!({
            "listener": self.listener, "serves": self.serves(now), "failed": failed,
            "tls": matches!(self.found, Found::Tls(_)), "handshakes": handshakes.collect::<Vec<_>>(),
        })
    }
}

fn of_handshake(name: Option<&str>, agreed: &Agreed, now: i64) -> Value {
    let certificate = agreed.certificate.as_ref().map(|one| {
        json!({
            "names": one.names.dns, "subject": one.subject, "issuer": one.issuer, "notBefore": one.not_before,
            "notAfter": one.not_after, "daysLeft": one.days_left(now),
            "fits": name.map(|name| covers(one, name)),
        })
    });
    json!({
        "name": name, "version": agreed.version, "cipher": agreed.cipher, "group": agreed.group,
        "alpn": agreed.alpn, "stapled": agreed.stapled, "certificate": certificate,
    })
}

fn row(asked: &str, name: Option<&str>, agreed: &Agreed, now: i64) -> [String; 8] {
    let certificate = agreed.certificate.as_ref();
    let until = certificate.map_or_else(String::new, |one| match one.not_after < now {
        true => format!("{}: it has ended", date(one.not_after)),
        false => format!("{} ({} days)", date(one.not_after), one.days_left(now)),
    });
    [
        asked.to_owned(),
        agreed.version.clone(),
        agreed.cipher.clone(),
        agreed.group.clone(),
        agreed.alpn.clone().unwrap_or_else(|| "none".to_owned()),
        certificate.map_or_else(|| "none".to_owned(), |one| whose(one, name)),
        until,
        if agreed.stapled { "with it" } else { "without it" }.to_owned(),
    ]
}

/// Whose certificate it is, and whether it is that of who was asked for.
fn whose(certificate: &Certificate, name: Option<&str>) -> String {
    let mut names = certificate.names.dns.clone();
    names.extend(certificate.names.ips.iter().map(ToString::to_string));
    names.dedup();
    let named = if names.is_empty() { certificate.subject.clone() } else { names.join(" ") };
    match name.is_some_and(|name| !covers(certificate, name)) {
        true => format!("{named}: another name"),
        false => named,
    }
}

/// Rows in columns, two spaces apart.
fn table(rows: &[[String; 8]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(out, "  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    out
}
