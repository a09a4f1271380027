//! The tools' hypercalls name the version of the interface they were made for.

use crate::{Test, refused, test};
use pv_runtime::hypercall::{addr_mut, call2, errno};
use pv_runtime::outcome::{Outcome, expect};
use pv_runtime::start;

pub const TESTS: &[Test] = &[test("interface-versions", interface_versions)];

const PLATFORM_OP: u64 = 7;
const SYSCTL: u64 = 35;
const DOMCTL: u64 = 36;

/// As long as the longest of the three requests.
#[repr(C, align(8))]
struct Request {
    command: u32,
    version: u32,
    rest: [u32; 62],
}

/// Another version than Xen 4.20's is refused before anything of the request is looked at; with
/// the right one, the same request gets as far as its command. A guest without privilege is
/// refused in either case.
fn interface_versions() -> Outcome {
    for (what, number, right) in [
        ("platform", PLATFORM_OP, 0x0300_0001),
        ("machine", SYSCTL, 0x15),
        ("domain", DOMCTL, 0x17),
    ] {
        for version in [right - 1, right + 1, 0, !0] {
            for command in [1, 2, 5, 999] {
                let mut request = Request { command, version, rest: [0; 62] };
                let result = call2(number, addr_mut(&mut request), 0);
                match start::privileged() {
                    true => expect(what, result, errno::EACCES)?,
                    // Which of its two faults is named first is all the same.
                    false => refused(what, result)?,
                }
            }
        }
        let mut request = Request { command: 999, version: right, rest: [0; 62] };
        let wanted = if start::privileged() { errno::ENOSYS } else { errno::EPERM };
        expect(what, call2(number, addr_mut(&mut request), 0), wanted)?;
    }
    Ok(())
}
