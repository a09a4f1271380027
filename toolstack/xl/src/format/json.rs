//! JSON texts: ours for `--json`, and libxl's own form, whose white space C programs make.

use serde::Serialize;
use serde_json::Value;

/// What `--json` prints: serde's own layout, and a line end.
pub fn ours(data: &impl Serialize) -> String {
    match serde_json::to_string_pretty(data) {
        Ok(text) => text + "\n",
        // Our own types have no maps with keys that are not text.
        Err(error) => format!("{{\"error\": \"{error}\"}}\n"),
    }
}

/// A value as libxl prints it: four blanks a level, and an empty line in what is empty.
pub fn libxl(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    text.push('\n');
    text
}

fn write(text: &mut String, value: &Value, level: usize) {
    match value {
        Value::Object(members) => {
            text.push_str("{\n");
            for (index, (name, member)) in members.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ",\n" });
                indent(text, level + 1);
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push_str(": ");
                write(text, member, level + 1);
            }
            text.push('\n');
            indent(text, level);
            text.push('}');
        }
        Value::Array(members) => {
            text.push_str("[\n");
            for (index, member) in members.iter().enumerate() {
                text.push_str(if index == 0 { "" } else { ",\n" });
                indent(text, level + 1);
                write(text, member, level + 1);
            }
            text.push('\n');
            indent(text, level);
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

fn indent(text: &mut String, level: usize) {
    for _ in 0..level {
        text.push_str("    ");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libxls_white_space_is_kept() {
        let value: Value =
            serde_json::from_str(r#"{"a":{"type.pv":{}},"list":[0,"x"],"none":[]}"#).unwrap();
        assert_eq!(
            libxl(&value),
            "{\n    \"a\": {\n        \"type.pv\": {\n\n        }\n    },\n    \"list\": [\n        \
             0,\n        \"x\"\n    ],\n    \"none\": [\n\n    ]\n}\n"
        );
    }
}
