//! What a Task state calls.

/// A resource ARN, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Resource {
    /// A function, by its ARN.
    Lambda(Box<str>),
    /// An activity, by its ARN: a worker of somebody's asks for the task.
    Activity(Box<str>),
    /// `arn:aws:states:::<service>:<action>[.<pattern>]`; or the ARN of an App Mesh virtual service, which is the action of the
    /// service `mesh`.
    Service {
        /// `sqs`, `http`, `aws-sdk:s3`, …
        service: Box<str>,
        /// `sendMessage`, without the pattern.
        action: Box<str>,
        /// How long the task lasts.
        pattern: Pattern,
    },
}

/// When a service integration is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Pattern {
    /// When the call has been answered.
    Response,
    /// `.sync`: when the job that it started has ended.
    Sync,
    /// `.sync:2`: the same, with the job's output as JSON.
    Sync2,
    /// `.waitForTaskToken`: when somebody has sent the token back.
    TaskToken,
}

impl Resource {
    /// Takes an ARN apart; none for what is no ARN of a task.
    pub fn parse(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        if parts.next() != Some("arn") {
            return None;
        }
        let (_partition, service, _region, _account, rest) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        match service {
            "lambda" if rest.starts_with("function:") => Some(Self::Lambda(arn.into())),
            "states" if rest.strip_prefix("activity:").is_some_and(|name| !name.is_empty()) => {
                Some(Self::Activity(arn.into()))
            }
            "states" => Self::integration(rest),
            // A service of the mesh, by its virtual service.
            "appmesh" if rest.starts_with("mesh/") && rest.contains("/virtualService/") => {
                Some(Self::Service { service: "mesh".into(), action: arn.into(), pattern: Pattern::Response })
            }
            _ => None,
        }
    }

    fn integration(text: &str) -> Option<Self> {
        let (text, pattern) = if let Some(text) = text.strip_suffix(".waitForTaskToken") {
            (text, Pattern::TaskToken)
        } else if let Some(text) = text.strip_suffix(".sync:2") {
            (text, Pattern::Sync2)
        } else if let Some(text) = text.strip_suffix(".sync") {
            (text, Pattern::Sync)
        } else {
            (text, Pattern::Response)
        };
        let (service, action) = text.rsplit_once(':')?;
        let valid = |part: &str| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_:".contains(&b))
        };
        (valid(service) && valid(action)).then(|| Self::Service {
            service: service.into(),
            action: action.into(),
            pattern,
        })
    }

    /// Whether the service knows this pattern: none of those that are named here has jobs that somebody could wait for, but for
    /// executions. What other services have is not known here.
    pub fn is_offered(&self) -> bool {
        const WITHOUT_JOBS: [&str; 10] =
            ["lambda", "sqs", "sns", "events", "dynamodb", "http", "mesh", "approval", "policy", "blob"];
        let Self::Service { service, action, pattern } = self else { return true };
        let has_none = || WITHOUT_JOBS.contains(&&**service) || service.starts_with("aws-sdk:");
        match pattern {
            Pattern::Response | Pattern::TaskToken => true,
            Pattern::Sync => !has_none(),
            // One integration has it.
            Pattern::Sync2 => &**service == "states" && &**action == "startExecution",
        }
    }

    /// As the history's `resource` has it: the ARN, or the action with its pattern.
    pub fn name(&self) -> String {
        match self {
            Self::Lambda(arn) | Self::Activity(arn) => arn.to_string(),
            Self::Service { action, pattern, .. } => format!("{action}{}", pattern.suffix()),
        }
    }

    /// Whether somebody else than the called one answers, by a token.
    pub fn has_token(&self) -> bool {
        matches!(self, Self::Activity(_) | Self::Service { pattern: Pattern::TaskToken, .. })
    }

    /// What it waits for after its call was answered, where it does: no express execution can.
    pub fn waits_for(&self) -> Option<&'static str> {
        match self {
            Self::Lambda(_) => None,
            Self::Activity(_) => Some("activity"),
            Self::Service { pattern, .. } => match pattern {
                Pattern::Response => None,
                Pattern::Sync | Pattern::Sync2 => Some(".sync"),
                Pattern::TaskToken => Some(".waitForTaskToken"),
            },
        }
    }

    /// Whether a worker may send heartbeats.
    pub fn has_heartbeat(&self) -> bool {
        match self {
            Self::Lambda(_) => false,
            Self::Activity(_) => true,
            Self::Service { pattern, .. } => *pattern != Pattern::Response,
        }
    }
}

impl Pattern {
    /// What stands behind the action.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Response => "",
            Self::Sync => ".sync",
            Self::Sync2 => ".sync:2",
            Self::TaskToken => ".waitForTaskToken",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_jobs_has_the_patterns_that_wait_for_them() {
        for (text, expected) in [
            ("states:startExecution.sync", true),
            ("states:startExecution.sync:2", true),
            ("ecs:runTask.sync", true),
            ("ecs:runTask.sync:2", false),
            ("sqs:sendMessage.sync", false),
            ("lambda:invoke.sync", false),
            ("aws-sdk:sfn:startExecution.sync", false),
            ("sqs:sendMessage.waitForTaskToken", true),
        ] {
            let resource = Resource::parse(&format!("arn:aws:states:::{text}")).unwrap();
            assert_eq!(resource.is_offered(), expected, "{text}");
        }
    }

    #[test]
    fn arns_are_taken_apart() {
        let service = |service: &str, action: &str, pattern| {
            Some(Resource::Service { service: service.into(), action: action.into(), pattern })
        };
        for (arn, expected) in [
            (
                "arn:aws:states:::sqs:sendMessage.waitForTaskToken",
                service("sqs", "sendMessage", Pattern::TaskToken),
            ),
            ("arn:aws:states:::aws-sdk:s3:getObject", service("aws-sdk:s3", "getObject", Pattern::Response)),
            (
                "arn:aws:states:::states:startExecution.sync:2",
                service("states", "startExecution", Pattern::Sync2),
            ),
            ("arn:aws-cn:states:::http:invoke", service("http", "invoke", Pattern::Response)),
            (
                "arn:aws:lambda:eu-west-1:1:function:f:live",
                Some(Resource::Lambda("arn:aws:lambda:eu-west-1:1:function:f:live".into())),
            ),
            (
                "arn:aws:states:r:1:activity:a",
                Some(Resource::Activity("arn:aws:states:r:1:activity:a".into())),
            ),
            (
                "arn:aws:appmesh:eu-west-1:1:mesh/m/virtualService/a.b",
                service("mesh", "arn:aws:appmesh:eu-west-1:1:mesh/m/virtualService/a.b", Pattern::Response),
            ),
            ("arn:aws:appmesh:eu-west-1:1:mesh/m/virtualNode/a", None),
            ("arn:aws:states:r:1:activity:", None),
            ("arn:aws:states:::", None),
            ("arn:aws:s3:::bucket", None),
            ("", None),
            ("arn:aws:states", None),
        ] {
            assert_eq!(Resource::parse(arn), expected, "{arn}");
        }
    }
}
