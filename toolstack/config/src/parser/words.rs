//! What to say of words that the grammar has no place for.

/// The hint for files in the form that `xm` had.
pub(super) const PYTHON: &str = "this looks like Python, which xm's configuration files were; here only \
     key = \"text\", key = number and key = [ list ] are known: write the result itself";

/// A number without quotes: `Some(Err)` where it is one but too big.
pub(super) fn number(word: &str) -> Option<Result<u64, ()>> {
    let (digits, radix) = match word.strip_prefix("0x").or_else(|| word.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if word.len() > 1 && word.starts_with('0') => (word, 8),
        None => (word, 10),
    };
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    let number = u64::from_str_radix(digits, radix);
    Some(number.ok().filter(|number| i64::try_from(*number).is_ok()).ok_or(()))
}

pub(super) fn typographic_quote(word: &str) -> Option<char> {
    word.chars()
        .find(|c| matches!(c, '\u{2018}'..='\u{201f}' | '\u{ab}' | '\u{bb}' | '`' | '\u{b4}'))
}

pub(super) fn looks_like_python(text: &str) -> bool {
    let first = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    matches!(
        first,
        "import" | "from" | "def" | "if" | "else" | "for" | "print" | "return" | "lambda"
    ) || text.contains(['(', ')', '%', '{'])
        || text.contains(" + ")
        || text.starts_with('+')
}

/// For a line that is no statement: how many bytes of it are meant, what is wrong, what to do.
pub(super) fn not_a_statement(line: &str) -> (usize, String, Option<String>) {
    let end = line
        .find(|c: char| !(c.is_alphanumeric() || matches!(c, '.' | '_' | '-')))
        .unwrap_or(line.len());
    let word = line.get(..end).unwrap_or_default();
    let after = line.get(end..).unwrap_or_default().trim_start();
    let assigned = after.starts_with('=') && !after.starts_with("==") || after.starts_with("+=");
    if assigned && !word.is_empty() {
        let proposed = word.to_lowercase().replace('-', "_");
        let help = proposed
            .starts_with(|c: char| c.is_ascii_lowercase())
            .then(|| format!("did you mean \"{proposed}\"?"));
        let message =
            format!("\"{word}\" is no key: keys have lower-case letters, digits, _ and . only");
        return (end, message, help);
    }
    if looks_like_python(line) {
        return (line.len(), "this is no \"key = value\"".to_owned(), Some(PYTHON.to_owned()));
    }
    if line.starts_with([']', ',', '"', '\'']) {
        let message = "this belongs to no list: it may have been closed too early".to_owned();
        return (1, message, None);
    }
    if line.starts_with('=') {
        return (1, "a key is missing before \"=\"".to_owned(), None);
    }
    if let Some(comment) = ["//", "--", "/*", "!"].into_iter().find(|mark| line.starts_with(*mark))
    {
        let message = format!("\"{comment}\" starts no comment here");
        return (comment.len(), message, Some("comments start with #".to_owned()));
    }
    if after.starts_with(':') {
        let help = format!("write {word} = ...");
        return (end + 1, "this is no \"key = value\"".to_owned(), Some(help));
    }
    let help = if line.starts_with("<?xml") || line.starts_with('<') {
        "this looks like XML (a libvirt file?): virsh domxml-to-native --format xen-xl converts it"
    } else if line.starts_with("\x7fELF") || line.chars().any(|c| c == '\0' || c == '\u{fffd}') {
        "this is no text: is it the right file?"
    } else {
        "every line is key = value; comments start with #"
    };
    let message = if word.is_empty() || after.is_empty() || !word.is_ascii() {
        "this is no \"key = value\"".to_owned()
    } else {
        format!("\"=\" is missing after \"{word}\"")
    };
    (end.max(1), message, Some(help.to_owned()))
}
