//! The table of options.

use crate::values::{VcpuRange, boolean, number32, size};
use crate::{Console, Levels, Options, Problem, Stamp};

/// How an option is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// `opt`, `opt=yes`, `no-opt`.
    Boolean,
    /// `opt=value`.
    Value,
    /// `opt`, `opt=value`, `no-opt`.
    Either,
}

/// Which option; matched in [`apply`]. Data rather than a function pointer.
#[derive(Clone, Copy)]
enum Setter {
    Com1,
    ConringSize,
    Console,
    ConsoleToRing,
    ConSwitch,
    Dom0MaxVcpus,
    Dom0Mem,
    GuestLogLevel,
    LogLevel,
    MaxCpus,
    NoReboot,
    NoSmp,
    SpecCtrl,
    SyncConsole,
    Timestamps,
    X2Apic,
}

/// One option: name, how it is written, what it sets.
struct Entry {
    name: &'static str,
    form: Form,
    setter: Setter,
}

const fn entry(name: &'static str, form: Form, setter: Setter) -> Entry {
    Entry { name, form, setter }
}

/// Every option that does something.
const TABLE: &[Entry] = &[
    entry("com1", Form::Value, Setter::Com1),
    entry("conring_size", Form::Value, Setter::ConringSize),
    entry("console", Form::Value, Setter::Console),
    entry("console_timestamps", Form::Either, Setter::Timestamps),
    entry("console_to_ring", Form::Boolean, Setter::ConsoleToRing),
    entry("conswitch", Form::Value, Setter::ConSwitch),
    entry("dom0_max_vcpus", Form::Value, Setter::Dom0MaxVcpus),
    entry("dom0_mem", Form::Value, Setter::Dom0Mem),
    entry("guest_loglvl", Form::Value, Setter::GuestLogLevel),
    entry("loglvl", Form::Value, Setter::LogLevel),
    entry("maxcpus", Form::Value, Setter::MaxCpus),
    entry("noreboot", Form::Boolean, Setter::NoReboot),
    entry("nosmp", Form::Boolean, Setter::NoSmp),
    entry("spec-ctrl", Form::Either, Setter::SpecCtrl),
    entry("sync_console", Form::Boolean, Setter::SyncConsole),
    entry("x2apic", Form::Boolean, Setter::X2Apic),
];

/// Options of Xen that have no effect here.
const WITHOUT_EFFECT: &str = "
    acpi acpi_pstate_strict acpi_skip_timer_override acpi_sleep allow_unsafe altp2m apic
    apic_verbosity apicv argo asid async-show-all ats availmem badpage bootscrub bootscrub_chunk
    cet clocksource cmci-threshold com2 core_parking cpufreq cpuid cpuidle cpuinfo
    crash-debug-debugkey crash-debug-hwdom crash-debug-kexeccmd crash-debug-panic
    crash-debug-watchdog crashinfo_maxaddr crashkernel dbgp debug_stack_lines debugtrace dit
    dma_bits dom0 dom0-cpuid dom0-iommu dom0_ioports_disable dom0_nodes dom0_vcpus_pin
    e820-mtrr-clip e820-verbose edd edid efi ehci ept extra_guest_irqs flask font force-ept
    global-pages gnttab gnttab_max_frames gnttab_max_maptrack_frames hap hap_1gb hap_2mb
    hardware_dom hest_disable hpet hvm_debug hvm_fep hvm_port80 idle_latency_factor invpcid
    ioapic_ack iommu iommu_dev_iotlb_timeout iommu_inclusive_mapping irq-max-guests
    irq_ratelimit irq_vector_map lapic lapic_timer_c2_ok ler lock-depth-size low_crashinfo
    low_mem_virq_limit max_cstate max_gsi_irqs mce mce_fb mce_verbosity mem memop-max-order
    mmcfg mmio-relax msi mtrr.show mwait-idle nmi no-real-mode noapic noirqbalance nolapic
    nr_irqs numa pci pci-phantom pcid ple_gap ple_window preferred-cstates probe-port-aliases
    psr pv pv-l1tf pv-linear-pt pv-shim reboot rmrr ro-hpet sched sched-gran
    sched_credit_tslice_ms sched_ratelimit_us sched_smt_power_savings scrub-domheap
    serial_tx_buffer shim_mem smap smep smt tboot tbuf_size tevt_mask
    tickle_one_idle_cpu timer_slop tsc tsx ucode unrestricted_guest vcpu_migration_delay
    vesa-ram vga viridian-spinlock-retry-count viridian-version vm-notify-window vpid vpmu
    wallclock watchdog watchdog_timeout x2apic-mode x2apic_phys xhci xpti xsave xsm
