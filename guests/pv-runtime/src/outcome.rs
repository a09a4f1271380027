//! How a test says what went wrong.

use crate::println;
use core::fmt;

/// What a test found.
pub type Outcome = Result<(), Failure>;

/// Something was not as expected.
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// What was looked at.
    pub what: &'static str,
    /// What was found.
    pub got: i64,
    /// What should have been.
    pub wanted: i64,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { what, got, wanted } = self;
        write!(f, "{what}: {got} ({got:#x}) instead of {wanted}")
    }
}

/// Compares.
///
/// # Errors
/// [`Failure`] when they differ.
pub fn expect(what: &'static str, got: i64, wanted: i64) -> Outcome {
    if got == wanted { Ok(()) } else { Err(Failure { what, got, wanted }) }
}

/// Asserts.
///
/// # Errors
/// [`Failure`] when it does not hold.
pub fn holds(what: &'static str, yes: bool) -> Outcome {
    expect(what, i64::from(yes), 1)
}

/// Prints the line that a runner looks for.
pub fn report(name: &str, outcome: &Outcome) {
    match outcome {
        Ok(()) => println!("TEST {name}: passed"),
        Err(failure) => println!("TEST {name}: failed: {failure}"),
    }
}
