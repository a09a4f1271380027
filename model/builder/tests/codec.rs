//! Kernel files and their compression: the formats' own tools made the samples.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![allow(clippy::cast_possible_truncation, clippy::panic, dead_code)]

mod common;

use builder::codec::{Codec, CodecError};
use builder::elf::Elf;
use builder::image::{ImageError, Payload};
use builder::kernel::Kernel;
use builder::layout::{Layout, Request};
use common::*;
use proptest::prelude::*;

const SAMPLES: [(Codec, &[u8]); 6] = [
    (Codec::Zstd, include_bytes!("data/sample.zst")),
    (Codec::Zstd, include_bytes!("data/sample-fast.zst")),
    (Codec::Xz, include_bytes!("data/sample.xz")),
    (Codec::Lzma, include_bytes!("data/sample.lzma")),
    (Codec::Gzip, include_bytes!("data/sample.gz")),
    (Codec::Lz4, include_bytes!("data/sample.lz4")),
];
const SIZE: usize = 40_000;

/// What the samples hold: words, runs and calls in a random order.
fn sample() -> Vec<u8> {
    const WORDS: [&[u8]; 8] = [
        b"call ",
        b"frame",
        b"grant\n",
        b"\xe8\x10\x02\x00\x00",
        b"\xe9\xf0\xff\xff\xff",
        b"0000",
        b"a",
        b"pagetable ",
    ];
    let mut x = 1u64;
    let mut out = Vec::new();
    while out.len() < SIZE {
        x = (x * 1_103_515_245 + 12_345) & 0x7fff_ffff;
        let k = x >> 16;
        if k.is_multiple_of(23) {
            out.extend(vec![(k >> 8) as u8; (k % 60) as usize]);
        } else if k.is_multiple_of(7) {
            out.push(k as u8);
        } else {
            out.extend(WORDS[(k % 8) as usize]);
        }
    }
    out.truncate(SIZE);
    out
}

#[test]
fn every_format_gives_the_original_back() {
    let original = sample();
    for (codec, packed) in SAMPLES {
        assert_eq!(Codec::detect(packed), Some(codec));
        for spare in [0, 1, 17, 5000] {
            let mut out = vec![0xaa; SIZE + spare];
            assert_eq!(codec.decompress(packed, &mut out), Ok(SIZE), "{codec}");
            assert!(out[..SIZE] == original, "{codec} with {spare} spare bytes");
        }
    }
}

#[test]
fn a_buffer_that_is_too_small_is_an_error_of_every_format() {
    for (codec, packed) in SAMPLES {
        for size in [0, 1, 100, SIZE - 33, SIZE - 1] {
            let error = codec.decompress(packed, &mut vec![0; size]).unwrap_err();
            let expected = CodecError::TooLarge(size);
            assert_eq!(error, expected, "{codec} into {size}");
        }
    }
}

#[test]
fn input_cut_anywhere_is_an_error_of_every_format() {
    let mut out = vec![0; SIZE];
    for (codec, packed) in SAMPLES {
        // Past its data .xz has an index that is not looked at; LZ4 blocks may end anywhere, but this
        // has one.
        let data = if codec == Codec::Xz { packed.len() - 32 } else { packed.len() };
        for n in (0..data).step_by(37).chain(data - 9..data) {
            assert!(codec.decompress(&packed[..n], &mut out).is_err() || n <= 4, "{codec} {n}");
        }
    }
}

#[test]
fn a_bzimage_is_unpacked_and_says_how_large_it_will_be() {
    let elf = small_kernel(&[]);
    let file = bzimage(&zstd_stored(&elf), elf.len() as u32);
    let payload = Payload::find(&file).unwrap();
    assert_eq!(payload.buffer_size(), elf.len() as u64);
    let mut buffer = vec![0; elf.len()];
    assert_eq!(payload.unpack(&mut buffer).unwrap(), &elf[..]);
    let bare = Payload::find(&elf).unwrap();
    assert_eq!((bare, bare.buffer_size()), (Payload::Elf(&elf), 0));
    let error = payload.unpack(&mut [0; 9]).unwrap_err();
    assert_eq!(error, ImageError::Codec(Codec::Zstd, CodecError::TooLarge(9)));
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    assert_eq!(Payload::find(b"#!/b"), Err(ImageError::Unrecognised(*b"#!/b")));
    assert_eq!(Payload::find(b""), Err(ImageError::Unrecognised([0; 4])));
    let mut old = bzimage(b"abc", 3);
    old[0x206] = 7;
    assert_eq!(Payload::find(&old), Err(ImageError::OldProtocol(0x207)));
    let unknown = bzimage(b"abcdefg", 3);
    assert_eq!(Payload::find(&unknown), Err(ImageError::UnknownCompression(*b"abcd")));
}

