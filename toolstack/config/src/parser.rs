//! From text to a [`Document`].
//!
//! The grammar is libxlu's, widened where its own is a trap: carriage returns before newlines
//! and a comment on a last line without newline are accepted. Values without quotes are taken
//! as [`ValueKind::Bare`], so that the check of the key can say what should stand there.

mod scan;
mod words;

use crate::document::{Document, Setting, Value, ValueKind};
use crate::source::{Source, Span};
use crate::{Diagnostic, Errors};
use scan::Scanner;

/// Longest text that is read, bytes.
pub const MAX_TEXT: usize = 1 << 20;

/// Most errors that are reported at once.
pub const MAX_ERRORS: usize = 20;

/// Deepest nesting of lists.
const MAX_DEPTH: usize = 8;

/// The name of a source that is the command line's words.
pub const COMMAND_LINE: &str = "command line";

/// Parses a file's text. All errors found are reported (at most [`MAX_ERRORS`]).
pub fn parse(text: &str, file: &str) -> Result<Document, Errors> {
    parse_sources(&[(file, text)])
}

/// Parses a file's bytes. What is not UTF-8 may stand in comments only.
pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Document, Errors> {
    parse(&String::from_utf8_lossy(bytes), file)
}

/// Parses a file's bytes followed by the `key=value` words of a command line.
pub fn parse_with_words(bytes: &[u8], file: &str, words: &[String]) -> Result<Document, Errors> {
    let text = String::from_utf8_lossy(bytes);
    let words = words.join("\n");
    parse_sources(&[(file, &text), (COMMAND_LINE, &words)])
}

/// Parses several texts as one.
pub fn parse_sources(sources: &[(&str, &str)]) -> Result<Document, Errors> {
    let mut document = Document::default();
    let mut errors = Vec::new();
    for (index, (name, text)) in sources.iter().enumerate() {
        let source = Source { name: (*name).to_owned(), text: (*text).to_owned() };
        if text.len() > MAX_TEXT {
            let message = format!(
                "the file has {} bytes, more than a configuration ever has ({MAX_TEXT})",
                text.len()
            );
            errors.push(Diagnostic::error(name, message).help("is it the right file?"));
        } else {
            let mut parser =
                Parser { source: &source, index, scanner: Scanner::new(text), errors: Vec::new() };
            parser.statements(&mut document.settings);
            errors.append(&mut parser.errors);
        }
        document.sources.push(source);
    }
    if errors.is_empty() { Ok(document) } else { Err(Errors(errors)) }
}

struct Parser<'a> {
    source: &'a Source,
    index: usize,
    scanner: Scanner<'a>,
    errors: Vec<Diagnostic>,
}

/// The statement or list is given up; its error is recorded.
struct GivenUp;

