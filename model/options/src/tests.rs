//! Every option, well-formed and not.

use crate::log::{RateLimit, Shown, Times, Verdict};
use crate::spec_ctrl::SpecCtrl;
use crate::{Amount, Com, Level, Levels, Options, Problem, Stamp, VcpuRange, parse};

/// Parses a line and collects what was reported.
fn read(line: &str) -> (Options, Vec<(String, Problem)>) {
    let mut reports = Vec::new();
    let o = parse(line.as_bytes(), |word, problem| {
        reports.push((String::from_utf8_lossy(word).into_owned(), problem));
    });
    (o, reports)
}

/// Parses a line in which nothing is to complain about.
fn fine(line: &str) -> Options {
    let (o, reports) = read(line);
    assert_eq!(reports, [], "{line}");
    o
}

/// Each word is malformed, and leaves everything as it was.
fn malformed(words: &[&str]) {
    for word in words {
        let (o, reports) = read(word);
        assert_eq!(reports, [(word.to_string(), Problem::Malformed)], "{word}");
        assert_eq!(o, Options::DEFAULT, "{word}");
    }
}

#[test]
fn an_empty_line_gives_the_defaults() {
    assert_eq!(fine(""), Options::DEFAULT);
    assert_eq!(fine("  \t \n"), Options::DEFAULT);
    assert_eq!(Options::DEFAULT.console_port(), Some(0x3f8));
}

#[test]
fn unknown_words_are_reported_and_change_nothing() {
    let (o, reports) = read("placeholder noreboot no-console dom0_mem_ no-bogus =5");
    let unknown = ["placeholder", "no-console", "dom0_mem_", "no-bogus", "=5"];
    assert_eq!(reports, unknown.map(|w| (w.to_string(), Problem::Unknown)));
    assert_eq!(o, Options { noreboot: true, ..Options::DEFAULT });
}

#[test]
fn options_that_only_xen_has_are_told_from_unknown_ones() {
    let words =
        ["ucode=scan", "iommu=force:true,qinval:true", "watchdog", "no-smt", "no-real-mode"];
    let (o, reports) = read(&words.join(" "));
    assert_eq!(reports, words.map(|w| (w.to_string(), Problem::NoEffect)));
    assert_eq!(o, Options::DEFAULT);
}

#[test]
fn the_last_of_duplicates_wins() {
    let o = fine("maxcpus=2 noreboot dom0_mem=1G maxcpus=3 noreboot=no dom0_mem=2G");
    assert_eq!((o.maxcpus, o.noreboot), (3, false));
    assert_eq!(o.dom0_mem.size, Some(Amount { bytes: 2 << 30, percent: 0, except: false }));
}

#[test]
fn booleans_take_all_their_forms() {
    type Read = fn(&Options) -> bool;
    let options: [(&str, Read); 5] = [
        ("noreboot", |o| o.noreboot),
        ("sync_console", |o| o.sync_console),
        ("console_to_ring", |o| o.console_to_ring),
        ("x2apic", |o| o.x2apic),
        ("nosmp", |o| o.maxcpus == 1),
    ];
    for (name, read) in options {
        for yes in ["", "=1", "=yes", "=on", "=true", "=enable"] {
            assert!(read(&fine(&format!("{name}{yes}"))), "{name}{yes}");
            assert!(!read(&fine(&format!("no-{name}{yes}"))), "no-{name}{yes}");
        }
        for no in ["=0", "=no", "=off", "=false", "=disable"] {
            assert!(!read(&fine(&format!("{name}{no}"))), "{name}{no}");
        }
        malformed(&[&format!("{name}=maybe"), &format!("{name}="), &format!("no-{name}=2")]);
    }
}

#[test]
fn the_console_is_a_list_of_devices() {
    assert_eq!(fine("console=com1").console_port(), Some(0x3f8));
    assert_eq!(fine("console=com1L").console_port(), Some(0x3f8));
    assert_eq!(fine("console=none").console_port(), None);
    let (o, reports) = read("console=vga,com1,dbgp");
    assert!(o.console.com1);
    assert_eq!(reports, ["vga", "dbgp"].map(|d| (d.to_string(), Problem::NoEffect)));
    let (o, reports) = read("console=vga");
    assert!(!o.console.com1);
    assert_eq!(reports, [("vga".to_string(), Problem::NoEffect)]);
    let (o, reports) = read("console=com1,tape");
    assert!(o.console.com1);
    assert_eq!(reports, [("tape".to_string(), Problem::Malformed)]);
    malformed(&["console", "console="]);
}

