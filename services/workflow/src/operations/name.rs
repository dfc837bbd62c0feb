//! Names of machines, executions and activities.

use selvedge_aws::operations::stepfunctions::INVALID_NAME;

use super::Failed;

const CHARACTERS_MAX: usize = 80;
const REFUSED: &str = "<>{}[]?*\"#%\\^|~`$&,;:/";

/// Checks a name.
pub(super) fn check(name: &str) -> Result<(), Failed> {
    let is_fine = |c: char| !c.is_whitespace() && !c.is_control() && !REFUSED.contains(c);
    let count = name.chars().count();
    if count == 0 || count > CHARACTERS_MAX || !name.chars().all(is_fine) {
        return Err(INVALID_NAME.because(format!("Invalid Name: '{name}'")).into());
    }
    Ok(())
}
