//! Where services are: `AWS_ENDPOINT_URL_SERVICE`, `AWS_ENDPOINT_URL`, or AWS's own.

use std::collections::HashMap;

use http::Uri;
use selvedge_aws::remote::Remote;
use selvedge_aws::sigv4::Credentials;
use selvedge_outbound::Trust;

use super::credentials::Source;

/// The account that services are called with, and where they are.
pub(crate) struct Account {
    environment: HashMap<String, String>,
    source: Source,
}

/// Where a request goes.
pub(super) struct Place {
    pub(super) scheme: String,
    pub(super) authority: String,
    /// What stands before the path.
    pub(super) base: String,
    pub(super) trust: Trust,
}

impl Account {
    pub(crate) fn new(environment: HashMap<String, String>) -> Self {
        Self { source: Source::new(&environment), environment }
    }

    pub(super) fn credentials(&self) -> Result<Credentials, String> {
        self.source.current()
    }

    /// The place of a service, or of a bucket: before the host's name at AWS, in the path elsewhere.
    pub(super) fn place(&self, remote: &Remote, region: &str, bucket: Option<&str>) -> Result<Place, String> {
        let variable = format!("AWS_ENDPOINT_URL_{}", remote.variable);
        let given = [variable.as_str(), "AWS_ENDPOINT_URL"]
            .iter()
            .find_map(|name| Some((*name, self.environment.get(*name).filter(|url| !url.is_empty())?)));
        let encoded = |bucket: &str| super::super::http::encoded(bucket);
        let Some((name, url)) = given else {
            let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
            let host = format!("{}.{region}.{suffix}", remote.host);
            // A name with dots fits no certificate of AWS's.
            let (authority, base) = match bucket {
                Some(bucket) if is_label(bucket) => (format!("{bucket}.{host}"), String::new()),
                Some(bucket) => (host, format!("/{}", encoded(bucket))),
                None => (host, String::new()),
            };
            return Ok(Place { scheme: "https".into(), authority, base, trust: Trust::Guarded });
        };
        let uri: Uri = url.parse().map_err(|_| format!("{name} is no URL"))?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(format!("{name} is no URL"));
        };
        let mut base = uri.path().trim_end_matches('/').to_owned();
        if let Some(bucket) = bucket {
            base.push('/');
            base.push_str(&encoded(bucket));
        }
        // The operator named it, so it may be anywhere.
        Ok(Place {
            scheme: scheme.to_owned(),
            authority: authority.to_string(),
            base,
            trust: Trust::Operator,
        })
    }
}

fn is_label(bucket: &str) -> bool {
    !bucket.is_empty()
        && bucket.len() <= 63
        && bucket.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use selvedge_aws::remote;

    use super::*;

    fn place(environment: &[(&str, &str)], service: &str, region: &str, bucket: Option<&str>) -> String {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let account = Account::new(environment.collect());
        let place = account.place(remote::find(service).unwrap(), region, bucket).unwrap();
        format!("{}://{}{} {:?}", place.scheme, place.authority, place.base, place.trust)
    }

    #[test]
    fn services_are_where_the_environment_says() {
        let both =
            [("AWS_ENDPOINT_URL", "http://127.0.0.1:4566/"), ("AWS_ENDPOINT_URL_SQS", "http://queues:9324")];
        for (environment, service, bucket, expected) in [
            (&both[..], "sqs", None, "http://queues:9324 Operator"),
            (&both[..], "secretsmanager", None, "http://127.0.0.1:4566 Operator"),
            (&both[..], "s3", Some("b.c"), "http://127.0.0.1:4566/b.c Operator"),
            (&[][..], "eventbridge", None, "https://events.eu-west-1.amazonaws.com Guarded"),
            (&[][..], "s3", Some("bucket"), "https://bucket.s3.eu-west-1.amazonaws.com Guarded"),
            (
                &[][..],
                "s3",
                Some("evil.example/x"),
                "https://s3.eu-west-1.amazonaws.com/evil.example%2Fx Guarded",
            ),
        ] {
            assert_eq!(place(environment, service, "eu-west-1", bucket), expected);
        }
        assert_eq!(place(&[], "sqs", "cn-north-1", None), "https://sqs.cn-north-1.amazonaws.com.cn Guarded");
    }
}
