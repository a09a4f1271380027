//! What went wrong, why, and what to do about it: the only thing that this program prints to
//! standard error, once, at the top.

use std::error::Error;
use std::fmt::Write as _;

/// A command's failure: one line that says what, then the causes, then the cure.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// What failed, on which object.
    pub what: String,
    /// Why, outermost cause first.
    pub because: Vec<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// The exit code.
    pub code: u8,
}

/// Exit codes as Xen's `xl` uses them.
pub mod code {
    /// Something failed.
    pub const FAILED: u8 = 1;
    /// The options or operands are wrong.
    pub const USAGE: u8 = 2;
    /// The configuration file cannot be read, or is wrong.
    pub const CONFIG: u8 = 3;
    /// There is neither a configuration file nor a saved configuration.
    pub const NO_CONFIG: u8 = 6;
}

impl Failure {
    /// A failure without a further cause.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), because: Vec::new(), help: None, code: code::FAILED }
    }

    /// A failure that an error caused; its chain becomes the causes, and the first error in the
    /// chain that has a known cure gives the help.
    pub fn caused(what: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(what);
        let mut next = Some(error);
        while let Some(error) = next {
            failure.because(error.to_string());
            failure.help = failure.help.or_else(|| cure(error));
            next = error.source();
        }
        failure
    }

    /// Adds a cause, unless the text before it says the same already.
    fn because(&mut self, text: String) {
        let text = without_numbers(&text);
        let before = self.because.last().unwrap_or(&self.what);
        if !text.is_empty() && !before.ends_with(&text) {
            self.because.push(text);
        }
    }

    /// The same with a cure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same with another exit code.
    #[must_use]
    pub fn code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// As it is printed; `program` is who speaks.
    pub fn text(&self, program: &str) -> String {
        let mut text = format!("{program}: error: {}\n", self.what);
        for cause in &self.because {
            let _ = writeln!(text, "  because: {cause}");
        }
        if let Some(help) = &self.help {
            let _ = writeln!(text, "  help: {help}");
        }
        text
    }
}

/// The text without the numbers of the kernel's errors, " (os error 2)": the words before them say the same.
fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        kept.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    kept + rest
}

/// What to do about an error of the layers below.
fn cure(error: &(dyn Error + 'static)) -> Option<String> {
    let text = if let Some(error) = error.downcast_ref::<sys::Error>() {
        if error.not_on_xen() {
            "this system does not run on Xen, or its kernel lacks the Xen drivers: boot the menu \
             entry with the hypervisor, then run `xl doctor`"
        } else if error.is_permission() {
            "xl needs root rights in domain 0: run it as root (or with sudo)"
        } else {
            return None;
        }
    } else if let Some(error) = error.downcast_ref::<xenstore::Error>() {
        store_cure(error)?
    } else {
        return None;
    };
    Some(text.to_owned())
}

fn store_cure(error: &xenstore::Error) -> Option<&'static str> {
    match error {
        xenstore::Error::NoDaemon { tried }
            if tried.iter().any(|(_, errno)| *errno == rustix::io::Errno::ACCESS) =>
        {
            Some("xl needs root rights in domain 0: run it as root (or with sudo)")
        }
        xenstore::Error::NoDaemon { .. } | xenstore::Error::Connect { .. } => {
            Some("start xenstored (systemctl start xenstored), then run `xl doctor`")
        }
        xenstore::Error::TimedOut { .. } | xenstore::Error::Closed { .. } => {
            Some("look whether xenstored runs and what it logged, then run `xl doctor`")
        }
        _ => None,
    }
}

/// Says what was being done when an error of a layer below came.
pub trait OrFail<T> {
    /// The value, or a failure "cannot ..." caused by the error.
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Error + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure::caused(what(), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("outer {0}")]
    struct Outer(&'static str, #[source] std::io::Error);

    #[test]
    fn the_chain_is_printed_once_with_causes_and_cure() {
        let error = Outer("disk", std::io::Error::other("no such thing"));
        let failure = Failure::caused("cannot create guest", &error).help("make it");
        assert_eq!(
            failure.text("xl"),
            "xl: error: cannot create guest\n  because: outer disk\n  because: no such thing\n  \
             help: make it\n"
        );
    }

    #[test]
    fn numbers_of_the_kernels_errors_are_left_out() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(Failure::caused("x", &error).because, ["No such file or directory"]);
        assert_eq!(without_numbers("a (os error 13) (b)"), "a (b)");
    }

    #[test]
    fn a_cause_that_was_said_already_is_not_said_again() {
        let error = Outer("x: gone", std::io::Error::other("gone"));
        let failure = Failure::caused("cannot do it", &error);
        assert_eq!(failure.because, ["outer x: gone"]);
    }

    #[test]
    fn a_missing_device_tells_to_boot_the_hypervisor() {
        let error =
            sys::Error::Open { path: "/dev/xen/privcmd".into(), errno: rustix::io::Errno::NOENT };
        let help = Failure::caused("cannot list the domains", &error).help.unwrap();
        assert!(help.contains("does not run on Xen"), "{help}");
    }

    #[test]
    fn a_forbidden_device_tells_to_become_root() {
        let error =
            sys::Error::Open { path: "/dev/xen/privcmd".into(), errno: rustix::io::Errno::ACCESS };
        let help = Failure::caused("cannot list the domains", &error).help.unwrap();
        assert!(help.contains("root"), "{help}");
    }

    #[test]
    fn a_stopped_daemon_is_told_to_be_started() {
        let tried = vec![("/run/xenstored/socket".to_owned(), rustix::io::Errno::CONNREFUSED)];
        let error = xenstore::Error::NoDaemon { tried };
        let help = Failure::caused("cannot read the names", &error).help.unwrap();
        assert!(help.contains("start xenstored"), "{help}");
    }
}
