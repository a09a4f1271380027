//! What a value is as a number, a truth, a text; and what to say where it is none.

use crate::document::{Document, Value, ValueKind};

/// A value read as a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It is one.
    Number(u64),
    /// It is one below zero.
    Negative,
    /// It is one beyond 64 bits.
    TooBig,
    /// Its text is empty.
    Empty,
    /// It is none; its text.
    Text(String),
    /// It is a list.
    List,
}

/// A number, or quoted text that is one, as xen-tools writes them.
pub(crate) fn number_of(value: &Value) -> Found {
    match &value.kind {
        ValueKind::Number(number) => Found::Number(*number),
        ValueKind::List(_) => Found::List,
        ValueKind::Bare(text) | ValueKind::Text { text, .. } => {
            let text = text.trim();
            let (negative, digits) = match text.strip_prefix('-') {
                Some(digits) => (true, digits.trim_start()),
                None => (false, text),
            };
            let (digits, radix) = match digits.strip_prefix("0x") {
                Some(hex) => (hex, 16),
                None if digits.len() > 1 && digits.starts_with('0') => (digits, 8),
                None => (digits, 10),
            };
            if text.is_empty() {
                Found::Empty
            } else if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
                Found::Text(text.to_owned())
            } else {
                match u64::from_str_radix(digits, radix) {
                    Ok(0) => Found::Number(0),
                    Ok(_) if negative => Found::Negative,
                    Ok(number) => Found::Number(number),
                    Err(_) => Found::TooBig,
                }
            }
        }
    }
}

/// 0 is false, any other number true.
pub(crate) fn truth_of(value: &Value) -> Option<bool> {
    match number_of(value) {
        Found::Number(number) => Some(number != 0),
        _ => None,
    }
}

/// Quoted text, or a number as it is written.
pub(crate) fn text_of(document: &Document, value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::Text { text, .. } => Some(text.clone()),
        ValueKind::Number(_) => Some(document.slice(value.span).to_owned()),
        ValueKind::Bare(_) | ValueKind::List(_) => None,
    }
}

/// The texts of a list, or one text.
pub(crate) fn texts_of(document: &Document, value: &Value) -> Vec<String> {
    match &value.kind {
        ValueKind::List(items) => items.iter().filter_map(|item| text_of(document, item)).collect(),
        _ => text_of(document, value).into_iter().collect(),
    }
}

/// Message and help for something that should be a number; `mib`: a number of MiB.
pub(crate) fn number_wrong(key: &str, found: &Found, mib: bool) -> (String, Option<String>) {
    match found {
        Found::Negative => (format!("\"{key}\" cannot be negative"), None),
        Found::TooBig => (format!("the number for \"{key}\" is too big"), None),
        Found::Empty => (format!("\"{key}\" is empty, a number is needed"), None),
        Found::List => (format!("\"{key}\" takes a number, not a list"), None),
        Found::Number(number) => (format!("{number} is out of range for \"{key}\""), None),
        Found::Text(text) if mib => match in_mib(text) {
            Some(number) => (
                format!("\"{text}\" is no number: suffixes are not known here"),
                Some(format!("{key} is in MiB: write {number}, not \"{text}\"")),
            ),
            None => {
                (format!("\"{text}\" is no number"), Some(format!("{key} is in MiB: {key} = 512")))
            }
        },
        Found::Text(text) => (format!("\"{key}\" takes a number, not \"{text}\""), None),
    }
}

/// `512M`, `1.5 GB`, `524288KiB` in MiB, rounded up.
fn in_mib(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim().to_ascii_lowercase();
    let kib: u64 = match unit.trim_end_matches("ib").trim_end_matches('b') {
        "k" => 1,
        "m" => 1024,
        "g" => 1024 * 1024,
        "t" => 1024 * 1024 * 1024,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let thousandths: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    let amount = whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(thousandths)?;
    Some(amount.checked_mul(kib)?.div_ceil(1000 * 1024))
}

/// The help for text without quotes.
pub(crate) fn quotes_missing(key: &str, text: &str) -> String {
    let quote = if text.contains('"') { '\'' } else { '"' };
    format!("text needs quotes: {key} = {quote}{text}{quote}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_with_suffixes_are_told_in_mib() {
        for (text, mib) in [
            ("512M", Some(512)),
            ("512 MB", Some(512)),
            ("1G", Some(1024)),
            ("1.5GiB", Some(1536)),
            ("2tb", Some(2 << 20)),
            ("524288k", Some(512)),
            ("1kb", Some(1)),
            ("512", None),
            ("M", None),
            ("5x", None),
        ] {
            assert_eq!(in_mib(text), mib, "{text}");
        }
    }
}
