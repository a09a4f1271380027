//! What the boot loader said: command line, modules, memory map (multiboot 1).

use crate::layout::DIRECT_MAP;

/// A range of physical memory and its e820 type (1 is RAM).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryRange {
    /// First byte.
    pub start: u64,
    /// First byte after it.
    pub end: u64,
    /// e820 type.
    pub kind: u32,
}

/// A boot module: a kernel or an initial ramdisk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Module {
    start: u64,
    end: u64,
}

impl Module {
    /// First physical byte.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// First byte after it.
    pub fn end(&self) -> u64 {
        self.end
    }
}

const MAX_RANGES: usize = 128;
const MAX_MODULES: usize = 8;
const MAX_STRING: usize = 4096;

/// All of it, copied out of the loader's memory.
pub struct BootInfo {
    ranges: [MemoryRange; MAX_RANGES],
    range_count: usize,
    modules: [Module; MAX_MODULES],
    module_count: usize,
    command_line: [u8; MAX_STRING],
    command_line_len: usize,
    module_strings: [[u8; 2048]; 2],
    keyboard_flags: u8,
}

/// Where a BIOS keeps the state of the keyboard, in its data area.
const KEYBOARD_FLAGS: u64 = 0x417;

/// Reads plain data from the low 4 GiB through the boot-time direct map.
fn read<T: Copy>(phys: u64) -> T {
    let phys = phys & 0xffff_ffff;
    let p =
        core::ptr::with_exposed_provenance::<T>(crate::num::index(DIRECT_MAP.wrapping_add(phys)));
    // SAFETY: the boot page tables map the low 4 GiB there, and `T` is an integer in all uses.
    unsafe { p.read_unaligned() }
}

fn copy_string(phys: u64, to: &mut [u8]) -> usize {
    let mut n = 0usize;
    let room = to.len().saturating_sub(1);
    for (i, slot) in to.iter_mut().take(room).enumerate() {
        let byte: u8 = read(phys.wrapping_add(i as u64));
        if byte == 0 {
            break;
        }
        *slot = byte;
        n = i.wrapping_add(1);
    }
    n
}

impl BootInfo {
    /// Nothing known.
    pub(crate) const fn new() -> Self {
        BootInfo {
            ranges: [MemoryRange { start: 0, end: 0, kind: 0 }; MAX_RANGES],
            range_count: 0,
            modules: [Module { start: 0, end: 0 }; MAX_MODULES],
            module_count: 0,
            command_line: [0; MAX_STRING],
            command_line_len: 0,
            module_strings: [[0; 2048]; 2],
            keyboard_flags: 0,
        }
    }

    /// Takes over a multiboot 1 information structure.
    pub(crate) fn read_multiboot(&mut self, info: u64) {
        let flags: u32 = read(info);
        if flags & 4 != 0 {
            let at: u32 = read(info.wrapping_add(16));
            self.command_line_len = copy_string(u64::from(at), &mut self.command_line);
        }
        if flags & 8 != 0 {
            self.read_modules(info);
        }
        if flags & 64 != 0 {
            self.read_memory_map(info);
        }
        self.keyboard_flags = read(KEYBOARD_FLAGS);
    }

    fn read_modules(&mut self, info: u64) {
        let count: u32 = read(info.wrapping_add(20));
        let at: u32 = read(info.wrapping_add(24));
        for (i, module) in self.modules.iter_mut().take(count as usize).enumerate() {
            let entry = u64::from(at).wrapping_add((i as u64).wrapping_mul(16));
            let start: u32 = read(entry);
            let end: u32 = read(entry.wrapping_add(4));
            let string: u32 = read(entry.wrapping_add(8));
            *module = Module { start: start.into(), end: end.into() };
            if string != 0
                && let Some(text) = self.module_strings.get_mut(i)
            {
                copy_string(u64::from(string), text);
            }
            self.module_count = i.wrapping_add(1);
        }
    }

    fn read_memory_map(&mut self, info: u64) {
        let length: u32 = read(info.wrapping_add(44));
        let at: u32 = read(info.wrapping_add(48));
        let mut offset = 0u64;
        while offset < u64::from(length) && self.range_count < MAX_RANGES {
            let entry = u64::from(at).wrapping_add(offset);
            let size: u32 = read(entry);
            let start: u64 = read(entry.wrapping_add(4));
            let len: u64 = read(entry.wrapping_add(12));
            let kind: u32 = read(entry.wrapping_add(20));
            if let Some(slot) = self.ranges.get_mut(self.range_count) {
                *slot = MemoryRange { start, end: start.saturating_add(len), kind };
                self.range_count = self.range_count.wrapping_add(1);
            }
            offset = offset.wrapping_add(u64::from(size)).wrapping_add(4);
        }
        let filled = self.range_count;
        if let Some(ranges) = self.ranges.get_mut(..filled) {
            ranges.sort_unstable_by_key(|r| r.start);
        }
    }

    /// The keyboard's shift keys and locks, as INT 16h function 2 tells them.
    pub fn keyboard_flags(&self) -> u8 {
        self.keyboard_flags
    }

    /// The memory map, by address.
    pub fn memory(&self) -> &[MemoryRange] {
        self.ranges.get(..self.range_count).unwrap_or(&[])
    }

    /// The modules, in the loader's order.
    pub fn modules(&self) -> &[Module] {
        self.modules.get(..self.module_count).unwrap_or(&[])
    }

    /// The hypervisor's command line, as bytes.
    pub fn command_line(&self) -> &[u8] {
        self.command_line.get(..self.command_line_len).unwrap_or(&[])
    }

    /// The string of module `i` (0 or 1), as bytes.
    pub fn module_string(&self, i: usize) -> &[u8] {
        let text = self.module_strings.get(i).map_or(&[][..], |t| &t[..]);
        text.split(|&b| b == 0).next().unwrap_or(&[])
    }
}
