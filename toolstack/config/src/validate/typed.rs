//! The pass over the table: is each key known, of the right type, in range, supported?

use super::values::{Found, number_of, number_wrong, quotes_missing, text_of};
use super::{Check, Type};
use crate::document::{Setting, Value, ValueKind};
use crate::keys::{self, Form, Guests, Key, Status};
use crate::{Diagnostic, Severity};

impl Check<'_> {
    /// Keeps the settings that are known, of the right type and in range.
    pub(super) fn typed(&mut self, kind: Type) {
        let settings = std::mem::take(&mut self.settings);
        for setting in settings {
            let table = self.table;
            let Some(key) = table.iter().find(|key| key.name == setting.key) else {
                self.unknown(&setting);
                continue;
            };
            if self.status(key, &setting, kind) && self.form(key, &setting.value) {
                self.settings.push(setting);
            }
        }
    }

    fn unknown(&mut self, setting: &Setting) {
        let message = format!("unknown key \"{}\"", setting.key);
        let mut error = self.document.error(setting.span, message);
        error.help = if keys::HOST_KEYS.iter().any(|key| key.name == setting.key) {
            Some("it belongs into /etc/xen/xl.conf".to_owned())
        } else {
            let meant = keys::meant(&setting.key, self.table);
            self.meant.extend(meant);
            meant.map(|key| format!("did you mean \"{key}\"?"))
        };
        if self.lax.unknown {
            error.severity = Severity::Warning;
        } else if error.help.is_none() {
            error.help = Some("--lax ignores keys that are not known".to_owned());
        }
        self.diagnostics.push(error);
    }

    /// What the key's status says; whether its value is to be looked at.
    fn status(&mut self, key: &Key, setting: &Setting, kind: Type) -> bool {
        if let Status::Ignored(note) = key.status {
            let message = format!("\"{}\" has no effect: {note}", key.name);
            self.diagnostics.push(self.document.error(setting.span, message).warning());
            return false;
        }
        if key.guests == Guests::Arm {
            let message = format!("\"{}\" has no effect: only guests on Arm have it", key.name);
            self.diagnostics.push(self.document.error(setting.span, message).warning());
            return false;
        }
        if !kind.has(key.guests) {
            let message = format!(
                "\"{}\" has no effect: this is a {} guest, and only {} guests have it",
                key.name,
                kind.words(),
                key.guests.words()
            );
            self.diagnostics.push(self.document.error(setting.span, message).warning());
            return false;
        }
        // Guests that are refused altogether need no list of what else of theirs is refused.
        if key.status == Status::Refused && kind == Type::Pv {
            if !self.asks_for_nothing(key, &setting.value) {
                let message = format!("\"{}\" ({}) is not supported yet", key.name, key.help);
                self.diagnostics.push(self.document.error(setting.span, message));
            }
            return false;
        }
        true
    }

    /// The value is the default, or empty, or off.
    fn asks_for_nothing(&self, key: &Key, value: &Value) -> bool {
        match &value.kind {
            ValueKind::List(items) => items.is_empty(),
            ValueKind::Bare(_) => false,
            ValueKind::Number(0) => true,
            ValueKind::Number(_) | ValueKind::Text { .. } => {
                let text = text_of(self.document, value).unwrap_or_default();
                let off = ["", "0", "none", "disabled", "default", key.default];
                off.contains(&text.as_str())
            }
        }
    }

    /// The value is of the key's form; if not, that is said.
    fn form(&mut self, key: &Key, value: &Value) -> bool {
        let wrong = match key.form {
            Form::Any => None,
            Form::Text | Form::Path => self.text_form(key, value),
            Form::Flag => self.flag_form(key, value),
            Form::Number(from, to) => self.number_form(key, value, (from, to), false),
            Form::Mib(from, to) => self.number_form(key, value, (from, to), true),
            Form::Choice(words) => self.choice_form(key, value, words),
            Form::ChoiceOrNumber(words) => self.choice_or_number_form(key, value, words),
            Form::FlagOrChoice(words) => match number_of(value) {
                Found::Number(_) => None,
                _ => self.choice_form(key, value, words),
            },
            Form::Cpus => match &value.kind {
                ValueKind::Bare(text) => Some(self.wrong_bare(key, value, text)),
                _ => None,
            },
            Form::List => self.list_form(key, value),
            Form::Texts => match &value.kind {
                ValueKind::Bare(text) => Some(self.wrong_bare(key, value, text)),
                ValueKind::List(items) => self.items_form(key, items),
                _ => None,
            },
        };
        match wrong {
            Some(wrong) => {
                self.diagnostics.push(wrong);
                false
            }
            None => true,
        }
    }

    fn wrong_bare(&self, key: &Key, value: &Value, text: &str) -> Diagnostic {
        let message = format!("\"{}\" takes {}", key.name, key.form.words());
        // Words of the command line lose their quotes to the shell.
        let help = match self.document.sources.get(value.span.source) {
            Some(source) if source.name == crate::COMMAND_LINE => {
                format!("quote it for the shell as well: '{}=\"{text}\"'", key.name)
            }
            _ => quotes_missing(key.name, text),
        };
        self.document.error(value.span, message).help(help)
    }

    fn text_form(&self, key: &Key, value: &Value) -> Option<Diagnostic> {
        match &value.kind {
            ValueKind::Text { .. } | ValueKind::Number(_) => None,
            ValueKind::Bare(text) => Some(self.wrong_bare(key, value, text)),
            ValueKind::List(items) => {
                let message = format!("\"{}\" takes {}, not a list", key.name, key.form.words());
                let mut error = self.document.error(value.span, message);
                if let [item] = items.as_slice() {
                    let text = self.document.slice(item.span);
                    error.help = Some(format!("write {} = {text}", key.name));
                }
                Some(error)
            }
        }
    }

    fn flag_form(&self, key: &Key, value: &Value) -> Option<Diagnostic> {
        let found = number_of(value);
        if matches!(found, Found::Number(_)) {
            return None;
        }
        let message = format!("\"{}\" is 0 (no) or 1 (yes)", key.name);
        let mut error = self.document.error(value.span, message);
        if let Found::Text(text) = found {
            error.help = match text.to_ascii_lowercase().as_str() {
                "yes" | "true" | "on" | "enabled" => Some(format!("write {} = 1", key.name)),
                "no" | "false" | "off" | "disabled" => Some(format!("write {} = 0", key.name)),
                _ => None,
            };
        }
        Some(error)
    }

    fn number_form(
        &self,
        key: &Key,
        value: &Value,
        (from, to): (u64, u64),
        mib: bool,
    ) -> Option<Diagnostic> {
        let found = number_of(value);
        let (message, help) = match found {
            Found::Number(number) if (from..=to).contains(&number) => return None,
            Found::Number(number) => {
                let (than, limit) = if number < from {
                    ("less than the least", from)
                } else {
                    ("more than the most", to)
                };
                let unit = if mib { " MiB" } else { "" };
                (format!("{} = {number} is {than} that is possible, {limit}{unit}", key.name), None)
            }
            found => number_wrong(key.name, &found, mib),
        };
        let mut error = self.document.error(value.span, message);
        error.help = help;
        Some(error)
    }

    fn choice_form(
        &self,
        key: &Key,
        value: &Value,
        words: &'static [&'static str],
    ) -> Option<Diagnostic> {
        let Some(text) = text_of(self.document, value) else {
            return self.text_form(key, value);
        };
        // `type` may be shortened.
        let known = words.contains(&text.as_str())
            || key.name == "type" && !text.is_empty() && words.iter().any(|w| w.starts_with(&text));
        if known {
            return None;
        }
        let message = format!("\"{}\" cannot be \"{text}\"", key.name);
        let proposed = text.to_lowercase().replace('_', "-");
        let help = match crate::similar::nearest(&proposed, words.iter().copied()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("known are: {}", words.join(", ")),
        };
        Some(self.document.error(value.span, message).help(help))
    }

    fn choice_or_number_form(
        &self,
        key: &Key,
        value: &Value,
        words: &'static [&'static str],
    ) -> Option<Diagnostic> {
        match number_of(value) {
            Found::Number(number) if usize::try_from(number).is_ok_and(|n| n < words.len()) => None,
            Found::Number(number) => {
                let message = format!("\"{}\" cannot be {number}", key.name);
                let help = format!("known are: {}", words.join(", "));
                Some(self.document.error(value.span, message).help(help))
            }
            _ => self.choice_form(key, value, words),
        }
    }

    fn list_form(&self, key: &Key, value: &Value) -> Option<Diagnostic> {
        match &value.kind {
            ValueKind::List(items) => self.items_form(key, items),
            ValueKind::Text { text, .. } if text.is_empty() => None,
            _ => {
                let message = format!("\"{}\" takes a list", key.name);
                let text = self.document.slice(value.span);
                let quoted = if text.starts_with(['"', '\'']) {
                    text.to_owned()
                } else {
                    format!("\"{text}\"")
                };
                let help = format!("brackets are missing: {} = [ {quoted} ]", key.name);
                Some(self.document.error(value.span, message).help(help))
            }
        }
    }

    /// Text without quotes within a list.
    fn items_form(&self, key: &Key, items: &[Value]) -> Option<Diagnostic> {
        // One element that has lost its quotes falls apart at its commas.
        let bare = |item: &Value| match &item.kind {
            ValueKind::Bare(text) => Some(text.clone()),
            _ => None,
        };
        let whole: Option<Vec<String>> = items.iter().map(bare).collect();
        if let (Some(whole), Some(first)) = (whole, items.first()) {
            let message = format!("the elements of \"{}\" are quoted texts", key.name);
            let help = format!("text needs quotes: {} = [ \"{}\" ]", key.name, whole.join(","));
            return Some(self.document.error(first.span, message).help(help));
        }
        items.iter().find_map(|item| match &item.kind {
            ValueKind::Bare(text) => {
                let message = format!("the elements of \"{}\" are quoted texts", key.name);
                let quote = if text.contains('"') { '\'' } else { '"' };
                let help = format!("text needs quotes: {quote}{text}{quote}");
                Some(self.document.error(item.span, message).help(help))
            }
            ValueKind::List(_) if key.status == Status::Done => {
                let message =
                    format!("the elements of \"{}\" are quoted texts, not lists", key.name);
                Some(self.document.error(item.span, message))
            }
            _ => None,
        })
    }
}
