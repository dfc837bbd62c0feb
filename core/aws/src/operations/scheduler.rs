//! EventBridge Scheduler's operations on schedules and their groups, of its public model 2021-06-30.
//!
//! By hand, because of a few of its members only: targets are state machines. Members that travel in the query string have the
//! names by which they travel there.

use selvedge_model::{Bounds, Form, Member, Pattern, Presence, Shape};

use super::patterns;
use crate::error::ErrorShape;
use crate::operations::{Operation, Pagination};
use crate::service::Service;

/// EventBridge Scheduler.
pub static SERVICE: Service = Service {
    name: "scheduler",
    aliases: &[],
    target_prefix: "AWSScheduler",
    version: "2021-06-30",
    is_rest: true,
    operations: OPERATIONS,
    bad_request: VALIDATION_EXCEPTION,
    internal: INTERNAL_SERVER_EXCEPTION,
};

pub const CONFLICT_EXCEPTION: ErrorShape = ErrorShape { code: "ConflictException", status: 409 };
pub const INTERNAL_SERVER_EXCEPTION: ErrorShape = ErrorShape { code: "InternalServerException", status: 500 };
pub const RESOURCE_NOT_FOUND_EXCEPTION: ErrorShape =
    ErrorShape { code: "ResourceNotFoundException", status: 404 };
pub const SERVICE_QUOTA_EXCEEDED_EXCEPTION: ErrorShape =
    ErrorShape { code: "ServiceQuotaExceededException", status: 402 };
pub const THROTTLING_EXCEPTION: ErrorShape = ErrorShape { code: "ThrottlingException", status: 429 };
pub const VALIDATION_EXCEPTION: ErrorShape = ErrorShape { code: "ValidationException", status: 400 };

const ERRORS: &[ErrorShape] = &[
    CONFLICT_EXCEPTION,
    INTERNAL_SERVER_EXCEPTION,
    RESOURCE_NOT_FOUND_EXCEPTION,
    SERVICE_QUOTA_EXCEEDED_EXCEPTION,
    THROTTLING_EXCEPTION,
    VALIDATION_EXCEPTION,
];

const fn text(min: i64, max: i64) -> Shape {
    Shape { name: "", form: Form::String { length: Bounds::between(min, max), pattern: None } }
}

const fn number(min: i64, max: i64) -> Shape {
    Shape { name: "", form: Form::Integer { range: Bounds::between(min, max) } }
}

const fn structure(name: &'static str, members: &'static [Member]) -> Shape {
    Shape { name, form: Form::Structure { members } }
}

const fn needed(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, presence: Presence::Required, shape, doc: "" }
}

const fn optional(name: &'static str, shape: &'static Shape) -> Member {
    Member { name, presence: Presence::Optional, shape, doc: "" }
}

static NAME: Shape = Shape {
    name: "Name",
    form: Form::String {
        length: Bounds::between(1, 64),
        pattern: Some(Pattern { text: "[0-9a-zA-Z-_.]+", matches: patterns::is_schedule_name }),
    },
};
static CLIENT_TOKEN: Shape = text(1, 64);
static ARN: Shape = text(1, 1224);
static EXPRESSION: Shape = text(1, 256);
static TIMEZONE: Shape = text(1, 50);
static DESCRIPTION: Shape = text(0, 512);
static KMS_KEY_ARN: Shape = text(1, 2048);
static TARGET_ARN: Shape = text(1, 1600);
static INPUT: Shape =
    Shape { name: "TargetInput", form: Form::String { length: Bounds::at_least(1), pattern: None } };
static TOKEN: Shape = text(1, 2048);
static PAGE: Shape = number(1, 100);
static TIMESTAMP: Shape = Shape { name: "Timestamp", form: Form::Timestamp };
static STATE: Shape = Shape { name: "ScheduleState", form: Form::Enum { values: &["ENABLED", "DISABLED"] } };
static GROUP_STATE: Shape =
    Shape { name: "ScheduleGroupState", form: Form::Enum { values: &["ACTIVE", "DELETING"] } };
static AFTER: Shape =
    Shape { name: "ActionAfterCompletion", form: Form::Enum { values: &["NONE", "DELETE"] } };
static WINDOW_MODE: Shape =
    Shape { name: "FlexibleTimeWindowMode", form: Form::Enum { values: &["OFF", "FLEXIBLE"] } };
