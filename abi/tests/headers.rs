//! Compares every structure and every open set of numbers with the C headers of Debian's
//! `libxen-dev`, by way of a C program made from the tables of this crate.
//!
//! The headers are looked for in `$FERROXEN_XEN_HEADERS` (`xen/` or the folder it is in), else where
//! `cargo xtask setup` puts them.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use abi::layout::{Field, Layout};

/// Everything that is declared with `layouts!`.
const MODULES: &[(&str, &[Layout])] = &[
    ("arch_x86", abi::arch_x86::LAYOUTS),
    ("callback", abi::callback::LAYOUTS),
    ("domctl", abi::domctl::LAYOUTS),
    ("event_channel", abi::event_channel::LAYOUTS),
    ("grant_table", abi::grant_table::LAYOUTS),
    ("hvm", abi::hvm::LAYOUTS),
    ("io", abi::io::LAYOUTS),
    ("mca", abi::mca::LAYOUTS),
    ("memory", abi::memory::LAYOUTS),
    ("nmi", abi::nmi::LAYOUTS),
    ("physdev", abi::physdev::LAYOUTS),
    ("platform", abi::platform::LAYOUTS),
    ("pv", abi::pv::LAYOUTS),
    ("sched", abi::sched::LAYOUTS),
    ("sysctl", abi::sysctl::LAYOUTS),
    ("vcpu", abi::vcpu::LAYOUTS),
    ("version", abi::version::LAYOUTS),
    ("xen", abi::xen::LAYOUTS),
];

const INCLUDES: &str = r#"
#define __XEN_TOOLS__ 1
#include <stdint.h>
#include <stdio.h>
#include <stddef.h>
#include <xen/xen.h>
#include <xen/callback.h>
#include <xen/domctl.h>
#include <xen/elfnote.h>
#include <xen/event_channel.h>
#include <xen/features.h>
#include <xen/grant_table.h>
#include <xen/arch-x86/xen-mca.h>
#include <xen/memory.h>
#include <xen/nmi.h>
#include <xen/physdev.h>
#include <xen/platform.h>
#include <xen/sched.h>
#include <xen/sysctl.h>
#include <xen/vcpu.h>
#include <xen/version.h>
#include <xen/arch-x86/cpuid.h>
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/hvm/dm_op.h>
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/hvm_vcpu.h>
#include <xen/hvm/params.h>
#include <xen/io/console.h>
#include <xen/io/xs_wire.h>
"#;

fn headers() -> PathBuf {
    let dir = match std::env::var_os("FERROXEN_XEN_HEADERS") {
        Some(dir) => PathBuf::from(dir),
        None => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../target/anchors/trixie/headers/usr/include"),
    };
    let dir = if dir.join("xen.h").exists() { dir.join("..") } else { dir };
    assert!(
        dir.join("xen/xen.h").exists(),
        "no Xen headers in {}: run `cargo xtask setup`, or set FERROXEN_XEN_HEADERS",
        dir.display()
    );
    dir
}

/// Compiles and runs a C program of these lines in `main`; returns what it printed, by key.
fn run_c(name: &str, body: &str) -> HashMap<String, i64> {
    let dir = tempdir(name);
    let source = dir.join("probe.c");
    let program = dir.join("probe");
    std::fs::write(&source, format!("{INCLUDES}\nint main(void) {{\n{body}return 0;\n}}\n"))
        .expect("the probe can be written");
    let status = Command::new("cc")
        .args(["-std=gnu11", "-w", "-O0", "-I"])
        .arg(headers())
        .arg("-o")
        .args([&program, &source])
        .status()
        .expect("cc can be run");
    assert!(status.success(), "cc refused {}", source.display());
    let output = Command::new(&program).output().expect("the probe runs").stdout;
    let text = String::from_utf8(output).expect("the probe prints text");
    let _ = std::fs::remove_dir_all(&dir);
    text.lines()
        .map(|line| {
            let (key, value) = line.rsplit_once(' ').expect("a key and a value");
            (key.to_string(), value.parse().expect("a number"))
        })
        .collect()
}

fn tempdir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("ferroxen-abi-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).expect("a temporary folder can be made");
    dir
}

fn compared(field: &Field) -> bool {
    !field.name.starts_with('_') && !field.c_name.is_empty()
}