impl Parser<'_> {
    fn statements(&mut self, settings: &mut Vec<Setting>) {
        loop {
            self.scanner.skip_space_and_newlines();
            if self.scanner.at_end() {
                return;
            }
            if self.scanner.eat(';') {
                continue;
            }
            if self.errors.len() >= MAX_ERRORS {
                return;
            }
            match self.statement() {
                Ok(setting) => settings.push(setting),
                Err(GivenUp) => self.scanner.skip_to_next_statement(),
            }
        }
    }

    fn statement(&mut self) -> Result<Setting, GivenUp> {
        let start = self.scanner.at();
        let key = self.scanner.take_key().to_owned();
        let span = self.span(start);
        if key.is_empty() {
            return Err(self.not_a_statement(start));
        }
        self.scanner.skip_space();
        let append = self.scanner.looking_at("+=");
        if append {
            self.scanner.eat('+');
        }
        if !self.scanner.eat('=') {
            return Err(self.not_a_statement(start));
        }
        if self.scanner.looking_at("=") {
            return Err(self.fail(self.scanner.at(), "\"==\" where \"=\" must stand"));
        }
        self.scanner.skip_space();
        let value = self.value(0)?;
        self.scanner.skip_space();
        if !self.scanner.at_statement_end() {
            return Err(self.rest_of_line(&key, &value));
        }
        Ok(Setting { key, span, append, value })
    }

    fn value(&mut self, depth: usize) -> Result<Value, GivenUp> {
        let start = self.scanner.at();
        let kind = match self.scanner.peek() {
            Some(quote @ ('"' | '\'')) => self.text(quote)?,
            Some('[') => self.list(depth)?,
            None | Some('\n' | ';' | '#') if depth == 0 => {
                let at = self.scanner.at();
                let mut error = self.source.error(at, at + 1, "a value is missing after \"=\"");
                error.help = Some("for none, write \"\" or [ ]".to_owned());
                self.errors.push(error);
                return Err(GivenUp);
            }
            _ => self.bare(start, depth)?,
        };
        Ok(Value { kind, span: self.span(start) })
    }

    fn text(&mut self, quote: char) -> Result<ValueKind, GivenUp> {
        let start = self.scanner.at();
        match self.scanner.take_quoted(quote) {
            Ok((text, verbatim)) => Ok(ValueKind::Text { text, verbatim }),
            Err(wrong) => {
                let mut error = self.source.error(
                    if wrong.whole { start } else { wrong.at },
                    wrong.at + 1,
                    wrong.message,
                );
                error.help = wrong.help;
                self.errors.push(error);
                Err(GivenUp)
            }
        }
    }

    fn list(&mut self, depth: usize) -> Result<ValueKind, GivenUp> {
        let start = self.scanner.at();
        if depth >= MAX_DEPTH {
            return Err(self.fail(start, "lists are nested too deeply here"));
        }
        self.scanner.eat('[');
        let mut items = Vec::new();
        loop {
            self.scanner.skip_space_and_newlines();
            if self.scanner.eat(']') {
                return Ok(ValueKind::List(items));
            }
            if self.scanner.at_end() || self.scanner.at_assignment() {
                return Err(self.unclosed(start));
            }
            if self.scanner.looking_at(",") {
                return Err(self.fail(self.scanner.at(), "an element is missing before this comma"));
            }
            items.push(self.value(depth + 1)?);
            self.scanner.skip_space_and_newlines();
            if self.scanner.eat(',') || self.scanner.looking_at("]") {
                continue;
            }
            if self.scanner.at_end() || self.scanner.at_assignment() {
                return Err(self.unclosed(start));
            }
            return Err(self.fail(
                self.scanner.at(),
                "a comma is missing before this: elements of a list are separated by commas",
            ));
        }
    }

    fn unclosed(&mut self, start: usize) -> GivenUp {
        let mut error = self.source.error(start, start + 1, "this list is not closed");
        let line = self.source.error(self.scanner.at(), self.scanner.at(), "").line;
        error.help = Some(format!("a ] is missing before line {line}"));
        self.errors.push(error);
        GivenUp
    }

    fn bare(&mut self, start: usize, depth: usize) -> Result<ValueKind, GivenUp> {
        let word = self.scanner.take_bare(depth > 0).to_owned();
        if word.is_empty() {
            return Err(self.fail(start, "a value is missing here"));
        }
        if let Some(quote) = words::typographic_quote(&word) {
            let mut error = self.source.error(
                start,
                self.scanner.at(),
                format!("typographic quotes ({quote}), as web pages have them, are no quotes here"),
            );
            error.help = Some("write plain \" or '".to_owned());
            self.errors.push(error);
            return Err(GivenUp);
        }
        match words::number(&word) {
            Some(Ok(number)) => Ok(ValueKind::Number(number)),
            Some(Err(())) => {
                let message = format!("the number {word} is too big");
                self.errors.push(self.source.error(start, self.scanner.at(), message));
                Err(GivenUp)
            }
            None if words::looks_like_python(&word) => {
                let message = format!("\"{word}\" is no value");
                let mut error = self.source.error(start, self.scanner.at(), message);
                error.help = Some(words::PYTHON.to_owned());
                self.errors.push(error);
                Err(GivenUp)
            }
            None => Ok(ValueKind::Bare(word)),
        }
    }

    fn rest_of_line(&mut self, key: &str, value: &Value) -> GivenUp {
        let at = self.scanner.at();
        let rest = self.scanner.rest_of_line().trim_end().to_owned();
        let message = format!("\"{rest}\" follows the value of \"{key}\"");
        let mut error = self.source.error(at, at + rest.len(), message);
        let is_text = matches!(value.kind, ValueKind::Text { .. });
        error.help = Some(if words::looks_like_python(&rest) {
            words::PYTHON.to_owned()
        } else if is_text && rest.starts_with(',') {
            format!("several values are a list: {key} = [ ..., ... ]")
        } else if is_text && rest.ends_with(['"', '\'']) {
            "a quote within quotes is written \\\" or \\', or use the other kind outside".to_owned()
        } else {
            "one statement a line; several are separated by \";\"".to_owned()
        });
        self.errors.push(error);
        GivenUp
    }

    fn not_a_statement(&mut self, start: usize) -> GivenUp {
        let line = self.source.text.get(start..).unwrap_or_default();
        let line = line.split('\n').next().unwrap_or_default().trim_end();
        let (width, message, help) = words::not_a_statement(line);
        let mut error = self.source.error(start, start + width, message);
        error.help = help;
        self.errors.push(error);
        GivenUp
    }

    fn fail(&mut self, at: usize, message: &str) -> GivenUp {
        self.errors.push(self.source.error(at, at + 1, message));
        GivenUp
    }

    fn span(&self, start: usize) -> Span {
        Span { source: self.index, start, end: self.scanner.at() }
    }
}
