//! Every key of the table, through the table.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A test fails by panicking.

use xl_config::{
    Diagnostic, Form, Guests, HOST_KEYS, KEYS, Key, Lax, Status, XlConf, parse, validate,
};

/// A value of a key's form that is not its default.
fn value(key: &Key) -> String {
    match key.name {
        "name" => "\"guest\"".to_owned(),
        "type" => "\"pv\"".to_owned(),
        "builder" => "\"generic\"".to_owned(),
        "uuid" => "\"0f5c6a1e-1234-4bcd-8eef-00163e123456\"".to_owned(),
        "firmware" => "\"pvgrub64\"".to_owned(),
        "cpuid" | "viridian" | "timer_mode" | "gfx_passthru" => "\"x\"".to_owned(),
        "disk" => "[ \"/a,raw,xvda,rw\" ]".to_owned(),
        "vif" | "vfb" => "[ \"\" ]".to_owned(),
        _ => match key.form {
            Form::Text | Form::Path => "\"/x\"".to_owned(),
            Form::Flag => "1".to_owned(),
            Form::Number(from, to) | Form::Mib(from, to) => (from + 3).min(to).to_string(),
            Form::Choice(words) | Form::ChoiceOrNumber(words) | Form::FlagOrChoice(words) => {
                format!("\"{}\"", words.last().unwrap())
            }
            Form::Cpus => "\"0\"".to_owned(),
            Form::List | Form::Texts => "[ \"x\" ]".to_owned(),
            Form::Any => "\"x\"".to_owned(),
        },
    }
}

/// A value that the key's form cannot take.
fn wrong_value(form: Form) -> Option<&'static str> {
    match form {
        Form::Text | Form::Path => Some("[ \"x\", \"y\" ]"),
        Form::Flag | Form::Number(..) | Form::Mib(..) => Some("\"many\""),
        Form::Choice(_) | Form::ChoiceOrNumber(_) | Form::FlagOrChoice(_) => Some("\"qqqq\""),
        Form::Cpus => Some("\"qqqq\""),
        Form::List => Some("7"),
        Form::Texts => Some("bare"),
        Form::Any => None,
    }
}

/// A guest with one key set; what it needs besides comes first.
fn check(key: &Key, value: &str) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
    let mut text = String::new();
    for (name, line) in
        [("name", "name='a'\n"), ("kernel", "kernel='/k'\n"), ("memory", "memory=3\n")]
    {
        if name != key.name && !(name == "kernel" && key.name == "firmware") {
            text.push_str(line);
        }
    }
    if matches!(key.name, "vcpus" | "maxmem") {
        text.push_str("maxvcpus=9\n");
    }
    text.push_str(&format!("{} = {value}\n", key.name));
    let document = parse(&text, "guest.cfg").unwrap_or_else(|errors| panic!("{errors}"));
    validate(&document, &Lax::default()).map(|v| v.warnings).map_err(|errors| errors.0)
}

#[test]
fn each_key_stands_once_in_the_table() {
    for (index, key) in KEYS.iter().enumerate() {
        assert!(KEYS.iter().skip(index + 1).all(|other| other.name != key.name), "{}", key.name);
        assert!(!key.help.is_empty() && key.help.len() < 80, "{}", key.name);
    }
    assert!(KEYS.len() >= 160);
}

#[test]
fn each_key_is_taken_ignored_or_refused_as_its_status_says() {
    for key in KEYS {
        let answer = check(key, &value(key));
        let named = |said: &[Diagnostic], words: &str| {
            said.iter().any(|d| d.message.contains(key.name) && d.message.contains(words))
        };
        let elsewhere = !key.guests.pv();
        match (key.status, elsewhere, &answer) {
            (Status::Done, false, Ok(said)) => assert_eq!(said, &[], "{}", key.name),
            (Status::Ignored(_), _, Ok(said)) | (_, true, Ok(said)) => {
                assert!(named(said, "no effect"), "{}: {said:?}", key.name);
            }
            (Status::Refused, false, Err(said)) => {
                assert!(named(said, "not supported yet"), "{}: {said:?}", key.name);
            }
            other => panic!("{}: {other:?}", key.name),
        }
    }
}

#[test]
fn each_key_refuses_a_value_of_another_type() {
    for key in KEYS.iter().filter(|key| key.status == Status::Done && key.guests.pv()) {
        let Some(wrong) = wrong_value(key.form) else { continue };
        let said = check(key, wrong).expect_err(key.name);
        // The message stands at the value, in the last line.
        assert!(said.iter().any(|d| d.line >= 1 && d.column > 1), "{}: {said:?}", key.name);
    }
}

#[test]
fn what_asks_for_nothing_is_not_refused() {
    for key in KEYS.iter().filter(|key| key.status == Status::Refused && key.guests.pv()) {
        let nothing = match key.form {
            Form::List => "[ ]",
            Form::Flag | Form::Number(..) | Form::Mib(..) => "0",
            _ => "\"\"",
        };
        assert_eq!(check(key, nothing), Ok(Vec::new()), "{}", key.name);
    }
}

#[test]
fn each_key_of_an_hvm_guest_is_known_there() {
    for key in KEYS.iter().filter(|key| matches!(key.guests, Guests::Hvm | Guests::HvmPvh)) {
        let text = format!("name='a'\ntype='hvm'\nmemory=64\n{} = {}\n", key.name, value(key));
        let said = validate(&parse(&text, "a").unwrap(), &Lax::default()).unwrap_err().0;
        let [one] = said.as_slice() else { panic!("{}: {said:?}", key.name) };
        assert_eq!(one.message, "HVM guests are not supported yet", "{}", key.name);
    }
}

#[test]
fn each_key_of_xl_conf_is_known_there() {
    for key in HOST_KEYS {
        let text = format!("{} = {}\n", key.name, value(key));
        let (_, said) =
            XlConf::parse(&text, "xl.conf").unwrap_or_else(|e| panic!("{}: {e}", key.name));
        assert_eq!(said.is_empty(), key.status == Status::Done, "{}: {said:?}", key.name);
    }
}

#[test]
fn xl_conf_passes_over_what_it_does_not_know_and_refuses_what_is_wrong() {
    let (conf, said) = XlConf::parse("autobaloon=1\nautoballoon=\"off\"\n", "xl.conf").unwrap();
    assert_eq!(conf.autoballoon, xl_config::Autoballoon::Off);
    let [one] = said.as_slice() else { panic!("{said:?}") };
    assert_eq!(one.help.as_deref(), Some("did you mean \"autoballoon\"?"));
    assert!(XlConf::parse("domid_policy=\"dice\"\n", "xl.conf").is_err());
    assert_eq!(XlConf::parse("", "xl.conf").unwrap().0, XlConf::default());
}