#[test]
fn every_structure_is_laid_out_as_in_c() {
    let mut body = String::new();
    let mut without = Vec::new();
    let mut count = 0;
    for (module, layouts) in MODULES {
        for layout in *layouts {
            if layout.c_name.is_empty() {
                without.push(format!("{module}::{}", layout.name));
                continue;
            }
            count += 1;
            let (key, c) = (format!("{module}::{}", layout.name), layout.c_name);
            writeln!(body, "printf(\"{key} %zu\\n\", sizeof({c}));").unwrap();
            for field in layout.fields.iter().filter(|f| compared(f)) {
                let (name, path) = (field.name, field.c_name);
                writeln!(body, "printf(\"{key}.{name}@ %zu\\n\", offsetof({c}, {path}));").unwrap();
                writeln!(body, "printf(\"{key}.{name}# %zu\\n\", sizeof((({c} *)0)->{path}));")
                    .unwrap();
            }
        }
    }
    let c = run_c("layouts", &body);
    let mut wrong = Vec::new();
    let mut check = |key: String, rust: usize| {
        if c[&key] != i64::try_from(rust).unwrap() {
            wrong.push(format!("{key}: {rust} here, {} in C", c[&key]));
        }
    };
    for (module, layouts) in MODULES {
        for layout in layouts.iter().filter(|l| !l.c_name.is_empty()) {
            let key = format!("{module}::{}", layout.name);
            check(key.clone(), layout.size);
            for field in layout.fields.iter().filter(|f| compared(f)) {
                check(format!("{key}.{}@", field.name), field.offset);
                check(format!("{key}.{}#", field.name), field.size);
            }
        }
    }
    println!(
        "abi: {count} structures compared, {} without a C counterpart: {}",
        without.len(),
        without.join(", ")
    );
    assert!(wrong.is_empty(), "layouts differ:\n{}", wrong.join("\n"));
}

/// The names and values of an open set, by the prefix that C gives the names.
macro_rules! sets {
    ($($prefix:literal: $set:ty,)*) => {
        vec![$(
            ($prefix, <$set>::ALL.iter().map(|(n, v)| (*n, v.0 as i64)).collect::<Vec<_>>()),
        )*]
    };
}

/// Names that the headers show to the hypervisor only, or that are named here otherwise.
const NOT_IN_C: &[&str] = &[
    "__HYPERVISOR_MCA",
    "__HYPERVISOR_PAGING_DOMCTL_CONT",
    "VIRQ_MCA",
    "EVTCHNOP_RESET_CONT",
    "XEN_DOMCTL_SOFT_RESET_CONT",
];

#[test]
fn every_number_of_an_open_set_is_that_of_c() {
    let sets: Vec<(&str, Vec<(&str, i64)>)> = sets! {
        "__HYPERVISOR_": abi::xen::Hypercall,
        "VIRQ_": abi::xen::Virq,
        "MMU_": abi::xen::MmuCmd,
        "MMUEXT_": abi::xen::MmuextCmd,
        "CONSOLEIO_": abi::xen::ConsoleioCmd,
        "VMASST_CMD_": abi::xen::VmassistCmd,
        "SEGBASE_": abi::pv::SegmentBase,
        "XENVER_": abi::version::VersionCmd,
        "SCHEDOP_": abi::sched::SchedCmd,
        "SHUTDOWN_": abi::sched::ShutdownReason,
        "VCPUOP_": abi::vcpu::VcpuCmd,
        "RUNSTATE_": abi::vcpu::Runstate,
        "EVTCHNOP_": abi::event_channel::EvtchnCmd,
        "EVTCHNSTAT_": abi::event_channel::EvtchnStat,
        "CALLBACKOP_": abi::callback::CallbackCmd,
        "CALLBACKTYPE_": abi::callback::CallbackType,
        "XENNMI_": abi::nmi::NmiCmd,
        "XEN_ELFNOTE_": abi::elfnote::ElfNote,
        "XENMEM_": abi::memory::MemoryCmd,
        "PHYSDEVOP_": abi::physdev::PhysdevCmd,
        "MAP_PIRQ_TYPE_": abi::physdev::MapPirqType,
        "GNTTABOP_": abi::grant_table::GrantCmd,
        "GNTST_": abi::grant_table::GrantStatus,
        "XENPF_": abi::platform::PlatformCmd,
        "XEN_EFI_": abi::platform::EfiFunction,
        "XEN_MC_": abi::mca::McCmd,
        "XEN_DOMCTL_": abi::domctl::DomctlCmd,
        "XEN_SYSCTL_": abi::sysctl::SysctlCmd,
        "XEN_SYSCTL_cpu_featureset_": abi::sysctl::FeaturesetIndex,
        "XEN_SYSCTL_cpu_policy_": abi::sysctl::PolicyIndex,
        "HVMOP_": abi::hvm::HvmCmd,
        "HVM_PARAM_": abi::hvm::HvmParam,
        "XEN_DMOP_": abi::hvm::DmCmd,
        "XS_": abi::io::XsType,
    };
    let macros = macros();
    let mut body = String::new();
    let mut expected = Vec::new();
    for (prefix, values) in &sets {
        for (name, value) in values {
            let key = format!("{prefix}{name}");
            if NOT_IN_C.contains(&key.as_str()) {
                continue;
            }
            // What is no macro is a constant of a C enum, in upper case.
            let c = macros.get(&key.to_lowercase()).unwrap_or(&key);
            writeln!(body, "printf(\"{key} %lld\\n\", (long long)({c}));").unwrap();
            expected.push((key, *value));
        }
    }
    let c = run_c("numbers", &body);
    let wrong: Vec<_> = expected.iter().filter(|(key, value)| c[key] != *value).collect();
    println!("abi: {} numbers compared, {} not in C", expected.len(), NOT_IN_C.len());
    assert!(wrong.is_empty(), "numbers differ: {wrong:?}");
}

