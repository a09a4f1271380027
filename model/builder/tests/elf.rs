//! Kernels that are refused, and why.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![allow(clippy::cast_possible_truncation, clippy::panic, dead_code)]

mod common;

use abi::{Mfn, Port};
use builder::elf::{Elf, ElfError};
use builder::kernel::{Kernel, KernelError, Notes};
use builder::layout::{Layout, Request};
use builder::start_info::{self, Contents, Registers, Role, StartInfoError};
use common::*;

fn with_notes(notes: &[u8]) -> Result<Kernel, KernelError> {
    let file = elf(&[(0x100_0000, vec![0x90; 100], 0x2000)], notes);
    Kernel::read(&Elf::parse(&file).unwrap())
}

fn linux_but(without: &[u32], with: &[u8]) -> Result<Kernel, KernelError> {
    with_notes(&[&linux_notes(without), with].concat())
}

fn changed(at: usize, bytes: &[u8]) -> ElfError {
    let mut file = small_kernel(&[]);
    file[at..at + bytes.len()].copy_from_slice(bytes);
    Elf::parse(&file).unwrap_err()
}

#[test]
fn linux_notes_are_read_as_they_are() {
    let kernel = linux_but(&[], &[]).unwrap();
    assert_eq!(kernel.virt_base, 0xffff_ffff_8000_0000);
    assert_eq!((kernel.start, kernel.end), (0xffff_ffff_8100_0000, 0xffff_ffff_8100_2000));
    assert_eq!(kernel.entry, 0xffff_ffff_8100_0010);
    assert_eq!(kernel.init_p2m, Some(0x80_0000_0000));
    assert!(kernel.mod_start_pfn && kernel.features.can_be_dom0());
    assert_eq!((kernel.features.supported, kernel.features.required), (0x8801, 1));
    let file = small_kernel(&[]);
    let elf = Elf::parse(&file).unwrap();
    assert_eq!(Notes::read(&elf).unwrap().guest_os, b"linux");
}

#[test]
fn what_is_no_elf_kernel_for_this_machine_is_named() {
    assert_eq!(changed(0, b"MZ"), ElfError::Magic(*b"MZLF"));
    assert_eq!(changed(4, &[1]), ElfError::Class(1, 1));
    assert_eq!(changed(18, &[3]), ElfError::Machine(3));
    assert_eq!(changed(16, &[1]), ElfError::Type(1));
    assert!(matches!(changed(54, &[32]), ElfError::Header { value: 32, .. }));
    assert!(matches!(changed(56, &[255]), ElfError::Header { value: 255, .. }));
    assert!(matches!(changed(32, &[0xff; 8]), ElfError::Truncated { what: "program header", .. }));
    // The first segment: its file offset, file size, physical address.
    assert!(matches!(changed(64 + 8, &[0xff; 8]), ElfError::Truncated { what: "segment", .. }));
    assert!(matches!(changed(64 + 32, &[0, 0x20]), ElfError::FileSize { segment: 0, .. }));
    assert!(matches!(changed(64 + 24, &[0xff; 8]), ElfError::Wraps { segment: 0, .. }));
    assert!(matches!(changed(64 + 24 + 4, &[1]), ElfError::Span(_)));
    assert_eq!(changed(64 + 24, &0x100_3000u64.to_le_bytes()), ElfError::Overlap(0, 1));
    assert_eq!(Elf::parse(&elf(&[], &[])).unwrap_err(), ElfError::Empty);
}

#[test]
fn kernels_not_made_for_this_loader_are_refused() {
    assert_eq!(with_notes(&[]), Err(KernelError::NoNotes));
    assert_eq!(linux_but(&[6, 8], &[]), Err(KernelError::Loader));
    assert!(linux_but(&[6], &[]).is_ok() && linux_but(&[8], &[]).is_ok());
    assert_eq!(linux_but(&[5], &[]), Err(KernelError::XenVersion));
    assert_eq!(linux_but(&[5], &note(5, b"xen-2.0\0")), Err(KernelError::XenVersion));
    assert_eq!(with_notes(&number(18, 0x100_0000)), Err(KernelError::NotPv));
    let odd = note(3, &[0; 3]);
    assert_eq!(linux_but(&[3], &odd), Err(KernelError::NoteSize { note: 3, size: 3 }));
    let needs = |text: &[u8]| linux_but(&[10], &note(10, text)).map(|_| ());
    assert_eq!(needs(b"dom0|!supervisor_mode_kernel"), Err(KernelError::RequiredFeature(3)));
    assert_eq!(needs(b"!teleport"), Err(KernelError::UnknownRequiredFeature));
    assert_eq!(needs(b"teleport|pae_pgdir_above_4gb"), Ok(()));
}

