//! What is said of files and sizes before there is a domain, and what is written where.

use std::error::Error;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::cache::{self, Key};
use super::load::Plan;
use super::{BuildError, Prepared, Request};
use builder::kernel::Sink;

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

fn refused(kernel: &Path) -> String {
    let request = Request { kernel: kernel.to_path_buf(), ..Request::default() };
    chain(&Prepared::new(request).unwrap_err())
}

/// A kernel of one segment at 16 MiB, with the notes of a Linux PV kernel.
fn kernel(entry_note: bool) -> Vec<u8> {
    let mut notes = Vec::new();
    let mut note = |kind: u32, desc: &[u8]| {
        for word in [4, desc.len() as u32, kind] {
            notes.extend(word.to_le_bytes());
        }
        notes.extend(b"Xen\0");
        notes.extend(desc);
        notes.resize(notes.len().next_multiple_of(4), 0);
    };
    note(6, b"linux\0");
    note(5, b"xen-3.0\0");
    note(3, &0xffff_ffff_8000_0000u64.to_le_bytes());
    let entry: u64 = if entry_note { 0xffff_ffff_8100_0000 } else { 0x1000 };
    note(1, &entry.to_le_bytes());
    let mut elf = vec![0u8; 0x1000];
    elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
    elf[6] = 1;
    let mut put = |at: usize, bytes: &[u8]| elf[at..at + bytes.len()].copy_from_slice(bytes);
    put(16, &2u16.to_le_bytes());
    put(18, &62u16.to_le_bytes());
    put(32, &64u64.to_le_bytes());
    put(54, &56u16.to_le_bytes());
    put(56, &2u16.to_le_bytes());
    put(58, &64u16.to_le_bytes());
    let mut header = |at: usize, kind: u32, offset: u64, paddr: u64, file: u64, memory: u64| {
        put(at, &kind.to_le_bytes());
        for (n, word) in [offset, paddr, paddr, file, memory].into_iter().enumerate() {
            put(at + 8 + n * 8, &word.to_le_bytes());
        }
    };
    header(64, 1, 0x1000, 0x100_0000, 0x1800, 0x5000);
    header(120, 4, 0x200, 0, notes.len() as u64, notes.len() as u64);
    elf[0x200..0x200 + notes.len()].copy_from_slice(&notes);
    elf.resize(0x2800, 0xcc);
    elf
}

#[test]
fn a_file_that_is_no_kernel_is_named_with_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let cases = [
        (dir.path().join("missing"), "cannot read kernel", "No such file"),
        (dir.path().to_path_buf(), "kernel ", "is a directory"),
        ("/dev/null".into(), "kernel /dev/null", "is not a regular file"),
        (file("empty", b""), "empty", "is empty"),
        (file("text", b"hello, world"), "text", "not an ELF file"),
        (file("cut", &kernel(true)[..0x2000]), "cut", "cannot be used"),
        (file("entry", &kernel(false)), "is not a Xen PV kernel", "entry point 0x1000"),
        (file("gz", b"\x1f\x8b\x08\0\0\0\0\0\0\0\0\0\0\0"), "gz", "gzip"),
    ];
    for (path, name, why) in cases {
        let text = refused(&path);
        assert!(text.contains(name) && text.contains(why), "{text:?}");
    }
}

#[test]
fn a_kernel_that_claims_to_unpack_to_gigabytes_is_refused_before_memory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bomb.gz");
    let mut bytes = b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec();
    bytes.extend([0xff; 8]);
    std::fs::write(&path, bytes).unwrap();
    assert!(refused(&path).contains("unpacks to 4294967295 bytes"));
}

#[test]
fn a_domain_without_room_is_refused_with_both_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("k");
    std::fs::write(&path, kernel(true)).unwrap();
    let request = Request { kernel: path.clone(), ..Request::default() };
    assert_eq!(Prepared::new(request.clone()).unwrap().pages(), 32768);
    let small = Request { memory_kib: 8 << 10, ..request.clone() };
    let text = chain(&Prepared::new(small).unwrap_err());
    assert!(text.contains("8 MiB") && text.contains("the domain has 2048"), "{text}");
    let none = Request { memory_kib: 1023, ..request.clone() };
    assert!(matches!(Prepared::new(none), Err(BuildError::Memory { kib: 1023 })));
    let missing = Request { ramdisk: Some(dir.path().join("no")), ..request.clone() };
    assert!(chain(&Prepared::new(missing).unwrap_err()).contains("cannot read ramdisk"));
    let long = Request { command_line: "x".repeat(1024), ..request };
    assert!(chain(&Prepared::new(long).unwrap_err()).contains("1024 bytes"));
}

#[test]
fn whole_zero_pages_are_cleared_and_all_others_written() {
    let mut plan = Plan::default();
    // Two segments that share page 2; zeros from the middle of page 3 to the middle of page 9.
    plan.write(0x1000, &[1; 0x1800]).unwrap();
    plan.write(0x2800, &[1; 0x1000]).unwrap();
    plan.zero(0x3800, 0x6000).unwrap();
    // Zeros within one page.
    plan.zero(0x20_100, 0x10).unwrap();
    plan.settle();
    assert_eq!(plan.written, [(1, 3), (9, 1), (0x20, 1)]);
    assert_eq!(plan.cleared, [(4, 5)]);
}

/// `bytes` as a gzip file of one stored block (RFC 1951, 3.2.4; RFC 1952).
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).unwrap();
    let mut file = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x01".to_vec();
    file.extend(size.to_le_bytes());
    file.extend((!size).to_le_bytes());
    file.extend(bytes);
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    file.extend((!crc).to_le_bytes());
    file.extend(u32::from(size).to_le_bytes());
    file
}

#[test]
fn a_kernel_that_was_kept_unpacked_is_not_unpacked_again_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let (path, folder) = (dir.path().join("k"), dir.path().join("kernels"));
    std::fs::write(&path, gzip(&kernel(true))).unwrap();
    let request =
        Request { kernel: path.clone(), kernel_cache: Some(folder.clone()), ..Request::default() };
    let said = || Prepared::new(request.clone()).unwrap().notes().join("; ");
    assert!(said().contains("is not kept unpacked: it was changed less than 5 s ago"));
    let key = Key::of(&std::fs::File::open(&path).unwrap()).unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    cache::keep(&folder, &key, &kernel(true), later).unwrap();
    assert!(said().starts_with("the unpacked kernel comes from "), "{}", said());
    // Nothing kept fails a creation.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(said().starts_with("a kept kernel is not used: "), "{}", said());
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Another kernel in the same file.
    std::fs::write(&path, gzip(&[kernel(true), vec![0; 8]].concat())).unwrap();
    assert!(!said().contains("comes from"), "{}", said());
}
