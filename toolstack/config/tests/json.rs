//! libxl's forms, held against what Debian's xl 4.20 prints (`tests/json`).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A test fails by panicking.

use std::fs;
use std::path::PathBuf;

use xl_config::{CpuSet, DomainConfig, HostCpus, JsonError, Lax, XlConf, parse, validate};

fn file(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/json").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn config(name: &str) -> DomainConfig {
    let document = parse(&file(name), name).unwrap();
    let mut config = validate(&document, &Lax::default()).unwrap().config;
    // The host that the golden files were made on.
    let host = HostCpus { cpus: CpuSet::first(8), nodes: Vec::new() };
    config.resolve_cpus(&host).unwrap();
    config
}

#[test]
fn a_dry_run_prints_what_debians_xl_prints() {
    for name in ["least", "everything", "devices"] {
        assert_eq!(
            config(&format!("{name}.cfg")).to_json(),
            file(&format!("{name}.json")),
            "{name}"
        );
    }
}

#[test]
fn a_dry_run_shows_the_defaults_of_xl_conf() {
    let (conf, warnings) = XlConf::parse(&file("defaults.conf"), "xl.conf").unwrap();
    assert_eq!(warnings, []);
    let mut config = config("defaults.cfg");
    conf.apply(&mut config);
    assert_eq!(config.to_json(), file("defaults.json"));
}

#[test]
fn s_expressions_are_what_debians_xl_prints() {
    assert_eq!(config("everything.cfg").to_sxp(None), file("everything.sxp"));
}

#[test]
fn what_is_stored_is_what_debians_libxl_stores() {
    assert_eq!(config("stored.cfg").to_stored_json(), file("stored.json"));
}

#[test]
fn both_forms_are_read_back_as_what_was_written() {
    for name in ["least", "everything", "devices", "defaults"] {
        let config = config(&format!("{name}.cfg"));
        let mut read = DomainConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(read.to_json(), config.to_json(), "{name}");
        read.written = config.written;
        assert_eq!(read, config, "{name}");
        let mut stored = DomainConfig::from_json(&config.to_stored_json()).unwrap();
        stored.written = config.written;
        for (stored, vif) in stored.vifs.iter_mut().zip(&config.vifs) {
            stored.kind = vif.kind;
        }
        assert_eq!(stored, config, "{name}");
    }
}

#[test]
fn a_file_of_libxl_with_its_nul_is_read() {
    let stored = DomainConfig::from_json(&format!("{}\0", file("stored.json"))).unwrap();
    assert_eq!(stored.to_stored_json(), file("stored.json"));
    assert_eq!(stored.name, "full");
    assert_eq!((stored.memory_kib, stored.max_memory_kib), (128 << 10, 160 << 10));
    assert_eq!((stored.vcpus, stored.max_vcpus), (1, 2));
}

#[test]
fn what_libxl_keeps_of_dom0_is_read_and_written() {
    let text = "{\n    \"c_info\": {\n        \"type\": \"pv\",\n        \"name\": \"Domain-0\"\n    },\n    \
         \"b_info\": {\n        \"max_memkb\": 786432,\n        \"target_memkb\": 786431,\n        \
         \"sched_params\": {\n\n        },\n        \"type.pv\": {\n\n        },\n        \
         \"arch_arm\": {\n\n        },\n        \"arch_x86\": {\n\n        }\n    }\n}\n";
    assert_eq!(DomainConfig::from_json(text).unwrap().to_json(), text);
}

#[test]
fn a_shared_disk_stays_shared() {
    let text = "name='a'\nkernel='/k'\nmemory=1\ndisk=['phy:/dev/vg/a,xvda,w!']\n";
    let config = validate(&parse(text, "a").unwrap(), &Lax::default()).unwrap().config;
    assert_eq!(DomainConfig::from_json(&config.to_json()).unwrap(), config);
}

#[test]
fn what_cannot_be_taken_is_refused_by_its_path() {
    let refused = |text: &str| DomainConfig::from_json(text).unwrap_err().to_string();
    let with = |create: &str, build: &str, rest: &str| {
        format!("{{\"c_info\": {{{create}}}, \"b_info\": {{{build}}}{rest}}}")
    };
    for (text, want) in [
        ("{".to_owned(), "the configuration is no JSON"),
        ("[]".to_owned(), "the field (whole) cannot be []"),
        ("{}".to_owned(), "the configuration has no field c_info"),
        (with("", "", ""), "the configuration has no field c_info.type"),
        (
            with("\"type\": \"hvm\"", "", ""),
            "the configuration's c_info.type (HVM guest) is not supported yet",
        ),
        (
            with("\"type\": \"pv\"", "\"max_vcpus\": 0", ""),
            "the field b_info.max_vcpus cannot be 0",
        ),
        (
            with("\"type\": \"pv\"", "\"max_vcpus\": -1", ""),
            "the field b_info.max_vcpus cannot be -1",
        ),
        (
            with("\"type\": \"pv\"", "", ", \"disks\": [{\"vdev\": \"xyz\"}]"),
            "the field disks[0].vdev cannot be \"xyz\"",
        ),
        (
            with("\"type\": \"pv\"", "", ", \"nics\": [{}, {\"mac\": \"1\"}]"),
            "the field nics[1].mac cannot be \"1\"",
        ),
        (
            with("\"type\": \"pv\"", "", ", \"pcidevs\": [{}]"),
            "the configuration's pcidevs (PCI devices) is not supported yet",
        ),
        (
            with("\"type\": \"pv\"", "", ", \"on_crash\": \"explode\""),
            "the field on_crash cannot be \"explode\"",
        ),
    ] {
        assert_eq!(refused(&text), want, "{text}");
    }
    assert!(matches!(DomainConfig::from_json("x"), Err(JsonError::Syntax(_))));
}
