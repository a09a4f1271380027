//! `xendomains`: starts guests when the host starts, and ends them before it ends.

/// Runs it; the exit code.
pub fn run(_words: &[String]) -> u8 {
    crate::output::error("xendomains: error: it is not supported yet\n");
    1
}
