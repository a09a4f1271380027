//! The terminal of the live view: keys one by one, and the old settings back at the end.

use crate::output;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::stdio;
use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use std::time::Duration;

/// What was pressed while waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Nothing.
    None,
    /// This letter.
    Letter(char),
    /// What ends the view: q, control C, or the end of input.
    Quit,
}

/// A terminal whose keys come one by one, without echo.
pub struct Terminal {
    before: Termios,
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
        Ok(Self { before })
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
                let mut bytes = [0; 8];
                match rustix::io::read(stdin, &mut bytes) {
                    Ok(0) | Err(_) => Key::Quit,
                    Ok(length) => meaning(bytes.get(..length).unwrap_or_default()),
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

/// What was typed at once: one key, as people are slow, which may be of several bytes.
fn meaning(bytes: &[u8]) -> Key {
    match bytes {
        // Control C and D, escape.
        [3 | 4 | b'q' | b'Q', ..] | [27] => Key::Quit,
        // Arrows and the like begin with it.
        [27, ..] | [] => Key::None,
        [byte, ..] => Key::Letter(char::from(*byte)),
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

    #[test]
    fn q_and_control_c_end_the_view() {
        assert_eq!(meaning(b"q"), Key::Quit);
        assert_eq!(meaning(&[3]), Key::Quit);
        assert_eq!(meaning(&[27]), Key::Quit);
        assert_eq!(meaning(b"s"), Key::Letter('s'));
    }

    #[test]
    fn an_arrow_ends_nothing() {
        assert_eq!(meaning(b"\x1b[A"), Key::None);
    }
}
