//! Instructions that may fault on a guest's account, and where each goes on then.

/// One entry: two distances from the fields themselves.
#[repr(C)]
struct Entry {
    at: i32,
    to: i32,
}

const _: () = assert!(size_of::<Entry>().is_power_of_two());

unsafe extern "C" {
    static __ex_table_start: [Entry; 0];
    static __ex_table_end: [Entry; 0];
}

/// Where to go on after a fault at `rip`; `None` when that is not a place that may fault.
pub(crate) fn fixup(rip: u64) -> Option<u64> {
    let start = (&raw const __ex_table_start).cast::<Entry>();
    let end = (&raw const __ex_table_end).cast::<Entry>();
    let bytes = end.addr().wrapping_sub(start.addr());
    let len = bytes >> const { size_of::<Entry>().trailing_zeros() };
    // SAFETY: the linker script puts the table, whole and constant, between the two symbols.
    let table = unsafe { core::slice::from_raw_parts(start, len) };
    let absolute = |field: &i32| {
        let base = core::ptr::from_ref(field).addr() as u64;
        base.wrapping_add_signed(i64::from(*field))
    };
    table.iter().find(|e| absolute(&e.at) == rip).map(|e| absolute(&e.to))
}