static WINDOW_MINUTES: Shape = number(1, 1440);
static WINDOW: Shape = structure(
    "FlexibleTimeWindow",
    &[needed("Mode", &WINDOW_MODE), optional("MaximumWindowInMinutes", &WINDOW_MINUTES)],
);
static EVENT_AGE: Shape = number(60, 86_400);
static ATTEMPTS: Shape = number(0, 185);
static RETRY_POLICY: Shape = structure(
    "RetryPolicy",
    &[optional("MaximumEventAgeInSeconds", &EVENT_AGE), optional("MaximumRetryAttempts", &ATTEMPTS)],
);
static DEAD_LETTERS: Shape = structure("DeadLetterConfig", &[optional("Arn", &TARGET_ARN)]);
static TARGET: Shape = structure(
    "Target",
    &[
        needed("Arn", &TARGET_ARN),
        needed("RoleArn", &TARGET_ARN),
        optional("DeadLetterConfig", &DEAD_LETTERS),
        optional("RetryPolicy", &RETRY_POLICY),
        optional("Input", &INPUT),
    ],
);
static TARGET_SUMMARY: Shape = structure("TargetSummary", &[needed("Arn", &TARGET_ARN)]);
static TAG_KEY: Shape = text(1, 128);
static TAG_VALUE: Shape = text(1, 256);
static TAG: Shape = structure("Tag", &[needed("Key", &TAG_KEY), needed("Value", &TAG_VALUE)]);
static TAGS: Shape =
    Shape { name: "TagList", form: Form::List { element: &TAG, length: Bounds::between(0, 200) } };
static TAG_KEYS: Shape =
    Shape { name: "TagKeyList", form: Form::List { element: &TAG_KEY, length: Bounds::between(0, 200) } };
static TAGGED_ARN: Shape = text(1, 1011);
static TAGGED: Shape =
    structure("TagResourceInput", &[needed("ResourceArn", &TAGGED_ARN), needed("Tags", &TAGS)]);
static UNTAGGED: Shape =
    structure("UntagResourceInput", &[needed("ResourceArn", &TAGGED_ARN), needed("TagKeys", &TAG_KEYS)]);
static TAGS_WANTED: Shape = structure("ListTagsForResourceInput", &[needed("ResourceArn", &TAGGED_ARN)]);
static TAGS_LISTED: Shape = structure("ListTagsForResourceOutput", &[optional("Tags", &TAGS)]);

static SCHEDULE: Shape = structure(
    "CreateScheduleInput",
    &[
        needed("Name", &NAME),
        optional("GroupName", &NAME),
        needed("ScheduleExpression", &EXPRESSION),
        optional("StartDate", &TIMESTAMP),
        optional("EndDate", &TIMESTAMP),
        optional("Description", &DESCRIPTION),
        optional("ScheduleExpressionTimezone", &TIMEZONE),
        optional("State", &STATE),
        optional("KmsKeyArn", &KMS_KEY_ARN),
        needed("Target", &TARGET),
        needed("FlexibleTimeWindow", &WINDOW),
        optional("ClientToken", &CLIENT_TOKEN),
        optional("ActionAfterCompletion", &AFTER),
    ],
);
static SCHEDULE_ARN: Shape = structure("CreateScheduleOutput", &[needed("ScheduleArn", &ARN)]);
static NAMED: Shape = structure("GetScheduleInput", &[needed("Name", &NAME), optional("groupName", &NAME)]);
static NAMED_ONCE: Shape = structure(
    "DeleteScheduleInput",
    &[needed("Name", &NAME), optional("groupName", &NAME), optional("clientToken", &CLIENT_TOKEN)],
);
static FOUND: Shape = structure(
    "GetScheduleOutput",
    &[
        optional("Arn", &ARN),
        optional("GroupName", &NAME),
        optional("Name", &NAME),
        optional("ScheduleExpression", &EXPRESSION),
        optional("StartDate", &TIMESTAMP),
        optional("EndDate", &TIMESTAMP),
        optional("Description", &DESCRIPTION),
        optional("ScheduleExpressionTimezone", &TIMEZONE),
        optional("State", &STATE),
        optional("CreationDate", &TIMESTAMP),
        optional("LastModificationDate", &TIMESTAMP),
        optional("KmsKeyArn", &KMS_KEY_ARN),
        optional("Target", &TARGET),
        optional("FlexibleTimeWindow", &WINDOW),
        optional("ActionAfterCompletion", &AFTER),
    ],
);
static WANTED: Shape = structure(
    "ListSchedulesInput",
    &[
        optional("ScheduleGroup", &NAME),
        optional("NamePrefix", &NAME),
        optional("State", &STATE),
        optional("NextToken", &TOKEN),
        optional("MaxResults", &PAGE),
    ],
);
static SUMMARY: Shape = structure(
    "ScheduleSummary",
    &[
        optional("Arn", &ARN),
        optional("Name", &NAME),
        optional("GroupName", &NAME),
        optional("State", &STATE),
        optional("CreationDate", &TIMESTAMP),
        optional("LastModificationDate", &TIMESTAMP),
        optional("Target", &TARGET_SUMMARY),
    ],
);
static SUMMARIES: Shape =
    Shape { name: "ScheduleList", form: Form::List { element: &SUMMARY, length: Bounds::OPEN } };
static LISTED: Shape =
    structure("ListSchedulesOutput", &[optional("NextToken", &TOKEN), needed("Schedules", &SUMMARIES)]);
