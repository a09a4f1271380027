//! Network interfaces (`xl-network-configuration(5)`).

use super::rate::parse_rate;
use super::{Grade, Word, WordError, known, number};
use crate::names::ParseMacError;
use crate::{Mac, Vif, VifType};

const PARAMETERS: [&str; 17] = [
    "mac",
    "bridge",
    "ip",
    "script",
    "vifname",
    "rate",
    "model",
    "mtu",
    "backend",
    "type",
    "gatewaydev",
    "netdev",
    "vlan",
    "devid",
    "accel",
    "trusted",
    "untrusted",
];

/// Longest name of a network interface, bytes (`IFNAMSIZ` - 1).
const MAX_IFNAME: usize = 15;

/// Reads one specification; everything that is wrong with it.
pub(crate) fn parse_vif(text: &str) -> (Vif, Vec<WordError>) {
    let mut vif = Vif::default();
    let mut faults = Vec::new();
    let mut seen: Vec<&str> = Vec::new();
    let mut rest = Some(Word { text, start: 0 });
    while let Some(here) = rest {
        let (word, after) = here.split(',');
        rest = after;
        let word = word.trim();
        if word.text.is_empty() {
            continue;
        }
        match word.text {
            "trusted" => vif.trusted = Some(true),
            "untrusted" => vif.trusted = Some(false),
            _ => match word.key_value() {
                Some((key, value)) => {
                    if seen.contains(&key.text) {
                        let message = format!("\"{}\" is given twice: the last one wins", key.text);
                        faults.push(key.wrong(message).grade(Grade::Note));
                    }
                    seen.push(key.text);
                    parameter(&mut vif, key, value, &mut faults);
                }
                None => faults.push(no_parameter(word)),
            },
        }
    }
    (vif, faults)
}

fn no_parameter(word: Word<'_>) -> WordError {
    let fault = word.wrong(format!("\"{}\" is no parameter=value of an interface", word.text));
    let help = if word.text.parse::<Mac>().is_ok() {
        format!("write mac={}", word.text)
    } else if PARAMETERS.contains(&word.text) {
        format!("write {}=...", word.text)
    } else {
        known(word.text, &PARAMETERS)
    };
    fault.help(help).grade(Grade::Unknown)
}

fn parameter(vif: &mut Vif, key: Word<'_>, value: Word<'_>, faults: &mut Vec<WordError>) {
    let text = || Some(value.text.to_owned());
    match key.text {
        "mac" => vif.mac = mac(value, faults),
        "bridge" => vif.bridge = interface_name(value, "bridge", faults),
        "ip" => vif.ip = text(),
        "script" => vif.script = text(),
        "vifname" => vif.vifname = interface_name(value, "vifname", faults),
        "model" => vif.model = text(),
        "backend" => vif.backend = text(),
        "vlan" => vif.vlan = text(),
        "gatewaydev" => vif.gatewaydev = text(),
        "netdev" => {
            vif.gatewaydev = text();
            let note = key.wrong("\"netdev\" is the old name of \"gatewaydev\"");
            faults.push(note.grade(Grade::Note));
        }
        "accel" => {
            faults.push(key.wrong("\"accel\" has no effect any more").grade(Grade::Note));
        }
        "rate" => match parse_rate(value) {
            Ok(rate) => vif.rate = Some(rate),
            Err(fault) => faults.push(fault),
        },
        "mtu" => {
            vif.mtu = number(value, "the MTU", faults);
            if vif.mtu.is_some_and(|mtu| !(68..=65535).contains(&mtu)) {
                let message = format!("the MTU {} is out of range (68 to 65535)", value.text);
                faults.push(value.wrong(message));
            }
        }
        "devid" => vif.devid = number(value, "the number of an interface", faults),
        "type" => match value.text {
            "ioemu" => vif.kind = Some(VifType::Ioemu),
            "vif" => vif.kind = Some(VifType::Vif),
            // What the manual of xm called it.
            "netfront" => {
                vif.kind = Some(VifType::Vif);
                let note = value.wrong("\"netfront\" is the old name of the type \"vif\"");
                faults.push(note.grade(Grade::Note));
            }
            other => {
                let message = format!("unknown type \"{other}\" of an interface");
                faults.push(value.wrong(message).help(known(other, &["vif", "ioemu"])));
            }
        },
        name if name == "forwarddev" || name.starts_with("colo_") => {
            faults.push(key.wrong("COLO interfaces are not supported yet"));
        }
        name => {
            let fault = key.wrong(format!("unknown interface parameter \"{name}\""));
            faults.push(fault.help(known(name, &PARAMETERS)).grade(Grade::Unknown));
        }
    }
}

fn mac(value: Word<'_>, faults: &mut Vec<WordError>) -> Option<Mac> {
    match value.text.parse() {
        Ok(mac) => Some(mac),
        Err(error @ ParseMacError::Placeholder(_)) => {
            let help =
                "put digits in their place (0 to 9, a to f), or leave mac= out: one is then drawn";
            faults.push(value.wrong(error.to_string()).help(help));
            None
        }
        Err(error) => {
            faults.push(value.wrong(error.to_string()));
            None
        }
    }
}

fn interface_name(value: Word<'_>, what: &str, faults: &mut Vec<WordError>) -> Option<String> {
    let name = value.text;
    if name.len() > MAX_IFNAME {
        let message = format!(
            "the {what} \"{name}\" is too long: interfaces have at most {MAX_IFNAME} characters"
        );
        faults.push(value.wrong(message));
    } else if name.contains(['/', ' ', '\t']) {
        let message = format!("the {what} \"{name}\" is no name of an interface");
        faults.push(value.wrong(message));
    }
    (!name.is_empty()).then(|| name.to_owned())
}
