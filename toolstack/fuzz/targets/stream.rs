//! Files of saved guests: any bytes are read to an end or an error, and what was read is written and read
//! again as the same.
//!
//! The first byte says where in a file the rest begins, so that each part is reached without the ones before.
#![no_main]

use libfuzzer_sys::fuzz_target;
use xen_stream::{Input, Output, Place, file, libxc, libxl};

const PLACE: Place = Place::FileHeader;

fn libxl_records(input: &mut Input<&[u8]>) -> bool {
    for index in 0.. {
        let Ok(record) = libxl::Record::read(input, index) else { return false };
        let mut output = Output::new(Vec::new());
        record.write(&mut output, index).expect("what was read can be written");
        let bytes = output.finish(PLACE).expect("memory takes it");
        let again = libxl::Record::read(&mut Input::new(bytes.as_slice()), index);
        assert_eq!(again.expect("what was written can be read"), record);
        match record {
            libxl::Record::End => return false,
            libxl::Record::LibxcContext => return true,
            _ => {}
        }
    }
    false
}

fn libxc_records(input: &mut Input<&[u8]>) {
    for index in 0.. {
        let Ok(record) = libxc::Record::read(input, index) else { return };
        let mut output = Output::new(Vec::new());
        record.write(&mut output, index).expect("what was read can be written");
        let bytes = output.finish(PLACE).expect("memory takes it");
        let again = libxc::Record::read(&mut Input::new(bytes.as_slice()), index);
        assert_eq!(again.expect("what was written can be read"), record);
        if matches!(record, libxc::Record::End) {
            return;
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((part, bytes)) = data.split_first() else { return };
    let mut input = Input::new(bytes);
    match part % 4 {
        0 => {
            let Ok(header) = file::Header::read(&mut input) else { return };
            let mut output = Output::new(Vec::new());
            header.write(&mut output).expect("what was read can be written");
            let _ = xl_config::DomainConfig::from_json(&header.config);
            if libxl::read_header(&mut input).is_err() || !libxl_records(&mut input) {
                return;
            }
            if libxc::Header::read(&mut input).is_ok() {
                libxc_records(&mut input);
            }
        }
        1 => drop(libxl_records(&mut input)),
        2 => libxc_records(&mut input),
        _ => drop(libxc::Header::read(&mut input)),
    }
});
