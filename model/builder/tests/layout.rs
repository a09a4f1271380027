//! Domains built whole: layout, page tables and P2M list, walked as the hardware would.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
#![allow(clippy::cast_possible_truncation, clippy::panic)]

mod common;

use abi::Pfn;
use builder::elf::Elf;
use builder::image::Payload;
use builder::kernel::Kernel;
use builder::layout::{Area, Layout, LayoutError, P2mMapping, Request};
use builder::start_info::Registers;
use builder::tables;
use common::*;
use proptest::prelude::*;

fn kernel(file: &[u8]) -> Kernel {
    Kernel::read(&Elf::parse(file).unwrap()).unwrap()
}

fn build(layout: &Layout, in_order: bool) -> Memory {
    let mut memory = Memory { in_order, pages: layout.nr_pages, ..Memory::default() };
    tables::build(layout, &mut memory).unwrap();
    memory
}

/// Every page of every area translates to its PFN with its rights, nothing beside them does, and no two
/// areas share a PFN.
fn check(layout: &Layout, memory: &Memory) {
    let root = Registers::new(layout).cr3;
    for k in 0..layout.region.pages {
        let va = layout.region.va + k * 4096;
        let table = layout.tables.contains(Pfn(k));
        assert_eq!(memory.walk(root, va), Some((k, !table)), "{va:#x}");
    }
    for k in 0..layout.p2m.pages {
        let va = layout.p2m.va + k * 4096;
        assert_eq!(memory.walk(root, va), Some((layout.p2m.pfn.0 + k, true)), "{va:#x}");
    }
    for area in [layout.region, layout.p2m] {
        let apart = !layout.p2m_apart && area == layout.p2m;
        let next = area.end();
        if !apart && next != layout.p2m.va && next != layout.region.va {
            assert_eq!(memory.walk(root, next), None, "{next:#x}");
        }
        let before = area.va.wrapping_sub(4096);
        if !apart && before != layout.p2m.end() - 4096 && before != layout.region.end() - 4096 {
            assert_eq!(memory.walk(root, before), None, "{before:#x}");
        }
    }
    let reached = memory.tables.len() as u64;
    assert_eq!(reached, layout.tables.pages + layout.p2m_tables.pages);
    let mut areas: Vec<Area> = vec![layout.kernel, layout.start_info, layout.tables, layout.stack];
    areas.extend([layout.p2m, layout.p2m_tables]);
    areas.extend([layout.initrd, layout.store, layout.console].into_iter().flatten());
    areas.retain(|a| a.pages > 0);
    areas.sort_by_key(|a| a.pfn);
    for pair in areas.windows(2) {
        assert!(pair[0].pfn.0 + pair[0].pages <= pair[1].pfn.0, "{pair:?}");
    }
    let last = areas.last().unwrap();
    assert!(last.pfn.0 + last.pages <= layout.used_pages);
    assert!(layout.used_pages <= layout.nr_pages);
    assert_eq!(layout.region.end() % (4 << 20), 0);
    assert!(layout.region.end() - layout.stack.end() >= 512 << 10);
}

#[test]
fn a_domains_tables_map_its_layout_and_nothing_else() {
    for without in [&[][..], &[15], &[16], &[15, 16]] {
        let kernel = kernel(&small_kernel(without));
        for rings in [false, true] {
            for initrd in [0, 1, 3 << 20] {
                let want = Request { nr_pages: 70_000, initrd, rings, p2m: P2mMapping::Small };
                let layout = Layout::plan(&kernel, &want).unwrap();
                check(&layout, &build(&layout, false));
                assert_eq!(layout.initrd.is_some(), initrd > 0);
                assert_eq!(
                    layout.initrd.is_some_and(|a| a.va == 0),
                    initrd > 0 && kernel.mod_start_pfn
                );
            }
        }
    }
}

#[test]
fn superpages_map_all_of_the_p2m_list_with_fewer_tables() {
    let kernel = kernel(&small_kernel(&[]));
    let mut want = Request { nr_pages: 700_000, ..Request::default() };
    let small = Layout::plan(&kernel, &want).unwrap();
    want.p2m = P2mMapping::Superpages;
    let large = Layout::plan(&kernel, &want).unwrap();
    check(&large, &build(&large, true));
    assert_eq!(small.p2m_tables.pages, 5);
    assert_eq!(large.p2m_tables.pages, 3);
    let mut scattered = Memory { pages: 700_000, ..Memory::default() };
    let error = tables::build(&large, &mut scattered).unwrap_err();
    assert_eq!(error, tables::TableError::NotContiguous(large.p2m.pfn));
}

#[test]
fn a_domain_with_too_little_memory_is_told_how_much_it_needs() {
    let kernel = kernel(&small_kernel(&[]));
    let plan = |nr_pages| Layout::plan(&kernel, &Request { nr_pages, ..Request::default() });
    let Err(LayoutError::Memory { needed, have: 1000 }) = plan(1000) else { panic!() };
    assert!(plan(needed + 10).is_ok());
    assert!(matches!(plan(u64::MAX), Err(LayoutError::TooManyPages(_))));
}

