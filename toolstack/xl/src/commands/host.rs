//! `debug-keys`, `getenforce`.

use crate::cli::options::Parsed;
use crate::failure::OrFail as _;
use crate::output;
use crate::session::Session;
use crate::table::Outcome;

/// Exit code of C's getenforce where the hypervisor has no Flask module.
const NO_FLASK: u8 = 255;

/// `xl debug-keys`.
pub fn debug_keys(session: &mut Session, parsed: &Parsed) -> Outcome {
    let keys = parsed.operand(0);
    session
        .xen()?
        .debug_keys(keys.as_bytes())
        .or_fail(|| format!("cannot send debug keys: {keys}"))?;
    Ok(0)
}

/// `xl getenforce`: the question is answered, but as C's the exit code says that there is no module.
pub fn getenforce(session: &mut Session, _parsed: &Parsed) -> Outcome {
    session.xen()?;
    output::print("Flask XSM Disabled\n");
    Ok(NO_FLASK)
}
