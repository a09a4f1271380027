//! What is written is read again; what is broken is told, with its place.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{read, sample, saved, write};
use proptest::prelude::*;
use xen_stream::{Error, Problem};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_again(saved in saved()) {
        prop_assert_eq!(read(&write(&saved)).unwrap(), saved);
    }

    #[test]
    fn arbitrary_bytes_give_an_error_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn a_file_with_some_bytes_changed_gives_data_or_an_error(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let mut bytes = write(&sample());
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        match read(&bytes) {
            // What was understood can be written, and is the same when read again.
            Ok(saved) => prop_assert_eq!(read(&write(&saved)).unwrap(), saved),
            Err(e) => prop_assert!(e.is_bad_file(), "{}", e),
        }
    }
}

#[test]
fn a_file_cut_at_any_byte_says_where_it_ends_and_what_is_missing() {
    let whole = write(&sample());
    for length in 0..whole.len() {
        match read(&whole[..length]) {
            Err(Error::Truncated { at, missing, .. }) => {
                assert_eq!(at, length as u64);
                assert!(missing > 0 && length as u64 + missing <= whole.len() as u64);
            }
            other => panic!("cut at {length}: {other:?}"),
        }
    }
    assert_eq!(read(&whole).unwrap(), sample());
}

/// The bytes of the sample with `new` at `offset`.
fn changed(offset: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = write(&sample());
    bytes[offset..offset + new.len()].copy_from_slice(new);
    bytes
}

fn message(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

fn told(cases: &[(Vec<u8>, &str)]) {
    for (bytes, expected) in cases {
        assert_eq!(message(bytes), *expected);
    }
}

// Where parts of the sample begin: file header 48, configuration 4 + 25 + 1, libxl header 16, a record of
// 8 + 8, LIBXC_CONTEXT 8, libxc headers 24 + 16.
const LIBXL: usize = 48 + 4 + 25 + 1;
const LIBXC: usize = LIBXL + 16 + 16 + 8;
const RECORDS: usize = LIBXC + 24 + 16;
// PvInfo 16, CpuidPolicy 32, MsrPolicy 24, StaticDataEnd 8, P2mFrames 24.
const PAGES: usize = RECORDS + 16 + 32 + 24 + 8 + 24;

#[test]
fn what_is_wrong_before_the_streams_has_its_message() {
    told(&[
        (
            b"#!/bin/sh\necho this is a script, and no guest at all\n".to_vec(),
            "the header of the save file at byte 0: this is no file made by `xl save`",
        ),
        (
            changed(32, &[1, 2, 3, 4]),
            "the header of the save file at byte 0: byte order 0x04030201 instead of 0x01020304: \
             written on another kind of machine",
        ),
        (
            changed(36, &[1, 0, 0, 0]),
            "the header of the save file at byte 0: mandatory flags 0x1: the old format of Xen 4.5 \
             and before",
        ),
        (
            changed(36, &[7, 0, 0, 0]),
            "the header of the save file at byte 0: mandatory flags 0x7 are not all known (known: \
             0x3)",
        ),
        (
            changed(48, &[0xff; 4]),
            "the guest's configuration at byte 48: a configuration of 4294967295 bytes in 26 bytes",
        ),
        (changed(52, &[0xff]), "the guest's configuration at byte 48: it is not UTF-8 text"),
    ]);
}

#[test]
fn what_is_wrong_in_the_streams_has_its_message() {
    told(&[
        (
            changed(LIBXL, b"X"),
            "the header of the libxl stream at byte 78: the stream starts with \
             0x586962786c466d74: not of this format",
        ),
        (
            changed(LIBXC + 12, &[0, 0, 0, 9]),
            "the image header of the libxc stream at byte 118: version 9 of the format; 2 and 3 is \
             read",
        ),
        (
            changed(LIBXC + 24, &[4]),
            "the domain header of the libxc stream at byte 142: domain type 0x4 is not known (1: \
             x86 PV, 2: x86 HVM)",
        ),
        (
            changed(RECORDS, &[0x55]),
            "libxc record 0 (type 0x55) at byte 158: a mandatory record of a type that is not known",
        ),
        (
            changed(RECORDS + 4, &[0, 0, 0, 0x7f]),
            "libxc record 0 (X86_PV_INFO) at byte 158: a body of 2130706432 bytes; 134217728 is \
             the limit",
        ),
        (
            changed(PAGES + 8, &[0xff; 4]),
            "libxc record 5 (PAGE_DATA) at byte 262: 4294967295 pages do not fit the body's 8224 \
             bytes",
        ),
        (
            changed(PAGES + 8 + 8 + 7, &[0x50]),
            "libxc record 5 (PAGE_DATA) at byte 262: page 0x0 has the type 0x5, which does not \
             exist",
        ),
    ]);
    assert_eq!(
        message(&write(&sample())[..PAGES + 5000]),
        "the file ends at byte 5262, in libxc record 5 (PAGE_DATA): 3232 more bytes were expected \
         there"
    );
}

#[test]
fn a_forged_length_costs_no_more_memory_than_the_file_has_bytes() {
    // 127 MiB claimed; if room were made at once, hundreds of these would be felt.
    let mut bytes = write(&sample());
    bytes[RECORDS..RECORDS + 8].copy_from_slice(&[9, 0, 0, 0, 0, 0, 0xf0, 7]);
    let rest = (bytes.len() - RECORDS - 8) as u64;
    match read(&bytes) {
        Err(Error::Truncated { missing, .. }) => assert_eq!(missing, 0x07f0_0000 - rest),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_of_pages_without_pages_is_refused() {
    let bytes = changed(PAGES + 8, &[0; 4]);
    match read(&bytes) {
        Err(Error::Malformed { problem: Problem::Count { count: 0, .. }, .. }) => {}
        other => panic!("{other:?}"),
    }
}
