//! No input makes a parser panic, and what is said stands within the text.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A test fails by panicking.

use proptest::prelude::*;
use xl_config::{
    CpuList, Diagnostic, Disk, DomainConfig, Errors, Lax, Mac, PoolConfig, Uuid, Vdev, Vif, XlConf,
    parse, parse_bytes, parse_with_words, report, validate,
};

/// A place that is said lies within the text.
fn within(text: &str, said: &[Diagnostic]) {
    for one in said.iter().filter(|one| one.line != 0) {
        let line = text.split('\n').nth(one.line as usize - 1).expect("the line is there");
        assert_eq!(one.text, line.trim_end_matches('\r'));
        assert!(one.column >= 1 && one.column as usize <= line.chars().count() + 1, "{one:?}");
        assert!(one.width >= 1);
    }
    assert!(!report(said, true).is_empty() || said.is_empty());
}

fn all(text: &str) {
    let said = match parse(text, "a.cfg") {
        Err(Errors(said)) => said,
        Ok(document) => {
            let _ = PoolConfig::validate(&document, &Lax::default());
            match validate(&document, &Lax::default()) {
                Err(Errors(said)) => said,
                Ok(validated) => {
                    let json = validated.config.to_json();
                    let read = DomainConfig::from_json(&json).expect("what was written is read");
                    // Lists of CPUs that depend on the host are not written.
                    if validated.config.hard_affinity.is_empty() {
                        assert_eq!(read.to_json(), json);
                    }
                    validated.config.to_sxp(None);
                    validated.warnings
                }
            }
        }
    };
    within(text, &said);
    if let Err(Errors(said)) = XlConf::parse(text, "a.cfg") {
        within(text, &said);
    }
}

/// Texts that look like configurations often enough to get far.
fn like_a_file() -> impl Strategy<Value = String> {
    let keys: Vec<&str> = xl_config::KEYS.iter().map(|key| key.name).collect();
    let key = prop_oneof![4 => proptest::sample::select(keys), 1 => Just("memroy")];
    let words = [
        "xvda",
        "raw",
        "/srv/a.img",
        "phy:",
        "file:",
        "vdev=",
        "target=",
        "w!",
        ",",
        ":",
        "=",
        "cdrom",
        "mac=",
        "00:16:3e:00:00:01",
        "bridge=",
        "rate=",
        "10Mb/s",
        "@",
        "20ms",
        "0-3",
        "^1",
        "node:0",
        "all",
        "hvm",
        "pv",
        "1",
        "0",
        "-1",
        "512M",
        "99999999999999999999",
        " ",
        "\\n",
        "\\x41",
        "\\q",
        "é",
        "destroy",
    ];
    let inner = proptest::collection::vec(proptest::sample::select(words.to_vec()), 0..8)
        .prop_map(|words| words.concat());
    let value = prop_oneof![
        inner.clone().prop_map(|text| format!("\"{text}\"")),
        inner.clone().prop_map(|text| format!("'{text}'")),
        inner.clone(),
        (0_u64..5000).prop_map(|number| number.to_string()),
        proptest::collection::vec(inner.clone(), 0..4)
            .prop_map(|items| format!("[ \"{}\", ]", items.join("\",\n \""))),
        inner.prop_map(|text| format!("[ {text}")),
    ];
    let line = (key, prop_oneof![Just(" = "), Just("+="), Just(" ")], value)
        .prop_map(|(key, sign, value)| format!("{key}{sign}{value}"));
    let ends = prop_oneof![6 => Just("\n"), 1 => Just(";"), 1 => Just("\r\n"), 1 => Just(" # c\n"), 1 => Just("")];
    proptest::collection::vec((line, ends), 0..12).prop_map(|lines| {
        lines.into_iter().map(|(line, end)| format!("{line}{end}")).collect::<String>()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse_bytes(&bytes, "a.cfg");
        all(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_text_of_the_grammars_characters_is_answered(text in "[a-z_0-9=+\\[\\]'\", \\\\\n#;.:\u{e9}-]{0,200}") {
        all(&text);
    }

    #[test]
    fn any_text_like_a_file_is_answered(text in like_a_file()) {
        all(&text);
    }

    #[test]
    fn any_good_head_with_anything_after_it_is_answered(text in like_a_file()) {
        all(&format!("name='a'\nkernel='/k'\nmemory=64\n{text}"));
    }

    #[test]
    fn any_words_of_a_command_line_are_answered(words in proptest::collection::vec(".{0,40}", 0..4)) {
        if let Ok(document) = parse_with_words(b"name='a'\n", "a.cfg", &words) {
            let _ = validate(&document, &Lax { unknown: true });
        }
    }

    #[test]
    fn any_word_is_answered(text in "[a-z0-9:=,^@/. !-]{0,60}|.{0,40}") {
        for fault in [Disk::parse(&text).err(), Vif::parse(&text).err()].into_iter().flatten() {
            prop_assert!(fault.start <= text.len() && !fault.message.is_empty());
        }
        if let Ok(list) = CpuList::parse(&text) {
            prop_assert_eq!(CpuList::parse(&list.to_string()), Ok(list));
        }
        if let Some(vdev) = Vdev::parse(&text) {
            prop_assert_eq!(Vdev::from_number(vdev.number()).number(), vdev.number());
        }
        if let Ok(mac) = text.parse::<Mac>() {
            prop_assert_eq!(mac.to_string().parse::<Mac>(), Ok(mac));
        }
        if let Ok(uuid) = text.parse::<Uuid>() {
            prop_assert_eq!(uuid.to_string().parse::<Uuid>(), Ok(uuid));
        }
    }

    #[test]
    fn any_change_of_a_stored_configuration_is_answered(at in 0_usize..2472, byte in any::<u8>(), cut in 0_usize..2472) {
        let mut bytes = include_bytes!("json/stored.json").to_vec();
        bytes[at] = byte;
        let _ = DomainConfig::from_json(&String::from_utf8_lossy(&bytes));
        let _ = DomainConfig::from_json(&String::from_utf8_lossy(&bytes[..cut]));
    }

    #[test]
    fn any_number_of_a_disk_has_a_name_of_that_number(number in any::<u32>()) {
        let vdev = Vdev::from_number(number);
        prop_assert_eq!(Vdev::parse(vdev.name()).map(|vdev| vdev.number()), Some(number));
    }
}

#[test]
fn deep_and_long_texts_are_answered_quickly() {
    for text in [
        "[".repeat(100_000),
        format!("a = {}", "[".repeat(100_000)),
        "a=1\n".repeat(100_000),
        format!("a = \"{}\"", "x".repeat(900_000)),
        "a = [".repeat(50_000),
        "x".repeat(3 << 20),
    ] {
        let start = std::time::Instant::now();
        all(&text);
        assert!(start.elapsed().as_secs() < 20, "{}", &text[..20]);
    }
}
