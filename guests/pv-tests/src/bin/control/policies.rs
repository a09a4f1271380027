//! CPUID policies: the host's, and those of domains.

use crate::vcpus::{empty, make_empty};
use crate::{DOM0, NOWHERE, Request, Test, nr, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::domctl::{domctl, op};
use pv_runtime::hypercall::{addr, addr_mut, errno};
use pv_runtime::memory::Page;
use pv_runtime::outcome::{expect, holds};
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] =
    &[test("control-policy", of_domains), test("control-host-policy", of_the_host)];

/// Leaf, subleaf, EAX, EBX, ECX, EDX.
type Leaf = [u32; 6];
const ANY_SUBLEAF: u32 = !0;

/// Where lists are asked for: leaves, then MSRs.
static LEAVES: [Page; 3] = [const { Page::new() }; 3];
static MSRS: Page = Page::new();

/// The maker's name in leaf 0, as this CPU tells it.
fn vendor() -> [u32; 3] {
    let leaf = core::arch::x86_64::__cpuid(0);
    [leaf.ebx, leaf.ecx, leaf.edx]
}

/// The leaf of this number among the first of the list.
fn find(count: usize, number: u32) -> Option<Leaf> {
    let word = |index: usize| LEAVES[index / 512].read(index % 512);
    let half = |index: usize| (word(index / 2) >> (32 * (index % 2))) as u32;
    let leaf = |n: usize| core::array::from_fn(|field| half(n * 6 + field));
    (0..count.min(256)).map(leaf).find(|leaf: &Leaf| leaf[0] == number)
}

fn of_domains() -> Outcome {
    const GET: &str = "domctl.get_cpu_policy";
    const SET: &str = "domctl.set_cpu_policy";
    let mut a = Answers::new();
    let puppet = Puppet::start()?;
    make_empty()?;
    let id = empty();
    a.step(expect("making vCPUs", domctl(op::MAX_VCPUS, id, &[2]).0, 0));
    let (leaves, msrs) = (LEAVES[0].va(), MSRS.va());
    let (result, got) = domctl(82, id, &[0, 0, 0]);
    let (max_leaves, max_msrs) = ((got.u[0] & 0xffff_ffff) as u32, (got.u[0] >> 32) as u32);
    a.step(expect("asking how many", result, 0));
    a.step(holds("that many", (8..=256).contains(&max_leaves) && (1..=64).contains(&max_msrs)));
    let get = || domctl(82, id, &[two(max_leaves, max_msrs), leaves, msrs]);
    let (result, got) = get();
    let count = (got.u[0] & 0xffff_ffff) as usize;
    let first = find(count, 0).unwrap_or_default();
    let seen = expect("asking", result, 0)
        .and(holds("the maker", [first[3], first[4], first[5]] == vendor()));
    a.works(GET, seen);
    a.refuses(GET, domctl(82, id, &[two(1, max_msrs), leaves, msrs]).0, errno::ENOBUFS);
    a.refuses(GET, domctl(82, id, &[two(max_leaves, 0), leaves, msrs]).0, errno::ENOBUFS);
    a.refuses(GET, domctl(82, id, &[two(max_leaves, max_msrs), NOWHERE, msrs]).0, errno::EFAULT);
    a.refuses(GET, domctl(82, id, &[two(max_leaves, max_msrs), leaves, NOWHERE]).0, errno::EFAULT);

    // A feature less than before: AES, bit 25 of ECX in leaf 1.
    const AES: u32 = 1 << 25;
    let mut one = [find(count, 1).unwrap_or_default()];
    let had = one[0][4] & AES != 0;
    one[0][4] &= !AES;
    let set = |domid, list: &[Leaf]| domctl(83, domid, &[list.len() as u64, addr(list), 0]);
    let result = set(id, &one).0;
    a.step(expect("asking", get().0, 0));
    let now = find(count, 1).map_or(AES, |leaf| leaf[4] & AES);
    a.works(SET, expect("setting", result, 0).and(holds("it is gone", had && now == 0)));
    // A leaf that no policy has is named in the answer.
    let (result, got) = set(id, &[[0x4fff_0000, ANY_SUBLEAF, 0, 0, 0, 0]]);
    a.refuses(SET, result, errno::EINVAL);
    a.step(expect("which it is", (got.u[3] & 0xffff_ffff).cast_signed(), 0x4fff_0000));
    a.refuses(SET, domctl(83, id, &[1, NOWHERE, 0]).0, errno::EFAULT);
    a.refuses(SET, domctl(83, id, &[10_000, leaves, 0]).0, errno::E2BIG);
    a.refuses(SET, set(puppet.domid, &one).0, errno::EEXIST);
    a.refuses(SET, set(DOM0, &one).0, errno::EINVAL);
    a.step(expect("ending it", domctl(op::DESTROY, id, &[]).0, 0));
    puppet.end()?;
    a.end()
}

fn of_the_host() -> Outcome {
    const SET: &str = "sysctl.get_cpu_featureset";
    const POLICY: &str = "sysctl.get_cpu_policy";
    let mut a = Answers::new();
    let ask = |command, words: &[u64]| {
        let mut request = Request::new(command, 0x15, words);
        (request.call(nr::SYSCTL), request.u)
    };
    let mut features = [0u32; 64];
    let at = addr_mut(&mut features);
    let (result, u) = ask(26, &[two(1, 0), 0]);
    let count = (u[0] >> 32) as u32;
    a.step(expect("asking how many", result, 0));
    a.step(holds("that many", (8..=64).contains(&count)));
    let (result, _) = ask(26, &[two(1, count), at]);
    // Word 0 is leaf 1's EDX: there is an FPU, a TSC and PAE.
    let usual = 1 << 0 | 1 << 4 | 1 << 6;
    let seen = expect("asking", result, 0).and(holds("the usual", features[0] & usual == usual));
    a.works(SET, seen);
    a.refuses(SET, ask(26, &[two(1, 1), at]).0, errno::ENOBUFS);
    a.refuses(SET, ask(26, &[two(1, count), NOWHERE]).0, errno::EFAULT);
    a.refuses(SET, ask(26, &[two(77, count), at]).0, errno::EINVAL);
    a.refuses(SET, ask(26, &[two(3, count), at]).0, errno::EOPNOTSUPP);

    let (leaves, msrs) = (LEAVES[0].va(), MSRS.va());
    let policy = |index, leaf_count, msr_count, reserved, leaves, msrs| {
        ask(29, &[two(index, leaf_count), two(msr_count, reserved), leaves, msrs])
    };
    let (result, u) = policy(1, 256, 64, 0, leaves, msrs);
    let count = (u[0] >> 32) as usize;
    let first = find(count, 0).unwrap_or_default();
    let seen = expect("asking", result, 0)
        .and(holds("the maker", [first[3], first[4], first[5]] == vendor()));
    a.works(POLICY, seen);
    a.refuses(POLICY, policy(1, 1, 64, 0, leaves, msrs).0, errno::ENOBUFS);
    a.refuses(POLICY, policy(1, 256, 64, 0, NOWHERE, msrs).0, errno::EFAULT);
    a.refuses(POLICY, policy(77, 256, 64, 0, leaves, msrs).0, errno::EINVAL);
    a.refuses(POLICY, policy(1, 256, 64, 1, leaves, msrs).0, errno::EINVAL);
    a.refuses(POLICY, policy(3, 256, 64, 0, leaves, msrs).0, errno::EOPNOTSUPP);
    a.end()
}