#[test]
fn the_serial_port_takes_rate_format_port_and_line() {
    let com = |line: &str| fine(line).com1;
    assert_eq!(com("com1=9600"), Com { baud: Some(9600), ..Com::COM1 });
    assert_eq!(com("com1=auto"), Com { baud: None, ..Com::COM1 });
    assert_eq!(com("com1=115200/1843200,7e2"), Com { format: *b"7e2", ..Com::COM1 });
    assert_eq!(com("com1=,,0x2f8,3"), Com { port: 0x2f8, irq: 3, ..Com::COM1 });
    assert_eq!(
        com("com1=57600,8n1,760,0"),
        Com { baud: Some(57_600), port: 760, irq: 0, ..Com::COM1 }
    );
    malformed(&[
        "com1",
        "com1=fast",
        "com1=230400",
        "com1=0",
        "com1=9600,9n1",
        "com1=9600,8n",
        "com1=9600,8n11",
        "com1=9600,8x1",
        "com1=9600,8n3",
        "com1=9600,8n1,pci",
        "com1=9600,8n1,0x1ffff",
        "com1=9600,8n1,0",
        "com1=9600,8n1,0x3f8,16",
        "com1=9600,8n1,0x3f8,msi",
        "com1=9600,8n1,0x3f8,4,1:2.3",
    ]);
}

#[test]
fn dom0_memory_is_sizes_shares_and_both_together() {
    let amount = |text: &str| fine(&format!("dom0_mem={text}")).dom0_mem.size.unwrap();
    let plain = |bytes| Amount { bytes, percent: 0, except: false };
    assert_eq!(amount("131072"), plain(128 << 20));
    assert_eq!(amount("512M"), plain(512 << 20));
    assert_eq!(amount("4096b"), plain(4096));
    assert_eq!(amount("0x10m"), plain(16 << 20));
    assert_eq!(amount("2g"), plain(2 << 30));
    assert_eq!(amount("1T"), plain(1 << 40));
    assert_eq!(amount("-512M"), Amount { except: true, ..plain(512 << 20) });
    assert_eq!(amount("50%"), Amount { percent: 50, ..plain(0) });
    assert_eq!(amount("1G+10%"), Amount { percent: 10, ..plain(1 << 30) });
    assert_eq!(amount("-1G+10%"), Amount { percent: 10, except: true, ..plain(1 << 30) });
    malformed(&[
        "dom0_mem",
        "dom0_mem=",
        "dom0_mem=lots",
        "dom0_mem=100%",
        "dom0_mem=%",
        "dom0_mem=10%+1G",
        "dom0_mem=1G+10",
        "dom0_mem=1G+1G",
        "dom0_mem=--1G",
        "dom0_mem=+1G",
        "dom0_mem=1G,",
        "dom0_mem=1G,max:",
        "dom0_mem=99999999999T",
        "dom0_mem=1GG",
    ]);
}

#[test]
fn dom0_memory_lists_give_bounds() {
    let free = 1 << 20; // 4 GiB
    let pages = |line: &str| fine(line).dom0_mem.pages(free);
    let mib = |n: u64| n << 8;
    assert_eq!(pages(""), free - mib(128));
    assert_eq!(Options::DEFAULT.dom0_mem.pages(1600), 1500);
    assert_eq!(pages("dom0_mem=1G"), mib(1024));
    assert_eq!(pages("dom0_mem=1G,max:512M"), mib(512));
    assert_eq!(pages("dom0_mem=max:2G"), mib(2048));
    assert_eq!(pages("dom0_mem=10M,min:512M"), mib(512));
    assert_eq!(pages("dom0_mem=-512M"), free - mib(512));
    assert_eq!(pages("dom0_mem=25%"), free / 4);
    assert_eq!(pages("dom0_mem=-25%"), free - free / 4);
    assert_eq!(pages("dom0_mem=1G+25%"), mib(2048));
    assert_eq!(pages("dom0_mem=-1G+25%"), mib(2048));
    // More than there is, and less than nothing.
    assert_eq!(pages("dom0_mem=64G"), free);
    assert_eq!(pages("dom0_mem=-64G"), 0);
    // Given in two words, the parts add up.
    assert_eq!(pages("dom0_mem=2G dom0_mem=max:1G"), mib(1024));
    assert_eq!(fine("dom0_mem=1G,max:2G").dom0_mem.limit(free), mib(2048));
    assert_eq!(fine("dom0_mem=1G").dom0_mem.limit(free), u64::MAX);
}

