//! What is wrong in a file: where, what, and what to do about it.

use std::fmt;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth saying; nothing is refused.
    Warning,
    /// Refused.
    Error,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: Severity,
    /// Name of the file, or `command line`.
    pub file: String,
    /// Line, from 1; 0: no particular line.
    pub line: u32,
    /// Column in characters, from 1; 0: no particular column.
    pub column: u32,
    /// How many characters are meant; at least 1 where there is a column.
    pub width: u32,
    /// The line itself, without its end.
    pub text: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error about a whole file.
    pub fn error(file: &str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            width: 0,
            text: String::new(),
            message: message.into(),
            help: None,
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// It refuses something.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    fn write(&self, f: &mut impl fmt::Write, paint: &Paint, helps: bool) -> fmt::Result {
        let Paint { bold, red, yellow, cyan, plain } = *paint;
        write!(f, "{bold}{}", self.file)?;
        if self.line != 0 {
            write!(f, ":{}", self.line)?;
            if self.column != 0 {
                write!(f, ":{}", self.column)?;
            }
        }
        let (colour, word) = match self.severity {
            Severity::Error => (red, "error"),
            Severity::Warning => (yellow, "warning"),
        };
        write!(f, ": {colour}{word}:{plain} {bold}{}{plain}", self.message)?;
        if self.line != 0 && self.column != 0 {
            let number = self.line.to_string();
            let (text, column, width) = excerpt(&self.text, self.column, self.width);
            let gap = " ".repeat(number.len());
            let space = " ".repeat(column);
            let caret = "^".repeat(width);
            write!(
                f,
                "\n {cyan}{number} |{plain} {text}\n {cyan}{gap} |{plain} {space}{colour}{caret}{plain}"
            )?;
        }
        if let Some(help) = self.help.as_ref().filter(|_| helps) {
            write!(f, "\n  {cyan}help:{plain} {help}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &PLAIN, true)
    }
}

/// Longest part of a line that is shown, in characters.
const SHOWN: usize = 120;

/// The part of a line round a column that is shown, with the column from 0 and the width in it.
/// Tabs become one space and other control characters a dot, so that the caret stands where it must.
fn excerpt(text: &str, column: u32, width: u32) -> (String, usize, usize) {
    let column = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let width = usize::try_from(width).unwrap_or(usize::MAX).max(1);
    let start = if column > SHOWN - 20 { column - 40 } else { 0 };
    let mut shown: String = text
        .chars()
        .skip(start)
        .take(SHOWN)
        .map(|c| match c {
            '\t' => ' ',
            c if c.is_control() => '.',
            c => c,
        })
        .collect();
    let count = shown.chars().count();
    let mut column = column - start;
    if start > 0 {
        shown.insert_str(0, "...");
        column += 3;
    }
    let total = count + if start > 0 { 3 } else { 0 };
    let column = column.min(total);
    if text.chars().nth(start + SHOWN).is_some() {
        shown.push_str("...");
    }
    (shown, column, width.min(total.saturating_sub(column).max(1)))
}

#[derive(Clone, Copy)]
struct Paint {
    bold: &'static str,
    red: &'static str,
    yellow: &'static str,
    cyan: &'static str,
    plain: &'static str,
}

const PLAIN: Paint = Paint { bold: "", red: "", yellow: "", cyan: "", plain: "" };
const COLOURED: Paint = Paint {
    bold: "\x1b[1m",
    red: "\x1b[31m",
    yellow: "\x1b[33m",
    cyan: "\x1b[36m",
    plain: "\x1b[0m",
};

/// Several things that are wrong; at least one of them an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errors(pub Vec<Diagnostic>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(report(&self.0, false).trim_end())
    }
}

impl std::error::Error for Errors {}

/// The text of all of them, one after the other, each ended by a newline, in colour for terminals.
pub fn report(diagnostics: &[Diagnostic], colour: bool) -> String {
    let paint = if colour { &COLOURED } else { &PLAIN };
    let mut out = String::new();
    let mut before: Option<&Diagnostic> = None;
    for diagnostic in diagnostics {
        // The same help again and again helps nobody.
        let helps = before.is_none_or(|before| before.help != diagnostic.help);
        before = Some(diagnostic);
        // Writing to a string cannot fail.
        let _ = diagnostic.write(&mut out, paint, helps);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, column: u32, width: u32) -> Diagnostic {
        Diagnostic {
            line: 3,
            column,
            width,
            text: text.to_owned(),
            ..Diagnostic::error("a.cfg", "unknown key \"initrd\"")
        }
        .help("did you mean \"ramdisk\"?")
    }

    #[test]
    fn the_caret_stands_below_what_is_meant() {
        insta::assert_snapshot!(at("\tinitrd = \"/boot/initrd\"", 2, 6), @r#"
        a.cfg:3:2: error: unknown key "initrd"
         3 |  initrd = "/boot/initrd"
           |  ^^^^^^
          help: did you mean "ramdisk"?
        "#);
    }

    #[test]
    fn a_long_line_is_cut_round_the_caret() {
        let text = format!("{}initrd{}", "x".repeat(500), "y".repeat(500));
        let shown = at(&text, 501, 6).to_string();
        let mut lines = shown.lines().skip(1);
        let line = lines.next().unwrap();
        let caret = lines.next().unwrap();
        let column = caret.find('^').unwrap();
        assert_eq!(&line[column..column + 6], "initrd");
        assert!(line.len() < 140, "{line}");
    }

    #[test]
    fn a_column_beyond_the_line_stands_after_its_end() {
        assert!(at("abc", 99, 5).to_string().contains("\n   |    ^\n"));
    }

    #[test]
    fn a_report_in_colour_has_the_same_words() {
        let plain = report(&[at("initrd", 1, 6)], false);
        let mut coloured = report(&[at("initrd", 1, 6)], true);
        for code in ["\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[36m", "\x1b[0m"] {
            coloured = coloured.replace(code, "");
        }
        assert_eq!(plain, coloured);
    }
}
