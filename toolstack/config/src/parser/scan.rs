//! Characters of a text, one after the other.

/// What is wrong with quoted text.
pub(super) struct Wrong {
    /// Where.
    pub at: usize,
    /// The whole text from its quote on is meant.
    pub whole: bool,
    pub message: String,
    pub help: Option<String>,
}

pub(super) struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        // A byte-order mark, as some editors leave it.
        Self { text, at: if text.starts_with('\u{feff}') { 3 } else { 0 } }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn at_end(&self) -> bool {
        self.rest().is_empty()
    }

    pub(super) fn looking_at(&self, text: &str) -> bool {
        self.rest().starts_with(text)
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += next.len_utf8();
        Some(next)
    }

    pub(super) fn eat(&mut self, wanted: char) -> bool {
        let there = self.peek() == Some(wanted);
        if there {
            self.bump();
        }
        there
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Blanks, and carriage returns, which are blanks here.
    pub(super) fn skip_space(&mut self) {
        self.take_while(is_space);
    }

    /// Blanks, newlines and comments.
    pub(super) fn skip_space_and_newlines(&mut self) {
        loop {
            self.take_while(|c| is_space(c) || c == '\n');
            if self.peek() != Some('#') {
                return;
            }
            self.take_while(|c| c != '\n');
        }
    }

    pub(super) fn at_statement_end(&self) -> bool {
        matches!(self.peek(), None | Some('\n' | ';' | '#'))
    }

    /// A key: a lower-case letter followed by lower-case letters, digits, `.`, `_`.
    pub(super) fn take_key(&mut self) -> &'a str {
        if self.peek().is_some_and(|c| c.is_ascii_lowercase()) {
            self.take_while(is_key)
        } else {
            ""
        }
    }

    /// `key =` or `key +=` follows at the start of a line: the list before it was not closed.
    pub(super) fn at_assignment(&self) -> bool {
        let rest = self.rest();
        if !rest.starts_with(|c: char| c.is_ascii_lowercase()) {
            return false;
        }
        let after = rest.trim_start_matches(is_key).trim_start_matches([' ', '\t']);
        after.starts_with('=') || after.starts_with("+=")
    }

    pub(super) fn rest_of_line(&self) -> &'a str {
        self.rest().split('\n').next().unwrap_or_default()
    }

    /// What stands there without quotes: to the end of the statement, in a list to the next
    /// comma or bracket.
    pub(super) fn take_bare(&mut self, in_list: bool) -> &'a str {
        let word = self
            .take_while(|c| !(matches!(c, '\n' | ';' | '#') || in_list && matches!(c, ',' | ']')));
        let trimmed = word.trim_end();
        self.at -= word.len() - trimmed.len();
        trimmed
    }

    /// On to the next line that starts a statement, over lists that are given up.
    pub(super) fn skip_to_next_statement(&mut self) {
        loop {
            self.take_while(|c| c != '\n');
            self.skip_space_and_newlines();
            if self.at_end() || !matches!(self.peek(), Some('"' | '\'' | '[' | ']' | ',')) {
                return;
            }
        }
    }

    /// Quoted text on one line, and whether it had no escapes.
    pub(super) fn take_quoted(&mut self, quote: char) -> Result<(String, bool), Wrong> {
        self.eat(quote);
        let mut text = String::new();
        let mut verbatim = true;
        loop {
            let at = self.at;
            match self.peek() {
                None | Some('\n') => {
                    return Err(Wrong {
                        at: self.at.saturating_sub(1),
                        whole: true,
                        message: format!(
                            "the text is not closed: a {quote} is missing in this line"
                        ),
                        help: None,
                    });
                }
                Some('\\') => {
                    verbatim = false;
                    self.bump();
                    text.push(self.escape().ok_or_else(|| Wrong {
                        at,
                        whole: false,
                        message: "this is no escape: a \\ itself is written \\\\".to_owned(),
                        help: None,
                    })?);
                }
                Some('\u{fffd}') => {
                    return Err(Wrong {
                        at,
                        whole: false,
                        message: "the text is not in UTF-8 here".to_owned(),
                        help: None,
                    });
                }
                Some(c) if c != '\t' && c.is_control() => {
                    return Err(Wrong {
                        at,
                        whole: false,
                        message: format!("a control character (code {}) in the text", u32::from(c)),
                        help: None,
                    });
                }
                Some(c) => {
                    self.bump();
                    if c == quote {
                        return Ok((text, verbatim));
                    }
                    text.push(c);
                }
            }
        }
    }

    /// What follows a backslash. Numbers are octal, or hexadecimal after `x`; libxlu reads them
    /// wrongly, nobody relies on that.
    fn escape(&mut self) -> Option<char> {
        let digits = |digits: &str, radix| {
            u32::from_str_radix(digits, radix)
                .ok()
                .filter(|code| (1..128).contains(code))
                .and_then(char::from_u32)
        };
        Some(match self.bump()? {
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            same @ ('\\' | '\'' | '"') => same,
            'x' => {
                let found = self.rest();
                let two = found.get(..2)?;
                self.at += 2;
                digits(two, 16)?
            }
            first @ '0'..='7' => {
                let mut number = String::from(first);
                while number.len() < 3 {
                    match self.peek() {
                        Some(next @ '0'..='7') => number.push(next),
                        _ => break,
                    }
                    self.bump();
                }
                digits(&number, 8)?
            }
            _ => return None,
        })
    }
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn is_key(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_')
}
