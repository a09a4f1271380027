//! `mca`, `vm_assist`, `console_io`, `xen_version`.

use crate::platform::from_read_only;
use crate::sysctl::ring_has;
use crate::{NOWHERE, Request, Test, nr as own, test, two};
use pv_runtime::Outcome;
use pv_runtime::answers::Answers;
use pv_runtime::hypercall::{addr, addr_mut, call2, call3, errno, nr};
use pv_runtime::memory::{self, PRESENT, WRITE, entry};
use pv_runtime::outcome::{expect, holds};
use pv_runtime::probe;
use pv_runtime::puppet::Puppet;

pub const TESTS: &[Test] = &[
    test("control-machine-checks", machine_checks),
    test("control-assists", assists),
    test("control-console", console),
    test("control-version", version),
    test("control-version-texts", texts),
];

fn machine_checks() -> Outcome {
    const VERSION: u32 = 0x01ec_c003;
    const FETCH: &str = "mca.fetch";
    const CPUS: &str = "mca.physcpuinfo";
    let mut a = Answers::new();
    let ask = |command, words: &[u64]| {
        let mut request = Request::new(command, VERSION, words);
        (request.call(own::MCA), request.u)
    };
    a.refuses("mca", call2(own::MCA, NOWHERE, 0), errno::EFAULT);
    a.refuses("mca", Request::new(1, VERSION + 1, &[]).call(own::MCA), errno::EACCES);
    for command in [0, 2, 99] {
        a.refuses("mca", ask(command, &[]).0, errno::EINVAL);
    }
    let mut puppet = Puppet::start()?;
    let mut request = Request::new(1, VERSION, &[1]);
    a.refuses("mca", puppet.call_with(own::MCA, [0; 5], 0, &mut request), errno::EPERM);
    puppet.end()?;
    // Errors that were found by polling: there are none.
    let (result, u) = ask(1, &[1, 7, 0]);
    let none = expect("no data", (u[0] & 0xffff_ffff).cast_signed(), 2);
    a.works(FETCH, expect("asking", result, 0).and(none));
    a.refuses(FETCH, ask(1, &[0]).0, errno::EINVAL);
    a.refuses(FETCH, from_read_only(own::MCA, 1, VERSION, &[1]), errno::EFAULT);
    let page = memory::page();
    let (result, u) = ask(3, &[4, page.va()]);
    let seen = expect("how many", (u[0] & 0xffff_ffff).cast_signed(), 1).and(expect(
        "its number",
        (page.read(0) & 0xffff_ffff).cast_signed(),
        0,
    ));
    a.works(CPUS, expect("asking", result, 0).and(seen));
    a.refuses(CPUS, ask(3, &[0, page.va()]).0, errno::EINVAL);
    a.refuses(CPUS, ask(3, &[4, NOWHERE]).0, errno::EFAULT);
    for (command, name) in [(4, "mca.msrinject"), (5, "mca.mceinject"), (6, "mca.inject_v2")] {
        a.refuses(name, ask(command, &[]).0, errno::ENOSYS);
    }
    a.end()
}

fn assists() -> Outcome {
    const WRITABLE: u64 = 2;
    let mut a = Answers::new();
    let assist = |command, kind| call2(nr::VM_ASSIST, command, kind);
    let window = memory::window(300);
    let page = memory::page();
    let wanted = entry(page.mfn(), PRESENT | WRITE);
    // Page tables are mapped read-only; while they seem writable, a write to one is carried out.
    a.step(expect("turning it off", assist(1, WRITABLE), 0));
    let before = probe::write(window.l1.va(), wanted).is_err();
    let result = assist(0, WRITABLE);
    let during = probe::write(window.l1.va(), wanted).is_ok();
    let works = window.l1.read(0) & !0x60 == wanted & !0x60 || window.l1.read(0) & 1 == 1;
    let off = assist(1, WRITABLE);
    let after = probe::write(window.l1.va(), 0).is_err();
    let effect = holds("a write is refused before", before)
        .and(holds("it is carried out", during && works))
        .and(holds("through the entry", probe::read(window.va).is_ok()));
    a.works("vm_assist.enable", expect("turning it on", result, 0).and(effect));
    let refused = holds("a write is refused again", after);
    a.works("vm_assist.disable", expect("turning it off", off, 0).and(refused));
    window.close();
    for kind in [1, 63, 64, 1 << 32] {
        a.refuses("vm_assist", assist(0, kind), errno::EINVAL);
    }
    for command in [2, 99] {
        a.refuses("vm_assist", assist(command, WRITABLE), errno::ENOSYS);
    }
    a.end()
}

