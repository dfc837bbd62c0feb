//! `selvedge certificates`: the mesh's certificates from the command line.

mod change;
mod show;

use selvedge_aws::Service;
use selvedge_aws::operations::{acm, acm_pca, find_in};
use selvedge_client::Client;
use serde_json::{Value, json};

use crate::exit::Failure;

/// The mesh's certificates: list, show, request, import, export, renew, revoke, delete, authorities
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "certs",
    after_help = "Examples:
  selvedge certificates request orders.shop.local --name '*.orders.shop.local'
  selvedge certificates list
  selvedge certificates show orders.shop.local
  selvedge certificates import --certificate web.pem --key web.key --chain chain.pem
  selvedge certificates export orders.shop.local --passphrase-file word --file orders.pem
  selvedge certificates revoke orders.shop.local --renew     a next key first, then nobody believes this one
  selvedge certificates authorities

A certificate is its ARN, the identifier at the end of one, or its domain if only one has it. What is issued here renews
itself and keeps its ARN, which is what specifications name. Authorities are made with `aws acm-pca`.

Exit codes: 0 done; 1 no server answers; 2 the command line is wrong; 254 the server refused."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: CertificatesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CertificatesCommand {
    /// Every certificate: how it stands, when it ends, whether it is in use
    List(show::ListArgs),
    /// One certificate in full, with who uses it
    Show(show::NamedArgs),
    /// Have one issued; it renews itself
    Request(change::RequestArgs),
    /// Keep one that somebody else issued, or its next one
    Import(change::ImportArgs),
    /// A certificate, its chain and its key behind a passphrase, PEM
    Export(show::ExportArgs),
    /// Replace one by a fresh one, at once
    Renew(show::NamedArgs),
    /// Take one back: proxies turn away whoever shows it
    Revoke(change::RevokeArgs),
    /// Delete one that nobody uses
    Delete(show::NamedArgs),
    /// The authorities that sign
    Authorities(show::ListArgs),
}

/// Does what was asked for.
///
/// # Errors
/// [`Failure`], which knows the exit code.
pub(crate) async fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        CertificatesCommand::List(args) => show::list(args).await,
        CertificatesCommand::Show(args) => show::show(args).await,
        CertificatesCommand::Request(args) => change::request(args).await,
        CertificatesCommand::Import(args) => change::import(args).await,
        CertificatesCommand::Export(args) => show::export(args).await,
        CertificatesCommand::Renew(args) => change::renew(args).await,
        CertificatesCommand::Revoke(args) => change::revoke(args).await,
        CertificatesCommand::Delete(args) => change::delete(args).await,
        CertificatesCommand::Authorities(args) => show::authorities(args).await,
    }
}

/// Calls AWS Certificate Manager.
async fn acm(client: &Client, operation: &str, input: &Value) -> Result<Value, Failure> {
    call(client, &acm::SERVICE, operation, input).await
}

/// Calls AWS Private CA.
async fn pca(client: &Client, operation: &str, input: &Value) -> Result<Value, Failure> {
    call(client, &acm_pca::SERVICE, operation, input).await
}

async fn call(client: &Client, service: &Service, operation: &str, input: &Value) -> Result<Value, Failure> {
    let operation = find_in(service, operation).expect("the operation is in the table");
    Ok(client.call_json(service, operation, input).await?)
}

/// Every certificate, as `ListCertificates` has them, by their domains.
async fn all(client: &Client) -> Result<Vec<Value>, Failure> {
    let (mut found, mut token) = (Vec::new(), Value::Null);
    loop {
        let mut input = json!({ "MaxItems": 1000 });
        if !token.is_null() {
            input["NextToken"] = token;
        }
        let page = acm(client, "ListCertificates", &input).await?;
        found.extend(elements(&page, "CertificateSummaryList").cloned());
        token = page["NextToken"].clone();
        if token.is_null() {
            found.sort_by(|one: &Value, other| text(one, "DomainName").cmp(text(other, "DomainName")));
            return Ok(found);
        }
    }
}

/// The ARN of a certificate that somebody names.
async fn arn_of(client: &Client, name: &str) -> Result<String, Failure> {
    if name.starts_with("arn:") {
        return Ok(name.to_owned());
    }
    let all = all(client).await?;
    named(&all, name)
}

fn named(all: &[Value], name: &str) -> Result<String, Failure> {
    let end = format!("/{name}");
    let fits = |one: &&Value| text(one, "DomainName") == name || text(one, "CertificateArn").ends_with(&end);
    let found: Vec<&str> = all.iter().filter(fits).map(|one| text(one, "CertificateArn")).collect();
    match found.as_slice() {
        [] => Err(Failure::Refused(format!(
            "there is no certificate {name}; `selvedge certificates list` shows them"
        ))),
        [one] => Ok((*one).to_owned()),
        several => Err(Failure::Usage(format!(
            "several certificates are of {name}; name one by its ARN: {}",
            several.join(", ")
        ))),
    }
}

/// A certificate in full.
async fn described(client: &Client, arn: &str) -> Result<Value, Failure> {
    let found = acm(client, "DescribeCertificate", &json!({ "CertificateArn": arn })).await?;
    Ok(found["Certificate"].clone())
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}

fn elements<'v>(value: &'v Value, member: &str) -> impl Iterator<Item = &'v Value> {
    value.get(member).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_by_its_domain_or_the_end_of_its_arn() {
        let one = |domain: &str, id: &str| json!({ "DomainName": domain, "CertificateArn": format!("arn:aws:acm:eu-west-1:1:certificate/{id}") });
        let all = [one("a.local", "1f"), one("b.local", "2f"), one("b.local", "3f")];
        let arn = |id: &str| format!("arn:aws:acm:eu-west-1:1:certificate/{id}");
        assert_eq!(named(&all, "a.local").ok(), Some(arn("1f")));
        assert_eq!(named(&all, "3f").ok(), Some(arn("3f")));
        assert!(matches!(named(&all, "f"), Err(Failure::Refused(_))), "an end is a whole identifier");
        match named(&all, "b.local") {
            Err(Failure::Usage(said)) => {
                assert!(said.contains(&arn("2f")) && said.contains(&arn("3f")), "{said}")
            }
            other => panic!("{other:?}"),
        }
    }
}
