//! Virtual frame buffers.

use super::{Grade, Word, WordError, flag, known, number};
use crate::Vfb;

const PARAMETERS: [&str; 11] = [
    "vnc",
    "vnclisten",
    "vncdisplay",
    "vncunused",
    "vncpasswd",
    "sdl",
    "opengl",
    "display",
    "xauthority",
    "keymap",
    "type",
];

/// Reads one specification; everything that is wrong with it.
pub(crate) fn parse_vfb(text: &str) -> (Vfb, Vec<WordError>) {
    let mut vfb = Vfb::default();
    let mut faults = Vec::new();
    let mut rest = Some(Word { text, start: 0 });
    while let Some(here) = rest {
        let (word, after) = here.split(',');
        rest = after;
        let word = word.trim();
        if word.text.is_empty() {
            continue;
        }
        match word.key_value() {
            Some((key, value)) => parameter(&mut vfb, key, value, &mut faults),
            None => {
                let fault = word.wrong(format!("\"{}\" is no parameter=value", word.text));
                faults.push(fault.help(known(word.text, &PARAMETERS)).grade(Grade::Unknown));
            }
        }
    }
    (vfb, faults)
}

fn parameter(vfb: &mut Vfb, key: Word<'_>, value: Word<'_>, faults: &mut Vec<WordError>) {
    let text = || Some(value.text.to_owned());
    match key.text {
        "vnc" => vfb.vnc = flag(value, faults),
        "vnclisten" => vfb.vnc_listen = text(),
        "vncdisplay" => vfb.vnc_display = number(value, "the display", faults),
        "vncunused" => vfb.vnc_unused = flag(value, faults),
        "vncpasswd" => vfb.vnc_password = text(),
        "sdl" => vfb.sdl = flag(value, faults),
        "opengl" => vfb.opengl = flag(value, faults),
        "display" => vfb.display = text(),
        "xauthority" => vfb.xauthority = text(),
        "keymap" => vfb.keymap = text(),
        // xm's: libxl ignores it and serves VNC whatever it says; here it means what it says.
        "type" => match value.text {
            "vnc" => {}
            "sdl" => {
                vfb.sdl = Some(true);
                vfb.vnc = vfb.vnc.or(Some(false));
            }
            other => {
                let fault = value.wrong(format!("unknown type \"{other}\" of a frame buffer"));
                faults.push(fault.help(known(other, &["vnc", "sdl"])));
            }
        },
        name => {
            let fault = key.wrong(format!("unknown frame buffer parameter \"{name}\""));
            faults.push(fault.help(known(name, &PARAMETERS)).grade(Grade::Unknown));
        }
    }
}