#[test]
fn dom0_gets_as_many_vcpus_as_there_are_cpus_within_the_range() {
    let choose = |range: &str, cpus: u32| {
        fine(&format!("dom0_max_vcpus={range}")).dom0_max_vcpus.unwrap().choose(cpus)
    };
    assert_eq!([choose("2", 1), choose("2", 8)], [2, 2]);
    assert_eq!([choose("2-4", 1), choose("2-4", 3), choose("2-4", 8)], [2, 3, 4]);
    assert_eq!([choose("-4", 2), choose("-4", 8)], [2, 4]);
    assert_eq!([choose("4-", 2), choose("4-", 8)], [4, 8]);
    assert_eq!(fine("dom0_max_vcpus=2-4").dom0_max_vcpus, Some(VcpuRange { min: 2, max: 4 }));
    malformed(&[
        "dom0_max_vcpus",
        "dom0_max_vcpus=",
        "dom0_max_vcpus=0",
        "dom0_max_vcpus=-",
        "dom0_max_vcpus=4-2",
        "dom0_max_vcpus=0-2",
        "dom0_max_vcpus=two",
        "dom0_max_vcpus=1-2-3",
        "dom0_max_vcpus=4294967296",
    ]);
}

#[test]
fn log_levels_are_a_bound_or_two() {
    use Level::{Debug, Error, Info, Warning};
    use Verdict::{Drop, Limit, Print};
    let verdicts = |levels: Levels| [Error, Warning, Info, Debug].map(|l| levels.verdict(l));
    let own = |text: &str| verdicts(fine(&format!("loglvl={text}")).loglvl);
    assert_eq!(own("none"), [Drop; 4]);
    assert_eq!(own("error"), [Print, Drop, Drop, Drop]);
    assert_eq!(own("warning"), [Print, Print, Drop, Drop]);
    assert_eq!(own("info"), [Print, Print, Print, Drop]);
    assert_eq!(own("debug"), [Print; 4]);
    assert_eq!(own("all"), [Print; 4]);
    assert_eq!(own("error/info"), [Print, Limit, Limit, Drop]);
    // An upper bound below the lower one counts as that.
    assert_eq!(own("all/error"), [Print; 4]);
    assert_eq!(verdicts(Options::DEFAULT.loglvl), [Print, Print, Print, Drop]);
    assert_eq!(verdicts(Options::DEFAULT.guest_loglvl), [Limit, Limit, Drop, Drop]);
    assert_eq!(verdicts(fine("guest_loglvl=all").guest_loglvl), [Print; 4]);
    malformed(&["loglvl", "loglvl=", "loglvl=loud", "loglvl=all/", "loglvl=all/all/all"]);
    malformed(&["guest_loglvl=loud", "guest_loglvl"]);
}

#[test]
fn numbers_and_sizes_take_no_signs_and_no_more_than_fits() {
    assert_eq!(fine("maxcpus=0x10").maxcpus, 16);
    malformed(&["maxcpus", "maxcpus=", "maxcpus=-1", "maxcpus=+1", "maxcpus=4294967296"]);
    assert_eq!(fine("conring_size=64").conring_size, Some(64 << 10));
    assert_eq!(fine("conring_size=1M").conring_size, Some(1 << 20));
    malformed(&["conring_size", "conring_size=0", "conring_size=-1", "conring_size=much"]);
}

#[test]
fn the_switch_is_a_letter_and_may_leave_input_alone() {
    let switch = |text: &str| {
        let o = fine(&format!("conswitch={text}"));
        (o.conswitch, o.input_to_dom0)
    };
    assert_eq!(switch("b"), (b'b', true));
    assert_eq!(switch("Bx"), (b'b', false));
    assert_eq!(switch("0"), (0, true));
    malformed(&["conswitch", "conswitch=", "conswitch=bb", "conswitch=bxx"]);
}

