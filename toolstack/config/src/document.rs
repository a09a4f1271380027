//! A parsed file: statements with their places, no meaning yet.

use crate::Diagnostic;
use crate::source::{Source, Span};

/// A parsed file, with the words of the command line after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    pub(crate) sources: Vec<Source>,
    pub(crate) settings: Vec<Setting>,
}

/// One `KEY = VALUE` or `KEY += VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// Its place.
    pub span: Span,
    /// `+=`.
    pub append: bool,
    /// The value.
    pub value: Value,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// What it is.
    pub kind: ValueKind,
    /// Its place, quotes and brackets included.
    pub span: Span,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Quoted text; `verbatim`: it had no escapes, so places in it are places in the file.
    Text {
        /// The text without its quotes.
        text: String,
        /// No escape stood in it.
        verbatim: bool,
    },
    /// A number.
    Number(u64),
    /// Something without quotes that is no number. The parser takes it so that the key's own
    /// check can say what should stand there; no key accepts it.
    Bare(String),
    /// A list.
    List(Vec<Value>),
}

impl Value {
    /// The text, where it is quoted text.
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            ValueKind::Text { text, .. } => Some(text),
            _ => None,
        }
    }

    /// The place of bytes `start..end` of the text, or of the whole value where that is unknown.
    pub(crate) fn part(&self, start: usize, end: usize) -> Span {
        match &self.kind {
            ValueKind::Text { verbatim: true, text } if end <= text.len() => Span {
                source: self.span.source,
                start: self.span.start + 1 + start,
                end: self.span.start + 1 + end,
            },
            _ => self.span,
        }
    }
}

impl Document {
    /// The statements, in order.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }

    /// The value that holds for a key: the last one, without what `+=` joins to it.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.settings.iter().rev().find(|setting| setting.key == key).map(|setting| &setting.value)
    }

    /// Name of the first source: the file.
    pub fn file(&self) -> &str {
        self.sources.first().map_or("", |source| &source.name)
    }

    /// The text at a place.
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.sources
            .get(span.source)
            .and_then(|source| source.text.get(span.start..span.end))
            .unwrap_or_default()
    }

    /// An error at a place.
    pub fn error(&self, span: Span, message: impl Into<String>) -> Diagnostic {
        match self.sources.get(span.source) {
            Some(source) => source.error(span.start, span.end, message),
            // No place is known: the file is named.
            None => Diagnostic::error(self.file(), message),
        }
    }

    /// The statements with repeated keys settled: the last `=` wins, `+=` joins text to text and
    /// list to list. What cannot be joined is an error, a value that is replaced within the
    /// same file a warning.
    pub(crate) fn settle(&self, diagnostics: &mut Vec<Diagnostic>) -> Vec<Setting> {
        let mut settled: Vec<Setting> = Vec::new();
        for setting in &self.settings {
            let Some(earlier) = settled.iter_mut().find(|earlier| earlier.key == setting.key)
            else {
                settled.push(setting.clone());
                continue;
            };
            if setting.append {
                if !join(&mut earlier.value, &setting.value) {
                    let message = format!(
                        "\"{}\" cannot be joined with += here: only text to text and list to list",
                        setting.key
                    );
                    diagnostics.push(self.error(setting.value.span, message));
                }
                continue;
            }
            if earlier.span.source == setting.span.source
                && earlier.value.kind != setting.value.kind
            {
                let line = self.error(setting.span, "").line;
                let message =
                    format!("\"{}\" is set again in line {line}, which wins", setting.key);
                diagnostics.push(self.error(earlier.span, message).warning());
            }
            *earlier = setting.clone();
        }
        settled
    }
}

fn join(earlier: &mut Value, later: &Value) -> bool {
    match (&mut earlier.kind, &later.kind) {
        (ValueKind::Text { text, verbatim }, ValueKind::Text { text: more, .. }) => {
            text.push_str(more);
            *verbatim = false;
        }
        (ValueKind::List(list), ValueKind::List(more)) => list.extend(more.iter().cloned()),
        _ => return false,
    }
    earlier.span = later.span;
    true
}
