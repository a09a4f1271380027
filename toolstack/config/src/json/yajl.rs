//! Text as yajl's beautifier writes it: four spaces, empty maps with an empty line in them.

use serde_json::Value;

/// The text of a value, ended by a newline.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, &mut out);
    out.push('\n');
    out
}

fn write(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        Value::Number(number) => out.push_str(&number.to_string()),
        Value::String(text) => string(text, out),
        Value::Array(items) => {
            out.push_str("[\n");
            for (index, item) in items.iter().enumerate() {
                next(index, depth, out);
                write(item, depth + 1, out);
            }
            end(depth, ']', out);
        }
        Value::Object(map) => {
            out.push_str("{\n");
            for (index, (key, item)) in map.iter().enumerate() {
                next(index, depth, out);
                string(key, out);
                out.push_str(": ");
                write(item, depth + 1, out);
            }
            end(depth, '}', out);
        }
    }
}

fn next(index: usize, depth: usize, out: &mut String) {
    if index > 0 {
        out.push_str(",\n");
    }
    indent(depth + 1, out);
}

fn end(depth: usize, bracket: char, out: &mut String) {
    out.push('\n');
    indent(depth, out);
    out.push(bracket);
}

fn indent(depth: usize, out: &mut String) {
    for _ in 0..depth {
        out.push_str("    ");
    }
}

fn string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if u32::from(c) < 0x20 => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_maps_and_escapes_are_as_yajl_writes_them() {
        let value = serde_json::json!({"a": {}, "b": [], "c": ["x\"\\\n\u{1}/é", 1, true, null]});
        insta::assert_snapshot!(pretty(&value), @r#"
        {
            "a": {

            },
            "b": [

            ],
            "c": [
                "x\"\\\n\u0001/é",
                1,
                true,
                null
            ]
        }
        "#);
    }

    #[test]
    fn the_text_is_read_back_as_the_value() {
        let value = serde_json::json!({"a": {}, "b": [[1, 2], "\u{8}\u{c}\r\t\u{1f}"]});
        assert_eq!(serde_json::from_str::<Value>(&pretty(&value)).unwrap(), value);
    }
}