#[test]
fn time_stamps_have_five_forms() {
    let stamp = |text: &str| fine(text).timestamps;
    assert_eq!(stamp("console_timestamps"), Stamp::Date);
    assert_eq!(stamp("console_timestamps=yes"), Stamp::Date);
    assert_eq!(stamp("console_timestamps=date"), Stamp::Date);
    assert_eq!(stamp("console_timestamps=datems"), Stamp::DateMillis);
    assert_eq!(stamp("console_timestamps=boot"), Stamp::Boot);
    assert_eq!(stamp("console_timestamps=raw"), Stamp::Raw);
    assert_eq!(stamp("console_timestamps=boot console_timestamps=none"), Stamp::None);
    assert_eq!(stamp("console_timestamps=boot no-console_timestamps"), Stamp::None);
    malformed(&["console_timestamps=", "console_timestamps=soon", "no-console_timestamps=date"]);
}

#[test]
fn stamps_show_dates_of_the_calendar() {
    let at = |seconds: u64| Times {
        boot: 12_345_678_901,
        wall: Some(seconds * 1_000_000_000 + 7_999_999),
        counter: 42,
    };
    let date = |seconds| Shown(Stamp::Date, at(seconds)).to_string();
    assert_eq!(date(0), "[1970-01-01 00:00:00] ");
    assert_eq!(date(951_782_399), "[2000-02-28 23:59:59] ");
    assert_eq!(date(951_782_400), "[2000-02-29 00:00:00] ");
    assert_eq!(date(951_868_800), "[2000-03-01 00:00:00] ");
    assert_eq!(date(1_767_225_599), "[2025-12-31 23:59:59] ");
    assert_eq!(date(1_709_164_800), "[2024-02-29 00:00:00] ");
    assert_eq!(date(4_107_542_400), "[2100-03-01 00:00:00] ");
    assert_eq!(Shown(Stamp::DateMillis, at(0)).to_string(), "[1970-01-01 00:00:00.007] ");
    assert_eq!(Shown(Stamp::Boot, at(0)).to_string(), "[   12.345678] ");
    assert_eq!(Shown(Stamp::Raw, at(0)).to_string(), "[42] ");
    assert_eq!(Shown(Stamp::None, at(0)).to_string(), "");
    let unknown = Times { wall: None, ..at(0) };
    assert_eq!(Shown(Stamp::Date, unknown).to_string(), "[   12.345678] ");
}

#[test]
fn a_burst_passes_and_then_one_message_every_five_seconds() {
    let mut limit = RateLimit::new();
    let second = 1_000_000_000;
    let passed = (0..100).filter(|_| limit.pass(second).is_some()).count();
    assert_eq!(passed, 10);
    assert_eq!(limit.pass(5 * second), None);
    assert_eq!(limit.pass(6 * second), Some(91));
    assert_eq!(limit.pass(6 * second), None);
    // A long silence saves up a burst and no more.
    let passed = (0..100).filter(|_| limit.pass(1 << 50).is_some()).count();
    assert_eq!(passed, 10);
}

#[test]
fn mitigations_are_asked_for_or_forbidden_one_by_one_or_all_at_once() {
    let spec = |line: &str| fine(line).spec_ctrl;
    let off = SpecCtrl {
        ibrs: Some(false),
        ibpb: Some(false),
        ibpb_entry: Some(false),
        verw: Some(false),
    };
    for all in ["spec-ctrl=no", "spec-ctrl=off", "no-spec-ctrl", "spec-ctrl=xen=no"] {
        assert_eq!(spec(all), off, "{all}");
    }
    for none in ["", "spec-ctrl", "spec-ctrl=yes", "spec-ctrl=bti-thunk=retpoline"] {
        assert_eq!(spec(none), SpecCtrl::DEFAULT, "{none}");
    }
    let some = SpecCtrl { ibpb_entry: Some(true), verw: Some(false), ..SpecCtrl::DEFAULT };
    assert_eq!(spec("spec-ctrl=ibpb-entry,no-verw"), some);
    assert_eq!(spec("spec-ctrl=no,ibpb-entry=yes,ibpb-entry=no"), off);
    let one = SpecCtrl { ibrs: Some(true), ..off };
    assert_eq!(spec("spec-ctrl=no,ibrs"), one);
    let (o, reports) = read("spec-ctrl=ibrs,ssbd=yes,colour,verw=perhaps");
    assert_eq!(o.spec_ctrl, SpecCtrl { ibrs: Some(true), ..SpecCtrl::DEFAULT });
    assert_eq!(
        reports,
        [
            ("ssbd=yes".to_string(), Problem::NoEffect),
            ("colour".to_string(), Problem::Unknown),
            ("verw=perhaps".to_string(), Problem::Malformed),
        ]
    );
}