static GROUP: Shape = structure(
    "CreateScheduleGroupInput",
    &[needed("Name", &NAME), optional("Tags", &TAGS), optional("ClientToken", &CLIENT_TOKEN)],
);
static GROUP_ARN: Shape = structure("CreateScheduleGroupOutput", &[needed("ScheduleGroupArn", &ARN)]);
static GROUP_NAMED: Shape = structure("GetScheduleGroupInput", &[needed("Name", &NAME)]);
static GROUP_NAMED_ONCE: Shape =
    structure("DeleteScheduleGroupInput", &[needed("Name", &NAME), optional("clientToken", &CLIENT_TOKEN)]);
static GROUP_FOUND: Shape = structure(
    "GetScheduleGroupOutput",
    &[
        optional("Arn", &ARN),
        optional("Name", &NAME),
        optional("State", &GROUP_STATE),
        optional("CreationDate", &TIMESTAMP),
        optional("LastModificationDate", &TIMESTAMP),
    ],
);
static GROUPS_WANTED: Shape = structure(
    "ListScheduleGroupsInput",
    &[optional("NamePrefix", &NAME), optional("NextToken", &TOKEN), optional("MaxResults", &PAGE)],
);
static GROUPS: Shape =
    Shape { name: "ScheduleGroupList", form: Form::List { element: &GROUP_FOUND, length: Bounds::OPEN } };
static GROUPS_LISTED: Shape = structure(
    "ListScheduleGroupsOutput",
    &[optional("NextToken", &TOKEN), needed("ScheduleGroups", &GROUPS)],
);
static NOTHING: Shape = structure("", &[]);

const fn operation(
    name: &'static str,
    command: &'static str,
    method: &'static str,
    path: &'static str,
    query: &'static [&'static str],
    input: &'static Shape,
    output: &'static Shape,
) -> Operation {
    Operation {
        name,
        command,
        method,
        path,
        query,
        input,
        output,
        payload: None,
        idempotency_token: None,
        errors: ERRORS,
        pagination: None,
    }
}

const SCHEDULE_PATH: &str = "/schedules/{Name}";
const GROUP_PATH: &str = "/schedule-groups/{Name}";
const TAGS_PATH: &str = "/tags/{ResourceArn}";

pub static OPERATIONS: &[Operation] = &[
    Operation {
        idempotency_token: Some("ClientToken"),
        ..operation("CreateSchedule", "create-schedule", "POST", SCHEDULE_PATH, &[], &SCHEDULE, &SCHEDULE_ARN)
    },
    Operation {
        idempotency_token: Some("ClientToken"),
        ..operation("UpdateSchedule", "update-schedule", "PUT", SCHEDULE_PATH, &[], &SCHEDULE, &SCHEDULE_ARN)
    },
    operation("GetSchedule", "get-schedule", "GET", SCHEDULE_PATH, &["groupName"], &NAMED, &FOUND),
    Operation {
        idempotency_token: Some("clientToken"),
        ..operation(
            "DeleteSchedule",
            "delete-schedule",
            "DELETE",
            SCHEDULE_PATH,
            &["groupName", "clientToken"],
            &NAMED_ONCE,
            &NOTHING,
        )
    },
    Operation {
        pagination: Some(Pagination {
            input_token: "NextToken",
            output_token: "NextToken",
            limit: "MaxResults",
            result: "Schedules",
        }),
        ..operation(
            "ListSchedules",
            "list-schedules",
            "GET",
            "/schedules",
            &["ScheduleGroup", "NamePrefix", "State", "NextToken", "MaxResults"],
            &WANTED,
            &LISTED,
        )
    },
    Operation {
        idempotency_token: Some("ClientToken"),
        ..operation(
            "CreateScheduleGroup",
            "create-schedule-group",
            "POST",
            GROUP_PATH,
            &[],
            &GROUP,
            &GROUP_ARN,
        )
    },
    operation("GetScheduleGroup", "get-schedule-group", "GET", GROUP_PATH, &[], &GROUP_NAMED, &GROUP_FOUND),
    Operation {
        idempotency_token: Some("clientToken"),
        ..operation(
            "DeleteScheduleGroup",
            "delete-schedule-group",
            "DELETE",
            GROUP_PATH,
            &["clientToken"],
            &GROUP_NAMED_ONCE,
            &NOTHING,
        )
    },
    Operation {
        pagination: Some(Pagination {
            input_token: "NextToken",
            output_token: "NextToken",
            limit: "MaxResults",
            result: "ScheduleGroups",
        }),
        ..operation(
            "ListScheduleGroups",
            "list-schedule-groups",
            "GET",
            "/schedule-groups",
            &["NamePrefix", "NextToken", "MaxResults"],
            &GROUPS_WANTED,
            &GROUPS_LISTED,
        )
    },
    operation("TagResource", "tag-resource", "POST", TAGS_PATH, &[], &TAGGED, &NOTHING),
    operation("UntagResource", "untag-resource", "DELETE", TAGS_PATH, &["TagKeys"], &UNTAGGED, &NOTHING),
    operation(
        "ListTagsForResource",
        "list-tags-for-resource",
        "GET",
        TAGS_PATH,
        &[],
        &TAGS_WANTED,
        &TAGS_LISTED,
    ),
];
