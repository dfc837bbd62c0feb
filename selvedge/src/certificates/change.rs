//! What changes certificates: request, import, renew, revoke, delete.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::show::{NamedArgs, picture};
use super::{acm, arn_of, described, pca, text};
use crate::command::call::CallArgs;
use crate::exit::Failure;

/// Bytes of a file with certificates, a key or a passphrase; the server takes fewer.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct RequestArgs {
    /// The domain that it is for; its first label may be an asterisk
    domain: String,
    /// Another name that it has; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// The authority that signs; else the mesh's own, which is made if there is none
    #[arg(long, value_name = "ARN")]
    authority: Option<String>,
    /// Its key: EC_prime256v1, EC_secp384r1, RSA_2048, RSA_3072 or RSA_4096
    #[arg(long, value_name = "ALGORITHM", default_value = "EC_prime256v1")]
    key: String,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    /// The certificate, PEM
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its key, PEM, not encrypted
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Who vouches for it, PEM, from the one that signed it upwards
    #[arg(long, value_name = "FILE")]
    chain: Option<PathBuf>,
    /// The imported one that it replaces, under the same ARN
    #[arg(long, value_name = "CERTIFICATE")]
    replace: Option<String>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Debug, clap::Args)]
pub(super) struct RevokeArgs {
    /// Its ARN, the identifier at the end of one, or its domain; with --authority a serial number
    certificate: String,
    /// Renew it first, and take back the one that it replaces: nobody is cut off
    #[arg(long, conflicts_with = "authority")]
    renew: bool,
    /// The authority that signed the certificate of this serial number
    #[arg(long, value_name = "ARN")]
    authority: Option<String>,
    /// Why: UNSPECIFIED, KEY_COMPROMISE, SUPERSEDED, CESSATION_OF_OPERATION, …
    #[arg(long, value_name = "REASON", default_value = "UNSPECIFIED")]
    reason: String,
    #[command(flatten)]
    call: CallArgs,
}

pub(super) async fn request(args: &RequestArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let mut asked = json!({ "DomainName": args.domain, "KeyAlgorithm": args.key });
    if !args.names.is_empty() {
        asked["SubjectAlternativeNames"] = args.names.clone().into();
    }
    if let Some(authority) = &args.authority {
        asked["CertificateAuthorityArn"] = authority.clone().into();
    }
    let made = acm(&client, "RequestCertificate", &asked).await?;
    args.call.print(described(&client, text(&made, "CertificateArn")).await?, "Certificate", picture)
}

pub(super) async fn import(args: &ImportArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let encoded = |path: &Path| read_file(path).map(|bytes| Value::from(BASE64_STANDARD.encode(bytes)));
    let mut given = json!({ "Certificate": encoded(&args.certificate)?, "PrivateKey": encoded(&args.key)? });
    if let Some(chain) = &args.chain {
        given["CertificateChain"] = encoded(chain)?;
    }
    if let Some(before) = &args.replace {
        given["CertificateArn"] = arn_of(&client, before).await?.into();
    }
    let made = acm(&client, "ImportCertificate", &given).await?;
    args.call.print(described(&client, text(&made, "CertificateArn")).await?, "Certificate", picture)
}

pub(super) async fn renew(args: &NamedArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let arn = arn_of(&client, &args.certificate).await?;
    acm(&client, "RenewCertificate", &json!({ "CertificateArn": arn })).await?;
    args.call.print(described(&client, &arn).await?, "Certificate", picture)
}

pub(super) async fn revoke(args: &RevokeArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let (authority, serial) = match &args.authority {
        Some(authority) => (authority.clone(), args.certificate.clone()),
        None => {
            let arn = arn_of(&client, &args.certificate).await?;
            let found = described(&client, &arn).await?;
            let authority = text(&found, "CertificateAuthorityArn").to_owned();
            if authority.is_empty() {
                return Err(Failure::Refused(format!(
                    "{arn} was imported: whoever issued it takes it back; delete it here"
                )));
            }
            if args.renew {
                acm(&client, "RenewCertificate", &json!({ "CertificateArn": arn })).await?;
            }
            (authority, text(&found, "Serial").to_owned())
        }
    };
    let asked = json!({ "CertificateAuthorityArn": authority, "CertificateSerial": serial,
        "RevocationReason": args.reason });
    pca(&client, "RevokeCertificate", &asked).await?;
    args.call.print(asked, "Revoked", |_| {
        format!("{serial} is taken back; proxies that believe {authority} are told\n")
    })
}

pub(super) async fn delete(args: &NamedArgs) -> Result<(), Failure> {
    let client = args.call.client()?;
    let arn = arn_of(&client, &args.certificate).await?;
    let named = json!({ "CertificateArn": arn });
    acm(&client, "DeleteCertificate", &named).await?;
    args.call.print(named, "Certificate", |_| format!("{arn} is deleted\n"))
}

/// A file's bytes; `-` is standard input. One that is too long is refused.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin().take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes),
        false => {
            std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        }
    };
    read.map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Failure::Usage(format!("{}: it is longer than {FILE_BYTES_MAX} bytes", path.display())));
    }
    Ok(bytes)
}