";

/// Does what one word asks.
pub(crate) fn apply_word(
    o: &mut Options,
    word: &[u8],
    report: &mut impl FnMut(&[u8], Problem),
) -> Result<(), Problem> {
    let (name, value) = match word.iter().position(|&b| b == b'=') {
        Some(i) => (word.get(..i).unwrap_or(b""), word.get(i.saturating_add(1)..)),
        None => (word, None),
    };
    let find = |n: &[u8]| TABLE.iter().find(|e| e.name.as_bytes() == n);
    let without = |n: &[u8]| WITHOUT_EFFECT.split_ascii_whitespace().any(|e| e.as_bytes() == n);
    let (entry, negated) = match (find(name), name.strip_prefix(b"no-")) {
        (Some(e), _) => (e, false),
        (None, Some(rest)) => match find(rest).filter(|e| e.form != Form::Value) {
            Some(e) => (e, true),
            None if without(rest) || without(name) => return Err(Problem::NoEffect),
            None => return Err(Problem::Unknown),
        },
        (None, None) if without(name) => return Err(Problem::NoEffect),
        (None, None) => return Err(Problem::Unknown),
    };
    let value = match (entry.form, negated, value) {
        (Form::Value, ..) => Some(value.ok_or(Problem::Malformed)?),
        (Form::Either, true, None) => Some(&b"no"[..]),
        (Form::Either, true, Some(_)) => return Err(Problem::Malformed),
        (_, _, value) => value,
    };
    let on = match entry.form {
        Form::Boolean => boolean(value).ok_or(Problem::Malformed)? != negated,
        Form::Value | Form::Either => true,
    };
    apply(o, entry.setter, value, on, report).ok_or(Problem::Malformed)
}

fn apply(
    o: &mut Options,
    setter: Setter,
    value: Option<&[u8]>,
    on: bool,
    report: &mut impl FnMut(&[u8], Problem),
) -> Option<()> {
    let text = value.unwrap_or(b"");
    match setter {
        Setter::Com1 => o.com1 = o.com1.parse(text)?,
        Setter::ConringSize => o.conring_size = Some(size(text).filter(|&s| s > 0)?),
        Setter::Console => o.console = Console::parse(text, report)?,
        Setter::ConsoleToRing => o.console_to_ring = on,
        Setter::ConSwitch => conswitch(o, text)?,
        Setter::Dom0MaxVcpus => o.dom0_max_vcpus = Some(VcpuRange::parse(text)?),
        Setter::Dom0Mem => o.dom0_mem.parse(text)?,
        Setter::GuestLogLevel => o.guest_loglvl = Levels::parse(text)?,
        Setter::LogLevel => o.loglvl = Levels::parse(text)?,
        Setter::MaxCpus => o.maxcpus = number32(text)?,
        Setter::NoReboot => o.noreboot = on,
        Setter::NoSmp => o.maxcpus = u32::from(on),
        Setter::SpecCtrl => o.spec_ctrl = o.spec_ctrl.parse(value.unwrap_or(b"yes"), report)?,
        Setter::SyncConsole => o.sync_console = on,
        Setter::Timestamps => o.timestamps = Stamp::parse(value)?,
        Setter::X2Apic => o.x2apic = on,
    }
    Some(())
}

/// A letter, then `x` if input stays with the hypervisor when dom0 starts. What is no letter turns
/// the switch off.
fn conswitch(o: &mut Options, value: &[u8]) -> Option<()> {
    let (first, rest) = value.split_first()?;
    let letter = first.to_ascii_lowercase();
    o.input_to_dom0 = match rest {
        b"" => true,
        b"x" => false,
        _ => return None,
    };
    o.conswitch = if letter.is_ascii_lowercase() { letter } else { 0 };
    Some(())
}