fn console() -> Outcome {
    const WRITE_TEXT: &str = "console_io.write";
    let mut a = Answers::new();
    // What it writes goes out at once, as this very line of an answer does; the ring keeps none of
    // it, unless `console_to_ring` says so.
    let text = "typed by the kernel itself: 1234\n";
    let result = call3(nr::CONSOLE_IO, 0, text.len() as u64, addr(text));
    let kept = holds("not in the ring", !ring_has("typed by the kernel itself: 1234"));
    a.works(WRITE_TEXT, expect("writing", result, 0).and(kept));
    a.refuses(WRITE_TEXT, call3(nr::CONSOLE_IO, 0, 4, NOWHERE), errno::EFAULT);
    for command in [2, 99] {
        a.refuses("console_io", call3(nr::CONSOLE_IO, command, 1, addr(text)), errno::ENOSYS);
    }
    let mut puppet = Puppet::start()?;
    let at = puppet.data_va(0);
    a.refuses("console_io", puppet.call(nr::CONSOLE_IO, [1, 4, at, 0, 0]), errno::EPERM);
    puppet.end()?;
    a.end()
}

fn version() -> Outcome {
    let mut a = Answers::new();
    let page = memory::page();
    let ask = |command, at| call2(nr::XEN_VERSION, command, at);
    let clean = || (0..512).for_each(|word| page.write(word, !0));
    a.works("xen_version.version", expect("4.20", ask(0, 0), 4 << 16 | 20));
    a.works("xen_version.pagesize", expect("bytes", ask(7, 0), 4096));
    clean();
    let result = ask(5, page.va());
    let start = expect("where it begins", page.read(0) as i64, 0xffff_8000_0000_0000u64 as i64);
    a.works("xen_version.platform_parameters", expect("asking", result, 0).and(start));
    const FEATURES: &str = "xen_version.get_features";
    page.write(0, 0);
    let result = ask(6, page.va());
    // Bit 11: this is dom0.
    let dom0 = holds("this is dom0", page.read(0) >> 32 & (1 << 11) != 0);
    a.works(FEATURES, expect("asking", result, 0).and(dom0));
    page.write(0, 99);
    a.refuses(FEATURES, ask(6, page.va()), errno::EINVAL);
    const HANDLE: &str = "xen_version.guest_handle";
    a.step(expect("naming ourselves", pv_runtime::domctl::domctl(17, 0, &[0x1234, 0x5678]).0, 0));
    clean();
    let result = ask(8, page.va());
    let same = holds("the handle", page.read(0) == 0x1234 && page.read(1) == 0x5678);
    a.works(HANDLE, expect("asking", result, 0).and(same));
    clean();
    let result = ask(2, page.va());
    // Four texts of 64, 16, 32 and 32 bytes, each ended by a zero.
    let ended = [7, 9, 13, 17].into_iter().all(|word| page.read(word) >> 56 == 0);
    let some = page.read(0) & 0xff != 0;
    let texts = holds("texts", ended && some);
    a.works("xen_version.compile_info", expect("asking", result, 0).and(texts));
    a.refuses("xen_version.build_id", ask(10, 0), errno::ENODATA);
    for (command, name) in [
        (2, "xen_version.compile_info"),
        (5, "xen_version.platform_parameters"),
        (6, FEATURES),
        (8, HANDLE),
    ] {
        a.refuses(name, ask(command, NOWHERE), errno::EFAULT);
    }
    for command in [15, 99] {
        a.refuses("xen_version", ask(command, page.va()), errno::ENOSYS);
    }
    a.end()
}

/// The short forms of texts, of these sizes, and the long ones, which begin with their room.
fn texts() -> Outcome {
    let mut a = Answers::new();
    let ask = |command, at| call2(nr::XEN_VERSION, command, at);
    for (short, long, size, short_name, long_name) in [
        (1, 11, 16, "xen_version.extraversion", "xen_version.extraversion2"),
        (3, 12, 1024, "xen_version.capabilities", "xen_version.capabilities2"),
        (4, 13, 64, "xen_version.changeset", "xen_version.changeset2"),
        (9, 14, 1024, "xen_version.commandline", "xen_version.commandline2"),
    ] {
        let mut text = [0xffu8; 1032];
        let result = ask(short, addr_mut(&mut text));
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(size);
        let whole = text[size - 1] == 0 && text[size..].iter().all(|&byte| byte == 0xff);
        let seen = holds("a text", end > 2 && end < size).and(holds("its room", whole));
        a.works(short_name, expect("asking", result, 0).and(seen));
        a.refuses(short_name, ask(short, NOWHERE), errno::EFAULT);

        let mut long_text = [0u8; 2048];
        let room = long_text.len() as u32 - 4;
        long_text[..4].copy_from_slice(&room.to_le_bytes());
        let length = ask(long, 0);
        let result = ask(long, addr_mut(&mut long_text));
        let same = long_text[4..].starts_with(&text[..end]);
        let seen = holds("a length", length >= end as i64).and(holds("the same", same));
        a.works(long_name, expect("asking", result, length).and(seen));
        a.refuses(long_name, ask(long, NOWHERE), errno::EFAULT);
        a.refuses(long_name, ask(long, addr(&two(0, 0))), errno::EINVAL);
        a.refuses(long_name, ask(long, addr(&two(1, 0))), errno::ENOBUFS);
        let read_only = memory::page();
        read_only.write(0, 2000);
        a.step(expect("making it read-only", read_only.protect(), 0));
        a.refuses(long_name, ask(long, read_only.va()), errno::EFAULT);
        a.step(expect("making it writable", read_only.unprotect(), 0));
    }
    a.end()
}