#[test]
fn the_p2m_list_holds_each_frame_in_order() {
    let kernel = kernel(&small_kernel(&[]));
    let layout = Layout::plan(&kernel, &Request { nr_pages: 9000, ..Request::default() }).unwrap();
    let mut memory = Memory { pages: 8999, ..Memory::default() };
    let frames = Memory { pages: 8999, ..Memory::default() };
    tables::write_p2m(&layout, &mut memory, |pfn| frames.frame(pfn.0).map(abi::Mfn)).unwrap();
    for k in 0..layout.p2m.pages * 512 {
        let page = &memory.bytes[&(layout.p2m.pfn.0 + k / 512)];
        let at = (k % 512 * 8) as usize;
        let entry = u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
        assert_eq!(entry, frames.frame(k).unwrap_or(u64::MAX));
    }
    assert_eq!(memory.bytes.len() as u64, layout.p2m.pages);
}

#[test]
fn a_p2m_list_in_the_hypervisors_part_or_on_the_kernel_is_refused() {
    let mut kernel = kernel(&small_kernel(&[]));
    let want = Request { nr_pages: 9000, ..Request::default() };
    for bad in [0xffff_8000_0000_0000, 0x7fff_ffff_f000, 0x8000_0000_0000, 0xffff_ffff_ffff_f000] {
        kernel.init_p2m = Some(bad);
        let error = Layout::plan(&kernel, &want).unwrap_err();
        assert!(matches!(error, LayoutError::Forbidden { what: "P2M list", .. }), "{error}");
    }
    kernel.init_p2m = Some(0xffff_ffff_8100_0000);
    assert!(matches!(Layout::plan(&kernel, &want), Err(LayoutError::P2mOverlap { .. })));
}

/// The figures that Xen 4.20 prints for Debian's kernel 6.12 in a dom0 of 1 GiB.
#[test]
fn the_debian_kernel_is_laid_out_as_xen_does() {
    let Ok(path) = std::env::var("FERROXEN_TEST_KERNEL") else {
        eprintln!("FERROXEN_TEST_KERNEL names no kernel: nothing tested");
        return;
    };
    let file = std::fs::read(path).unwrap();
    let payload = Payload::find(&file).unwrap();
    let mut buffer = vec![0; payload.buffer_size() as usize];
    let elf = Elf::parse(payload.unpack(&mut buffer).unwrap()).unwrap();
    let kernel = Kernel::read(&elf).unwrap();
    assert!(kernel.features.can_be_dom0());
    assert_eq!(kernel.end, 0xffff_ffff_8420_0000);
    let want = Request { nr_pages: 262_144, initrd: 30_245_376, ..Request::default() };
    let layout = Layout::plan(&kernel, &want).unwrap();
    let of = |area: Area| (area.va, area.end());
    assert_eq!(of(layout.kernel), (0xffff_ffff_8100_0000, 0xffff_ffff_8420_0000));
    assert_eq!(of(layout.p2m), (0x80_0000_0000, 0x80_0020_0000));
    assert_eq!(layout.start_info.va, 0xffff_ffff_8420_0000);
    assert_eq!(of(layout.tables), (0xffff_ffff_8420_1000, 0xffff_ffff_8422_6000));
    assert_eq!(of(layout.stack), (0xffff_ffff_8422_6000, 0xffff_ffff_8422_7000));
    assert_eq!(of(layout.region), (0xffff_ffff_8000_0000, 0xffff_ffff_8440_0000));
    assert_eq!(layout.entry, 0xffff_ffff_8336_4760);
    check(&layout, &build(&layout, false));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    /// Wherever a kernel wants itself and its list, the plan is an error or can be walked.
    #[test]
    fn any_plan_that_is_made_can_be_built_and_walked(
        base in prop_oneof![Just(0u64), Just(0xffff_ffff_8000_0000), Just(0x7fc0_0000),
            (0u64..1 << 24).prop_map(|p| p << 12), (0u64..1 << 36).prop_map(|p| 0xffff_8800_0000_0000 | p << 12)],
        offset in 0u64..3000, pages in 1u64..3000,
        p2m in prop_oneof![Just(None), (-6000i64..6000).prop_map(Some)],
        nr_pages in 3000u64..40_000, initrd in 0u64..1_000_000, rings: bool, mod_start_pfn: bool,
    ) {
        let mut kernel = kernel(&small_kernel(&[]));
        kernel.virt_base = base;
        kernel.start = base.wrapping_add(offset << 12);
        kernel.end = kernel.start.wrapping_add(pages << 12);
        kernel.init_p2m = p2m.map(|d| base.wrapping_add_signed(d << 12));
        kernel.mod_start_pfn = mod_start_pfn;
        let want = Request { nr_pages, initrd, rings, p2m: P2mMapping::Superpages };
        if let Ok(layout) = Layout::plan(&kernel, &want) {
            check(&layout, &build(&layout, true));
        }
    }
}