#[test]
fn a_bzimage_cut_at_any_boundary_is_an_error() {
    let elf = small_kernel(&[]);
    let whole = bzimage(&zstd_stored(&elf), elf.len() as u32);
    let end = whole.len() - 16;
    for n in
        [0, 1, 0x1f1, 0x1fe, 0x202, 0x206, 0x248, 0x250, 512, 1024, 1535, 1544, end - 5, end - 1]
    {
        assert!(Payload::find(&whole[..n]).is_err(), "{n}");
    }
    assert!(Payload::find(&whole[..end]).is_ok());
}

/// The real kernel, if there is one, is the file beside it.
#[test]
fn the_debian_kernel_unpacks_to_its_elf_file() {
    let Ok(path) = std::env::var("FERROXEN_TEST_KERNEL") else {
        eprintln!("FERROXEN_TEST_KERNEL names no kernel: nothing tested");
        return;
    };
    let file = std::fs::read(&path).unwrap();
    let payload = Payload::find(&file).unwrap();
    let mut buffer = vec![0; payload.buffer_size() as usize];
    let elf = payload.unpack(&mut buffer).unwrap();
    assert_eq!(elf.len() as u64, payload.buffer_size());
    if let Ok(expected) = std::fs::read(path.replace("vmlinuz", "vmlinux")) {
        assert!(elf == expected);
    }
}

/// All that a loader does with a file.
fn use_file(file: &[u8]) {
    let Ok(payload) = Payload::find(file) else { return };
    let mut buffer = vec![0; payload.buffer_size().min(100_000) as usize];
    let Ok(elf) = payload.unpack(&mut buffer) else { return };
    let Ok(elf) = Elf::parse(elf) else { return };
    let Ok(kernel) = Kernel::read(&elf) else { return };
    let want = Request { nr_pages: 20_000, initrd: 5, ..Request::default() };
    let Ok(layout) = Layout::plan(&kernel, &want) else { return };
    assert!(layout.used_pages <= 20_000);
    assert!(kernel.start >= kernel.virt_base && kernel.end > kernel.start);
    let mut memory = Memory { pages: 20_000, ..Memory::default() };
    if kernel.end - kernel.start < 1 << 20 {
        kernel.load(&elf, &mut memory).unwrap();
        let first = layout.kernel.pfn.0;
        assert!(memory.bytes.keys().all(|pfn| (first..first + layout.kernel.pages).contains(pfn)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 150 }))]

    #[test]
    fn damaged_input_never_panics(
        which in 0usize..6, hits in prop::collection::vec((0usize..12_000, any::<u8>()), 1..6),
        size in prop_oneof![Just(SIZE), 0usize..2 * SIZE],
    ) {
        let (codec, packed) = SAMPLES[which];
        let mut packed = packed.to_vec();
        for (at, value) in hits {
            let at = if value % 3 == 0 { at % 40 } else { at % packed.len() };
            packed[at] = value;
        }
        let mut out = vec![0; size];
        if let Ok(n) = codec.decompress(&packed, &mut out) {
            prop_assert!(n <= size);
        }
    }

    #[test]
    fn damaged_kernels_never_panic(
        hits in prop::collection::vec((0usize..6000, any::<u8>()), 1..8), packed: bool, cut in 0usize..8000,
    ) {
        let elf = small_kernel(&[]);
        let mut file = if packed { bzimage(&zstd_stored(&elf), elf.len() as u32) } else { elf };
        for (at, value) in hits {
            // Mostly the headers, the notes at the end, and the setup header's fields.
            let at = match at % 4 {
                0 => at % 300,
                1 => file.len() - 1 - at % 300,
                2 => 0x1f0 + at % 0x70,
                _ => at,
            } % file.len();
            file[at] = value;
        }
        use_file(&file);
        file.truncate(cut.min(file.len()));
        use_file(&file);
    }
}