#[test]
fn addresses_that_do_not_go_together_are_refused() {
    let out = |r: Result<Kernel, KernelError>| matches!(r, Err(KernelError::OutOfRange { .. }));
    assert!(out(linux_but(&[1], &number(1, 0xffff_ffff_8100_2000))));
    assert!(out(linux_but(&[1], &number(1, 0xffff_ffff_80ff_ffff))));
    assert!(out(linux_but(&[], &number(2, 0xffff_ffff_8100_2000))));
    assert!(linux_but(&[], &number(2, 0xffff_ffff_8100_1000)).is_ok());
    let offset = linux_but(&[4], &number(4, 0x200_0000));
    assert!(matches!(offset, Err(KernelError::Addresses { paddr_offset: 0x200_0000, .. })));
    let high = linux_but(&[3], &number(3, 0xffff_ffff_ff00_0000));
    assert!(matches!(high, Err(KernelError::Addresses { .. })));
    let odd = linux_but(&[15], &number(15, 0x80_0000_0001));
    assert!(matches!(odd, Err(KernelError::Unaligned { what: "INIT_P2M", .. })));
}

#[test]
fn segments_are_loaded_where_they_belong_and_the_rest_is_zeroed() {
    let file = small_kernel(&[]);
    let elf = Elf::parse(&file).unwrap();
    let mut memory = Memory::default();
    Kernel::read(&elf).unwrap().load(&elf, &mut memory).unwrap();
    let at =
        |address: u64| memory.bytes.get(&(address >> 12)).map(|p| p[(address & 4095) as usize]);
    assert_eq!(at(0x100_0001), Some(7));
    assert_eq!(at(0x100_0000 + 4999), Some((4999 * 7 % 256) as u8));
    assert_eq!(at(0x100_0000 + 5000), Some(0xee), "not touched");
    assert_eq!((at(0x100_312b), at(0x100_312c)), (Some(0x5a), Some(0)));
    assert_eq!((at(0x100_7fff), at(0x100_8000)), (Some(0), None));
}

#[test]
fn start_info_says_what_the_layout_is() {
    let file = small_kernel(&[]);
    let kernel = Kernel::read(&Elf::parse(&file).unwrap()).unwrap();
    let want = Request { nr_pages: 8000, initrd: 5000, rings: true, ..Request::default() };
    let layout = Layout::plan(&kernel, &want).unwrap();
    let role = Role::DomU {
        store: Mfn(0x1234),
        store_port: Port(1),
        console: Mfn(0x5678),
        console_port: Port(2),
    };
    let mut contents =
        Contents { role, shared_info: 0x9000, flags: 0, command_line: b"console=hvc0" };
    let page = start_info::fill(&layout, &contents).unwrap();
    let word = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
    assert_eq!(&page[..15], b"xen-3.0-x86_64\0");
    assert_eq!((word(32), word(40), word(48)), (8000, 0x9000, 8));
    assert_eq!((word(56), word(64), word(72), word(80)), (0x1234, 1, 0x5678, 2));
    assert_eq!((word(88), word(96)), (layout.tables.va, layout.tables.pages));
    assert_eq!(word(104), 0x80_0000_0000);
    assert_eq!((word(112), word(120)), (layout.initrd.unwrap().pfn.0, 5000));
    assert_eq!(&page[128..141], b"console=hvc0\0");
    assert_eq!((word(1152), word(1160)), (layout.p2m.pfn.0, layout.p2m.pages + 3));
    contents.role = Role::Dom0;
    let page = start_info::fill(&layout, &contents).unwrap();
    assert_eq!(page[48..88], [&[11][..], &[0; 39]].concat());
    let registers = Registers::new(&layout);
    assert_eq!((registers.rip, registers.rsi), (kernel.entry, layout.start_info.va));
    assert_eq!(registers.rsp, layout.stack.end());
}

#[test]
fn a_command_line_that_does_not_fit_is_refused_not_cut() {
    let file = small_kernel(&[]);
    let kernel = Kernel::read(&Elf::parse(&file).unwrap()).unwrap();
    let layout = Layout::plan(&kernel, &Request { nr_pages: 8000, ..Request::default() }).unwrap();
    let fill = |command_line: &[u8]| {
        let contents = Contents { role: Role::Dom0, shared_info: 0, flags: 0, command_line };
        start_info::fill(&layout, &contents).map(|page| page[128 + 1022])
    };
    assert_eq!(fill(&[b'x'; 1023]), Ok(b'x'));
    assert_eq!(fill(&[b'x'; 1024]), Err(StartInfoError::CommandLine(1024)));
    assert_eq!(fill(b"a\0b"), Err(StartInfoError::ZeroInCommandLine(1)));
}
