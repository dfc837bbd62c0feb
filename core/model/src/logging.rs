//! Where access logs go, and what a line looks like.

use crate::shape::{Bounds, Shape};
use crate::structure::{Shaped, structure, union};
use crate::tls::FILE_PATH;

const JSON_KEY: Shape = Shape::string_of("JsonKey", 1, 100);
const JSON_VALUE: Shape = Shape::string_of("JsonValue", 1, 100);
const JSON_FORMAT: Shape = Shape::list("JsonFormat", JsonFormatRef::SHAPE, Bounds::OPEN);
const TEXT_FORMAT: Shape = Shape::string_of("TextFormat", 1, 1000);

structure! {
    /// The logging of a node or gateway.
    pub struct Logging {
        /// The access log.
        optional access_log "accessLog": AccessLog,
    }
}

union! {
    /// Where the access log goes.
    pub enum AccessLog {
        File "file": FileAccessLog,
    }
}

structure! {
    /// An access log in a file.
    pub struct FileAccessLog {
        /// What a line looks like.
        optional format "format": LoggingFormat,
        /// The file, such as `/dev/stdout`.
        required path "path": String => &FILE_PATH,
    }
}

union! {
    /// What a line of an access log looks like.
    pub enum LoggingFormat {
        /// Keys and operators, for a line that is a JSON object.
        Json "json": Vec<JsonFormatRef> => &JSON_FORMAT,
        /// Text with operators.
        Text "text": String => &TEXT_FORMAT,
    }
}

structure! {
    /// One member of a JSON line.
    pub struct JsonFormatRef {
        /// The member's name.
        required key "key": String => &JSON_KEY,
        /// Its value, with operators.
        required value "value": String => &JSON_VALUE,
    }
}
