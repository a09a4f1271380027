//! The options in force: what the command line said at boot.

pub use ::options::Options;
use ::options::{Problem, parse};
use machine::once::Once;

static OPTIONS: Once<Options> = Once::new();
static DEFAULTS: Options = Options::DEFAULT;

/// The options in force.
pub fn options() -> &'static Options {
    OPTIONS.get().unwrap_or(&DEFAULTS)
}

/// The boot loader's command line, without the image's name.
pub fn command_line() -> &'static [u8] {
    let line = machine::boot::info().map_or(&[][..], |i| i.command_line());
    // QEMU and GRUB 1 put the image's name first: a path, which no option's name is.
    let word_end = line.iter().position(|&b| b == b' ').unwrap_or(line.len());
    let first = line.get(..word_end).unwrap_or(&[]);
    let name = first.split(|&b| b == b'=').next().unwrap_or(&[]);
    let rest = if name.contains(&b'/') { line.get(word_end..) } else { Some(line) };
    rest.unwrap_or(&[]).trim_ascii_start()
}

/// Reads the boot loader's command line, says what is wrong with it and puts it in force.
#[inline(never)]
pub fn read_command_line() {
    let parsed = parse(command_line(), |word, problem| {
        let word = core::str::from_utf8(word).unwrap_or("?");
        match problem {
            Problem::Unknown => crate::warning!("Command line: unknown option \"{word}\" ignored"),
            Problem::Malformed => {
                crate::warning!("Command line: \"{word}\" is malformed; ignored");
            }
            Problem::NoEffect => crate::info!("Command line: \"{word}\" has no effect here"),
        }
    });
    OPTIONS.set(parsed);
}
