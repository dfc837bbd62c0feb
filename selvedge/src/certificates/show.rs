//! What there is: certificates, authorities, and a certificate with its key.

use std::path::PathBuf;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::change::read_file;
use super::{acm, all, arn_of, described, elements, pca, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;
use crate::output::{self, columns};

#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) call: CallArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct NamedArgs {
    /// Its ARN, the identifier at the end of one, or its domain
    pub(super) certificate: String,
    #[command(flatten)]
    pub(super) call: CallArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Its ARN, the identifier at the end of one, or its domain
    certificate: String,
    /// The file with the passphrase, of 4 to 128 bytes, behind which the key leaves; a final line feed does not count
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// Write to this file, which only its owner may read, instead of standard output
    #[arg(long, short, value_name = "FILE", conflicts_with = "output")]
    file: Option<PathBuf>,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn list(args: &ListArgs) -> Result<(), Failure> {
    let found = all(&args.call.client()?).await?;
    args.call.print(json!({ "CertificateSummaryList": found }), "Certificates", |found| {
        let rows: Vec<Vec<String>> = elements(found, "CertificateSummaryList").map(row).collect();
        if rows.is_empty() {
            return "no certificates\n".to_owned();
        }
        columns(&["DOMAIN", "STATUS", "TYPE", "ENDS", "IN USE", "ARN"], rows)
    })
}

fn row(one: &Value) -> Vec<String> {
    vec![
        text(one, "DomainName").to_owned(),
        text(one, "Status").to_lowercase(),
        text(one, "Type").to_lowercase(),
        day(&one["NotAfter"]),
        if one["InUse"] == true { "yes" } else { "no" }.to_owned(),
        text(one, "CertificateArn").to_owned(),
    ]
}

pub(super) async fn show(args: &NamedArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let found = described(&client, &arn_of(&client, &args.certificate).await?).await?;
    args.call.print(found, "Certificate", picture)
}

/// A certificate in full.
pub(super) fn picture(one: &Value) -> String {
    let all = |member: &str| elements(one, member).filter_map(Value::as_str).collect::<Vec<_>>().join(", ");
    let ends = format!("{} to {}", day(&one["NotBefore"]), day(&one["NotAfter"]));
    let renewal = match text(&one["RenewalSummary"], "RenewalStatus") {
        "" if text(one, "Type") == "IMPORTED" => "never: import the next one under this ARN".to_owned(),
        "" => "by itself, after two thirds of its life".to_owned(),
        "FAILED" => "failed the last time, and is tried again".to_owned(),
        _ => format!("by itself; the last time on {}", day(&one["RenewalSummary"]["UpdatedAt"])),
    };
    let users = all("InUseBy");
    let lines = [
        ("arn", text(one, "CertificateArn").to_owned()),
        ("status", text(one, "Status").to_lowercase()),
        ("names", all("SubjectAlternativeNames")),
        ("valid", ends),
        ("renewed", renewal),
        ("key", text(one, "KeyAlgorithm").to_owned()),
        ("serial", text(one, "Serial").to_owned()),
        ("issuer", text(one, "Issuer").to_owned()),
        ("authority", text(one, "CertificateAuthorityArn").to_owned()),
        ("in use by", if users.is_empty() { "nobody".to_owned() } else { users }),
    ];
    let lines = lines.iter().filter(|(_, said)| !said.is_empty());
    lines.map(|(what, said)| format!("{what:<10} {said}\n")).collect()
}

pub(super) async fn export(args: &ExportArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let passphrase = read_file(&args.passphrase_file)?;
    let word = passphrase.strip_suffix(b"\n").unwrap_or(&passphrase);
    let arn = arn_of(&client, &args.certificate).await?;
    let asked = json!({ "CertificateArn": arn, "Passphrase": BASE64_STANDARD.encode(word) });
    let found = acm(&client, "ExportCertificate", &asked).await?;
    let pem = |found: &Value| {
        ["Certificate", "CertificateChain", "PrivateKey"].map(|member| text(found, member)).concat()
    };
    match &args.file {
        None => args.call.print(found, "Certificate", pem),
        Some(file) => {
            write_own(file, pem(&found).as_bytes())
                .map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
            Ok(output::emit(&format!("{arn} is in {}\n", file.display()))?)
        }
    }
}

/// Writes a file that nobody else may read; one that is there already is left alone.
fn write_own(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

pub(super) async fn authorities(args: &ListArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut input = json!({ "MaxResults": 1000 });
        if !token.is_null() {
            input["NextToken"] = token;
        }
        let page = pca(&client, "ListCertificateAuthorities", &input).await?;
        found.extend(elements(&page, "CertificateAuthorities").cloned());
        token = page["NextToken"].clone();
        if token.is_null() {
            break;
        }
    }
    args.call.print(json!({ "CertificateAuthorities": found }), "Authorities", |found| {
        let rows: Vec<Vec<String>> = elements(found, "CertificateAuthorities").map(authority).collect();
        if rows.is_empty() {
            return "no authorities; the mesh's own is made with the first certificate\n".to_owned();
        }
        columns(&["NAME", "TYPE", "STATUS", "ENDS", "LISTS", "ARN"], rows)
    })
}

fn authority(one: &Value) -> Vec<String> {
    let configuration = &one["CertificateAuthorityConfiguration"];
    let subject = &configuration["Subject"];
    let name = subject["CommonName"].as_str().or_else(|| subject["Organization"].as_str());
    let lists = one["RevocationConfiguration"]["CrlConfiguration"]["Enabled"] == true;
    vec![
        name.unwrap_or_default().to_owned(),
        text(one, "Type").to_lowercase(),
        text(one, "Status").to_lowercase(),
        day(&one["NotAfter"]),
        if lists { "always" } else { "when needed" }.to_owned(),
        text(one, "Arn").to_owned(),
    ]
}

/// The day of a moment in seconds since the Unix epoch: `06 Nov 1994`; `-` when there is none.
fn day(moment: &Value) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a moment's fraction is of no interest"
    )]
    let seconds = moment.as_u64().or_else(|| moment.as_f64().map(|seconds| seconds as u64));
    let Some(seconds) = seconds else { return "-".to_owned() };
    let written = selvedge_http::date::imf_fixdate(seconds);
    String::from_utf8_lossy(written.get(5..16).unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_in_whole_and_broken_seconds() {
        for (moment, read) in
            [(json!(784_111_777), "06 Nov 1994"), (json!(784_111_777.5), "06 Nov 1994"), (Value::Null, "-")]
        {
            assert_eq!(day(&moment), read, "{moment}");
        }
    }

    #[test]
    fn a_picture_says_who_replaces_a_certificate() {
        let mut one =
            json!({ "CertificateArn": "arn", "Status": "ISSUED", "Type": "IMPORTED", "InUseBy": [] });
        assert!(picture(&one).contains("renewed    never: import the next one"), "{}", picture(&one));
        assert!(picture(&one).contains("in use by  nobody\n") && !picture(&one).contains("authority"));
        one["Type"] = "PRIVATE".into();
        assert!(picture(&one).contains("by itself, after two thirds"), "{}", picture(&one));
    }
}
