//! The terminal of the live view: keys one by one, and the old settings back at the end.

use crate::output;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::cell::Cell;
use std::time::Duration;

/// What was pressed while waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Nothing.
    None,
    /// This letter.
    Letter(char),
    /// What ends the view: q, control C or D, or the end of input.
    Quit,
}

/// A terminal whose keys come one by one, without echo.
pub struct Terminal {
    before: Termios,
    within: Cell<Within>,
}

impl Terminal {
    /// Takes the terminal.
    ///
    /// # Errors
    /// Standard input or output is none.
    pub fn open() -> std::io::Result<Self> {
        let before = termios::tcgetattr(stdio::stdin())?;
        termios::tcgetattr(stdio::stdout())?;
        let mut raw = before.clone();
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        termios::tcsetattr(stdio::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before, within: Cell::new(Within::Nothing) })
    }

    /// Shows a page from the top of the screen, cut to its size.
    pub fn show(&self, page: &str) {
        let (columns, rows) = termios::tcgetwinsize(stdio::stdout())
            .map(|size| (usize::from(size.ws_col), usize::from(size.ws_row)))
            .ok()
            .filter(|(columns, rows)| *columns > 0 && *rows > 0)
            .unwrap_or((80, 24));
        output::print(&screen(page, columns, rows));
    }

    /// What is pressed within some time.
    pub fn key(&self, limit: Duration) -> Key {
        let limit = Timespec::try_from(limit).unwrap_or(Timespec { tv_sec: 3, tv_nsec: 0 });
        let stdin = stdio::stdin();
        match poll(&mut [PollFd::from_borrowed_fd(stdin, PollFlags::IN)], Some(&limit)) {
            Ok(0) | Err(_) => Key::None,
            Ok(_) => {
                let mut byte = [0];
                match rustix::io::read(stdin, &mut byte) {
                    Ok(1) => {
                        let (within, key) = meaning(self.within.get(), byte[0]);
                        self.within.set(within);
                        key
                    }
                    _ => Key::Quit,
                }
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // There is nobody to tell if the terminal is gone.
        let _ = termios::tcsetattr(stdio::stdin(), OptionalActions::Now, &self.before);
    }
}

/// Where in the bytes of a key like an arrow: they come one by one, on a slow line with pauses between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// In none.
    Nothing,
    /// After its escape.
    Escape,
    /// After what follows that: up to a letter or `~`.
    Sequence,
}

fn meaning(within: Within, byte: u8) -> (Within, Key) {
    match (within, byte) {
        (Within::Sequence, 0x40..=0x7e) => (Within::Nothing, Key::None),
        (Within::Sequence, _) | (Within::Escape, b'[' | b'O') => (Within::Sequence, Key::None),
        (_, 27) => (Within::Escape, Key::None),
        // Control C and D.
        (_, 3 | 4 | b'q' | b'Q') => (Within::Nothing, Key::Quit),
        (_, byte) => (Within::Nothing, Key::Letter(char::from(byte))),
    }
}

/// A page for a screen of this size: home, each line cut and cleared to its end, the rest cleared.
fn screen(page: &str, columns: usize, rows: usize) -> String {
    let mut text = String::from("\x1b[H");
    for (index, line) in page.lines().take(rows).enumerate() {
        text.push_str(if index == 0 { "" } else { "\r\n" });
        text.extend(line.chars().take(columns));
        text.push_str("\x1b[K");
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_cut_to_the_screen() {
        assert_eq!(screen("abcd\nef\ngh\n", 3, 2), "\x1b[Habc\x1b[K\r\nef\x1b[K\x1b[J");
    }

    fn typed(bytes: &[u8]) -> Vec<Key> {
        let mut within = Within::Nothing;
        let keys = bytes.iter().map(|byte| {
            let (next, key) = meaning(within, *byte);
            within = next;
            key
        });
        keys.filter(|key| *key != Key::None).collect()
    }

    #[test]
    fn q_and_control_c_end_the_view() {
        assert_eq!(typed(b"q\x03s"), [Key::Quit, Key::Quit, Key::Letter('s')]);
    }

    #[test]
    fn an_arrow_is_no_letter_and_ends_nothing() {
        assert_eq!(typed(b"\x1b[B\x1bOA\x1b[15~n"), [Key::Letter('n')]);
        assert_eq!(typed(b"\x1bq"), [Key::Quit]);
    }
}