/// All macros that the headers define, by their names in lower case.
fn macros() -> HashMap<String, String> {
    let dir = tempdir("macros");
    let source = dir.join("macros.c");
    std::fs::write(&source, INCLUDES).expect("the file can be written");
    let output = Command::new("cc")
        .args(["-std=gnu11", "-E", "-dM", "-I"])
        .arg(headers())
        .arg(&source)
        .output()
        .expect("cc can be run");
    let _ = std::fs::remove_dir_all(&dir);
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(|name| (name.to_lowercase(), name.to_string()))
        .collect()
}

#[test]
fn every_module_with_layouts_is_in_the_list() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut missing = Vec::new();
    for entry in std::fs::read_dir(source).expect("the sources are there") {
        let path = entry.expect("an entry").path();
        let file = if path.is_dir() { path.join("mod.rs") } else { path.clone() };
        let module = path.file_stem().unwrap().to_string_lossy().into_owned();
        let uses = std::fs::read_to_string(file).unwrap().lines().any(|l| l == "layouts! {");
        if uses && !MODULES.iter().any(|(name, _)| *name == module) {
            missing.push(module);
        }
    }
    assert!(missing.is_empty(), "not compared: {missing:?}");
}

/// What C puts before the names of our flags and limits.
const PREFIXES: &[&str] = &[
    "",
    "xen_",
    "xen_domctl_",
    "xen_sysctl_",
    "evtchn_",
    "xen",
    "xenmem_",
    "xenmem",
    "gnttab_",
    "xen_cpuid_",
    "xenpf_",
    "xen_hvm_",
    "xen_processor_",
    "vcpu_",
    "__",
];

/// The constants of a source file, as name and value: both are written as in C, but for `!`.
fn constants(source: &str) -> Vec<(String, String)> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in source.lines().map(str::trim) {
        match line {
            _ if line.starts_with("consts! {") || line.starts_with("super::consts! {") => {
                inside = true;
            }
            "}" => inside = false,
            _ if inside && !line.starts_with("//") => {
                if let Some((name, value)) = line.trim_end_matches(',').split_once(" = ") {
                    found.push((name.to_string(), value.replace('!', "~").replace('_', "")));
                }
            }
            _ => {}
        }
    }
    found
}

#[test]
fn every_flag_that_c_names_has_the_value_that_it_has_there() {
    let macros = macros();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut body = String::new();
    let mut count = 0;
    for module in MODULES.iter().map(|(name, _)| *name).chain(["elfnote"]) {
        let files = [format!("{module}.rs"), format!("{module}/numbers.rs")];
        for (name, value) in files
            .iter()
            .filter_map(|f| std::fs::read_to_string(dir.join(f)).ok())
            .flat_map(|s| constants(&s))
        {
            // Values that refer to other constants are left to the eye.
            let plain = value.replace("0x", "").chars().all(|c| !c.is_ascii_uppercase());
            let prefixes: &[&str] = if module == "version" { &["xenfeat_"] } else { PREFIXES };
            let c =
                prefixes.iter().find_map(|p| macros.get(&format!("{p}{}", name.to_lowercase())));
            if let (true, Some(c)) = (plain, c) {
                count += 1;
                let key = format!("{module}::{name}");
                let equal = format!("(uint32_t)({c}) == (uint32_t)({value})");
                writeln!(body, "printf(\"{key} %d\\n\", {equal});").unwrap();
            }
        }
    }
    let wrong: Vec<_> =
        run_c("flags", &body).into_iter().filter(|(_, equal)| *equal != 1).collect();
    println!("abi: {count} flags compared");
    assert!(count > 300, "only {count} flags were found in C");
    assert!(wrong.is_empty(), "flags differ: {wrong:?}");
}
