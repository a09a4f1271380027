//! `multicall`.

use crate::{NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{MulticallEntry, addr, call2, errno, multicall, nr};
use pv_runtime::memory;
use pv_runtime::outcome::expect;

pub const TESTS: &[Test] = &[test("answers-multicall", calls)];

fn calls() -> Outcome {
    const NAME: &str = "multicall";
    let mut a = Answers::new();
    let entry =
        |op, first, second| MulticallEntry { op, result: 99, args: [first, second, 0, 0, 0, 0] };
    // More than are done in one go, each with its own result.
    let mut many = [entry(nr::XEN_VERSION, 0, 0); 200];
    many[100] = entry(11, 0, 0);
    many[150] = entry(nr::SCHED_OP, 2, NOWHERE);
    many[199] = entry(nr::MULTICALL, addr(&many[0]), 1);
    let version = call2(nr::XEN_VERSION, 0, 0);
    let result = multicall(&mut many);
    let wanted = |index| match index {
        100 => errno::ENOSYS,
        150 => errno::EFAULT,
        199 => errno::EINVAL,
        _ => version,
    };
    let results =
        (0..200).try_for_each(|index| expect("a result", many[index].result, wanted(index)));
    a.works(NAME, expect("the whole", result, 0).and(results));
    a.refuses(NAME, call2(nr::MULTICALL, NOWHERE, 1), errno::EFAULT);
    a.refuses(NAME, call2(nr::MULTICALL, memory::M2P, 1), errno::EFAULT);
    a.end()
}
