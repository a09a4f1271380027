//! Evidence of what hypercalls answer, line by line: `SHOWN family.sub_op outcome`.
//!
//! Names are those of the public headers, in lower case and without their prefix; a hypercall
//! without subordinate operations is named alone. The outcome is `ok`, the name of an errno, or for
//! grant operations that of a status. A line comes only after what it says was seen.

use crate::hypercall::errno;
use crate::outcome::{Failure, Outcome};
use crate::println;

/// What was shown so far, and the first thing that was not as expected.
///
/// What differs does not end the test: it is printed, and the others are looked at all the same.
#[derive(Default)]
pub struct Answers {
    wrong: Option<Failure>,
}

impl Answers {
    /// Nothing so far.
    pub fn new() -> Answers {
        Answers::default()
    }

    /// `op` is to have answered with the error `wanted`, one of [`errno`].
    pub fn refuses(&mut self, op: &'static str, got: i64, wanted: i64) {
        if got == wanted {
            println!("SHOWN {op} {}", name(wanted));
        } else {
            self.wrong(Failure { what: op, got, wanted });
        }
    }

    /// `op` is to have worked: it answered `got`, and what it should bring about was looked for.
    pub fn works(&mut self, op: &'static str, effect: Outcome) {
        match effect {
            Ok(()) => println!("SHOWN {op} ok"),
            Err(failure) => {
                println!("WRONG {op} is to work");
                self.wrong(failure);
            }
        }
    }

    /// A grant operation is to have had this status.
    pub fn status(&mut self, op: &'static str, got: i16, wanted: i16) {
        if got == wanted {
            println!("SHOWN {op} {}", status_name(wanted));
        } else {
            self.wrong(Failure { what: op, got: got.into(), wanted: wanted.into() });
        }
    }

    /// A step on the way, of which there is nothing to be shown.
    pub fn step(&mut self, step: Outcome) {
        if let Err(failure) = step {
            self.wrong(failure);
        }
    }

    fn wrong(&mut self, failure: Failure) {
        println!("WRONG {failure}");
        self.wrong.get_or_insert(failure);
    }

    /// The outcome of the whole.
    ///
    /// # Errors
    /// The first thing that was not as expected.
    pub fn end(self) -> Outcome {
        self.wrong.map_or(Ok(()), Err)
    }
}

fn name(error: i64) -> &'static str {
    errno::NAMES.iter().find(|(value, _)| *value == error).map_or("?", |(_, name)| name)
}

/// Names of grant operations' statuses, from 0 downwards.
const STATUSES: [&str; 15] = [
    "ok",
    "GNTST_general_error",
    "GNTST_bad_domain",
    "GNTST_bad_gntref",
    "GNTST_bad_handle",
    "GNTST_bad_virt_addr",
    "GNTST_bad_dev_addr",
    "GNTST_no_device_space",
    "GNTST_permission_denied",
    "GNTST_bad_page",
    "GNTST_bad_copy_arg",
    "GNTST_address_too_big",
    "GNTST_eagain",
    "GNTST_no_space",
    "?",
];

fn status_name(status: i16) -> &'static str {
    let index = usize::from(status.unsigned_abs());
    STATUSES.get(index).filter(|_| status <= 0).copied().unwrap_or("?")
}
