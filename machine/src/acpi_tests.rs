//! The tables of made-up machines, good ones and bad ones.

use super::*;

/// Puts `bytes` at `at`.
fn put<const N: usize>(table: &mut [u8; N], at: usize, bytes: &[u8]) {
    table[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Makes the first `len` bytes add up to 0 by the byte at `at`.
fn fix_sum<const N: usize>(table: &mut [u8; N], at: usize, len: usize) {
    table[at] = 0;
    let sum = table[..len].iter().fold(0u8, |s, &b| s.wrapping_add(b));
    table[at] = sum.wrapping_neg();
}

fn rsdp(revision: u8) -> [u8; 36] {
    let mut t = [0; 36];
    put(&mut t, 0, b"RSD PTR ");
    t[15] = revision;
    put(&mut t, 16, &0x1234_5678u32.to_le_bytes());
    put(&mut t, 20, &36u32.to_le_bytes());
    put(&mut t, 24, &0x1_2345_6780u64.to_le_bytes());
    fix_sum(&mut t, 8, 20);
    fix_sum(&mut t, 32, 36);
    t
}

#[test]
fn the_newer_root_table_is_preferred_and_the_older_one_used_without_it() {
    assert_eq!(parse_rsdp(&rsdp(2)[..]), Some(Root { phys: 0x1_2345_6780, wide: true }));
    assert_eq!(parse_rsdp(&rsdp(0)[..]), Some(Root { phys: 0x1234_5678, wide: false }));
    let mut bad = rsdp(2);
    bad[33] ^= 1; // the extended sum alone
    assert_eq!(parse_rsdp(&bad[..]), Some(Root { phys: 0x1234_5678, wide: false }));
}

#[test]
fn a_root_pointer_with_any_wrong_byte_in_its_first_twenty_is_refused() {
    for i in 0..20 {
        let mut bad = rsdp(0);
        bad[i] ^= 0x10;
        assert_eq!(parse_rsdp(&bad[..]), None, "byte {i}");
    }
    assert_eq!(parse_rsdp(&rsdp(0)[..19]), None);
}

#[test]
fn the_root_pointer_is_found_on_sixteen_byte_boundaries_only() {
    let mut memory = [0u8; 256];
    put(&mut memory, 72, &rsdp(2));
    assert_eq!(scan(&memory[..]), None);
    put(&mut memory, 208, &rsdp(0));
    assert_eq!(scan(&memory[..]).map(|f| f.0), Some(208));
}

fn madt() -> [u8; 160] {
    let mut t = [0u8; 160];
    put(&mut t, 36, &0xfee0_0000u32.to_le_bytes());
    put(&mut t, 40, &1u32.to_le_bytes());
    let mut at = 44;
    for entry in [
        &[0, 8, 7, 3, 1, 0, 0, 0][..],
        &[0, 8, 8, 0xff, 1, 0, 0, 0],
        &[1, 12, 2, 0, 0, 0, 0xc0, 0xfe, 24, 0, 0, 0],
        &[2, 10, 0, 0, 2, 0, 0, 0, 0, 0],
        &[2, 10, 0, 9, 9, 0, 0, 0, 0x0f, 0],
        &[4, 6, 0xff, 0, 0, 1],
        &[9, 16, 0, 0, 0x34, 0x12, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0],
        &[200, 3, 0],
        &[10, 12, 0x05, 0, 5, 0, 0, 0, 1, 0, 0, 0],
        &[1, 4, 0, 0], // too short for its kind
        &[0, 8, 9, 4, 0, 0, 0, 0],
    ] {
        put(&mut t, at, entry);
        at += entry.len();
    }
    t
}

#[test]
fn processors_controllers_overrides_and_nmi_pins_are_read() {
    let m = parse_madt(&madt()[..]).unwrap();
    assert_eq!((m.lapic_addr, m.has_8259), (0xfee0_0000, true));
    let cpu = |apic_id, processor_uid, enabled, online_capable, x2apic| Processor {
        apic_id,
        processor_uid,
        enabled,
        online_capable,
        x2apic,
    };
    let expected = [
        cpu(3, 7, true, false, false),
        cpu(0x1234, 5, false, true, true),
        cpu(4, 9, false, false, false),
    ];
    assert_eq!(&m.cpus[..], &expected);
    assert_eq!(&m.ioapics[..], &[IoApicEntry { id: 2, addr: 0xfec0_0000, gsi_base: 24 }]);
    let low_level = LineFlags { active_low: Some(true), level: Some(true) };
    assert_eq!(m.overrides[0].flags, LineFlags::default());
    assert_eq!(m.overrides[1], Override { source_irq: 9, gsi: 9, flags: low_level });
    assert_eq!((m.nmis[0].processor_uid, m.nmis[0].lint), (None, 1));
    assert_eq!((m.nmis[1].processor_uid, m.nmis[1].lint), (Some(5), 1));
    assert_eq!(m.nmis[1].flags, LineFlags { active_low: Some(false), level: Some(false) });
}

#[test]
fn entries_that_have_no_length_or_leave_the_table_end_the_list() {
    let mut t = madt();
    t[45] = 0;
    assert!(parse_madt(&t[..]).unwrap().cpus.is_empty());
    let mut t = madt();
    t[45] = 0xff;
    assert!(parse_madt(&t[..]).unwrap().cpus.is_empty());
    assert_eq!(parse_madt(&madt()[..51]).unwrap().cpus.len(), 0);
    assert_eq!(parse_madt(&madt()[..52]).unwrap().cpus.len(), 1);
}

#[test]
fn a_processor_that_is_listed_both_ways_counts_once() {
    let mut t = [0u8; 44 + 8 + 16];
    put(&mut t, 44, &[0, 8, 7, 3, 1, 0, 0, 0]);
    put(&mut t, 52, &[9, 16, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0]);
    let m = parse_madt(&t[..]).unwrap();
    assert_eq!((m.cpus.len(), m.cpus[0].x2apic), (1, false));
}

#[test]
fn more_processors_than_there_is_room_for_are_counted_and_dropped() {
    let mut t = [0u8; 44 + 8 * 130];
    for i in 0..130u8 {
        put(&mut t, 44 + usize::from(i) * 8, &[0, 8, i, i, 1, 0, 0, 0]);
    }
    let m = parse_madt(&t[..]).unwrap();
    assert_eq!((m.cpus.len(), m.cpus.dropped()), (128, 2));
}

#[test]
fn the_fixed_table_falls_back_to_its_first_revision() {
    let mut t = [0u8; 244];
    put(&mut t, 40, &0x7000u32.to_le_bytes());
    put(&mut t, 46, &9u16.to_le_bytes());
    put(&mut t, 64, &0x604u32.to_le_bytes());
    put(&mut t, 76, &0x608u32.to_le_bytes());
    put(&mut t, 88, &[4, 2]);
    put(&mut t, 112, &(1u32 << 8 | 1 << 10).to_le_bytes());
    put(&mut t, 116, &[1, 8, 0, 1]);
    put(&mut t, 120, &0xcf9u64.to_le_bytes());
    t[128] = 0x0f;
    let old = parse_fadt(&t[..116]).unwrap();
    assert_eq!(old.pm_timer, GenericAddress { space: 1, width: 32, address: 0x608 });
    assert_eq!((old.sci_irq, old.pm_timer_32bit, old.dsdt, old.reset), (9, true, 0x7000, None));
    assert_eq!(old.pm1a_cnt.width, 16);
    put(&mut t, 140, &0x1_0000_7000u64.to_le_bytes());
    put(&mut t, 208, &[0, 32, 0, 3]);
    put(&mut t, 212, &0xfed8_0808u64.to_le_bytes());
    let new = parse_fadt(&t[..]).unwrap();
    assert_eq!(new.dsdt, 0x1_0000_7000);
    assert_eq!(new.pm_timer, GenericAddress { space: 0, width: 32, address: 0xfed8_0808 });
    assert_eq!(new.reset, Some((GenericAddress { space: 1, width: 8, address: 0xcf9 }, 0x0f)));
}

#[test]
fn configuration_windows_must_be_aligned_and_run_forward() {
    let mut t = [0u8; 44 + 3 * 16 + 5];
    for (i, (base, from, to)) in
        [(0xb000_0000u64, 0, 255), (0xc000_1000, 0, 1), (1 << 32, 9, 8)].into_iter().enumerate()
    {
        put(&mut t, 44 + i * 16, &base.to_le_bytes());
        put(&mut t, 44 + i * 16 + 10, &[from, to]);
    }
    let list = parse_mcfg(&t[..]);
    let first = McfgEntry { base: 0xb000_0000, segment: 0, bus_start: 0, bus_end: 255 };
    assert_eq!(&list[..], &[first]);
}

#[test]
fn no_table_of_random_bytes_or_any_length_upsets_a_parser() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut table = [0u8; 400];
    for round in 0..2000 {
        for b in &mut table {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Small numbers are likelier to be kinds and lengths.
            let byte = (state >> 56) as u8;
            *b = if round % 2 == 0 { byte & 15 } else { byte };
        }
        let t = &table[..round % 401];
        let _ = parse_rsdp(t);
        let _ = scan(t);
        if let Some(m) = parse_madt(t) {
            assert!(m.cpus.len() <= 45);
        }
        let _ = parse_fadt(t);
        let _ = parse_hpet(t);
        assert!(parse_mcfg(t).len() <= 8);
    }
}
