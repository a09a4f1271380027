//! `domctl`: a domain's pages as its tools see them.

use crate::{NOWHERE, Test, test};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::domctl;
use pv_runtime::hypercall::{addr_mut, errno, nr};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[test("control-pages", pages)];

fn pages() -> Outcome {
    const TYPES: &str = "domctl.getpageframeinfo3";
    const INIT: &str = "domctl.hypercall_init";
    const SHADOW: &str = "domctl.shadow_op";
    let mut a = Answers::new();
    let mut puppet = Puppet::start()?;
    let id = puppet.domid;
    let ask = |cmd, words: &[u64]| domctl(cmd, id, words).0;

    let data = puppet.data_frame(4);
    let lent = pv_runtime::domctl::shared_info(id).unwrap_or(0);
    let mut list = [puppet.frames[0], puppet.frames[1], puppet.frames[3], data, lent, 1 << 39];
    let result = ask(61, &[list.len() as u64, addr_mut(&mut list)]);
    // The top table is pinned; one page is only lent to it, and the last frame is none of its.
    let types = [0xc000_0000, 0x3000_0000, 0x1000_0000, 0, 0xf000_0000, 0xf000_0000];
    a.works(TYPES, expect("asking", result, 0).and(holds("the types", list == types)));
    a.refuses(TYPES, ask(61, &[1025, addr_mut(&mut list)]), errno::E2BIG);
    a.refuses(TYPES, ask(61, &[1, NOWHERE]), errno::EFAULT);

    let result = ask(22, &[data]);
    let held = pv_runtime::puppet::View::of(id, data);
    let calls = held.is_ok_and(|view| {
        // Each entry loads its own number into EAX.
        let has = |number: u64| {
            let bytes =
                (0..4).flat_map(|w| view.page().read(number as usize * 4 + w).to_le_bytes());
            let wanted = [0xb8, number as u8, 0, 0, 0, 0x0f, 0x05];
            let mut seen = [0u8; 32];
            seen.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            seen.windows(7).any(|window| window == wanted)
        };
        let all = [0, 17, 23, 29].into_iter().all(has);
        view.close();
        all
    });
    a.works(INIT, expect("filling", result, 0).and(holds("the calls", calls)));
    for frame in [puppet.frames[0], puppet.frames[3], 1 << 39] {
        a.refuses(INIT, ask(22, &[frame]), errno::EACCES);
    }

    let result = ask(10, &[0]);
    let runs = expect("its call", puppet.call(nr::XEN_VERSION, [7, 0, 0, 0, 0]), 4096);
    a.works(SHADOW, expect("turning it off", result, 0).and(runs));
    for operation in [1, 2, 11, 32] {
        a.refuses(SHADOW, ask(10, &[operation]), errno::EOPNOTSUPP);
    }
    puppet.end()?;
    a.end()
}
