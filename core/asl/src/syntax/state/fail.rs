//! Fail.

use selvedge_query::Intrinsic;

use crate::diagnostic::{Code, Severity};
use crate::payload::inside;
use crate::syntax::field::Fields;
use crate::syntax::{FailText, Kind};

pub(super) fn read(fields: &mut Fields<'_, '_, '_>) -> Kind {
    let error = text(fields, "Error", "ErrorPath");
    let cause = text(fields, "Cause", "CausePath");
    Kind::Fail { error, cause }
}

fn text(fields: &mut Fields<'_, '_, '_>, name: &'static str, path_name: &'static str) -> Option<FailText> {
    if fields.is_json_ata() {
        fields.refuse(&[path_name], "JSONata");
    } else if fields.has(path_name) {
        if fields.has(name) {
            fields.fault(path_name, format!("only one of {name} and {path_name} can be given"));
            fields.take(name);
        }
        let written = fields.text(path_name)?;
        if written.starts_with('$') {
            return fields.parse_path(path_name, written, true).map(FailText::Path);
        }
        return match Intrinsic::parse(written) {
            Ok(intrinsic) => {
                let mut paths = Vec::new();
                intrinsic.for_each_path(&mut |path| paths.push(path.clone()));
                paths.iter().for_each(|path| fields.note(path));
                Some(FailText::Intrinsic(intrinsic))
            }
            Err(error) => {
                let at = fields.at(path_name);
                fields.findings.add(Severity::Error, Code::InvalidPath, &at, error.to_string());
                None
            }
        };
    }
    let written = fields.text(name)?;
    if fields.is_json_ata()
        && let Some(expression) = inside(written)
    {
        return fields.expression(name, expression).map(FailText::Expression);
    }
    Some(FailText::Constant(written.into()))
}
