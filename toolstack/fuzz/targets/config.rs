//! Configuration files and the words in them: any text is parsed and checked to a configuration or to errors
//! that can be printed, and a configuration keeps its meaning in libxl's JSON form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xl_config::{Disk, DomainConfig, Lax, Vif, XlConf, parse_bytes, report, validate};

fuzz_target!(|data: &[u8]| {
    let Some((lax, text)) = data.split_first() else { return };
    let words = String::from_utf8_lossy(text);
    let _ = Disk::parse(&words);
    let _ = Vif::parse(&words);
    let _ = XlConf::parse(&words, "xl.conf");
    let checked = parse_bytes(text, "fuzz.cfg")
        .and_then(|document| validate(&document, &Lax { unknown: lax % 2 == 1 }));
    match checked {
        Ok(validated) => {
            report(&validated.warnings, false);
            let json = validated.config.to_json();
            let again = DomainConfig::from_json(&json).expect("our own JSON");
            assert_eq!(again.to_json(), json);
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert!(!report(&errors.0, false).trim().is_empty());
        }
    }
});
