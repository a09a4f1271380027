//! What is said of files as new users make them: one snapshot for each file of `tests/bad`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // A test fails by panicking.

use std::fs;
use std::path::Path;

use xl_config::{Errors, Lax, parse_bytes, validate};

fn said(bytes: &[u8], file: &str) -> Result<(), Errors> {
    validate(&parse_bytes(bytes, file)?, &Lax::default()).map(|_| ())
}

#[test]
fn each_bad_file_is_refused_with_its_message() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad");
    let mut files: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 100);
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        for path in files {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let bytes = fs::read(&path).unwrap();
            let errors = said(&bytes, "guest.cfg").expect_err(name);
            for error in &errors.0 {
                assert!(error.message.len() < 400 && error.text.len() <= bytes.len() * 3, "{name}");
            }
            insta::assert_snapshot!(name, errors);
        }
    });
}

#[test]
fn lax_lets_unknown_keys_and_parameters_through_as_warnings() {
    let text =
        "name = \"a\"\nkernel = \"/k\"\nmemory = 64\ninitrd = \"/r\"\nvif = [ \"brige=x\" ]\n";
    let document = parse_bytes(text.as_bytes(), "a.cfg").unwrap();
    let refused = validate(&document, &Lax::default()).unwrap_err();
    assert_eq!(refused.0.len(), 2);
    let taken = validate(&document, &Lax { unknown: true }).unwrap();
    let said: Vec<String> = taken.warnings.iter().map(|w| w.message.clone()).collect();
    assert_eq!(said, ["unknown key \"initrd\"", "unknown interface parameter \"brige\""]);
}

#[test]
fn words_of_the_command_line_are_named_as_such() {
    let words = ["memory=\"1G\"".to_owned(), "name=web".to_owned()];
    let file = b"name = \"a\"\nkernel = \"/k\"\nmemory = 64\n";
    let document = xl_config::parse_with_words(file, "a.cfg", &words).unwrap();
    let errors = validate(&document, &Lax::default()).unwrap_err();
    insta::assert_snapshot!(errors, @r#"
    command line:1:8: error: "1G" is no number: suffixes are not known here
     1 | memory="1G"
       |        ^^^^
      help: memory is in MiB: write 1024, not "1G"
    command line:2:6: error: "name" takes quoted text
     2 | name=web
       |      ^^^
      help: quote it for the shell as well: 'name="web"'
    "#);
}
