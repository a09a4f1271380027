//! Where things lie in the hypervisor's part of the virtual address space (L4 slots 256 to 271).
//!
//! Only the read-only M2P at [`M2P`] is guest ABI; the rest is private.

/// The machine-to-phys table, readable by guests: 8 bytes for each machine frame.
pub const M2P: u64 = 0xffff_8000_0000_0000;
/// Bytes of address space behind [`M2P`].
pub const M2P_BYTES: u64 = 0x40_0000_0000;
/// The same table, writable by the hypervisor.
pub const M2P_RW: u64 = 0xffff_8280_0000_0000;
/// The hypervisor's image.
pub const IMAGE: u64 = 0xffff_82d0_4000_0000;
/// Where the image is loaded in physical memory.
pub const IMAGE_PHYS: u64 = 0x20_0000;
/// One block for each CPU: its entry stub, descriptor tables and stacks.
pub const CPU_BLOCKS: u64 = 0xffff_82d0_6000_0000;
/// Bytes in a CPU's block, a power of two: `rsp` rounded down to it finds the block.
pub const CPU_BLOCK_SIZE: u64 = 0x2_0000;
/// One window for each CPU through which the processor sees the guest's descriptor tables.
pub const DESC_WINDOWS: u64 = 0xffff_82d0_8000_0000;
/// Bytes of a CPU's window: 16 pages of GDT, 16 of LDT.
pub const DESC_WINDOW_SIZE: u64 = 0x2_0000;
/// Device registers, mapped uncached.
pub const DEVICES: u64 = 0xffff_82d0_a000_0000;
/// The frame table.
pub const FRAME_TABLE: u64 = 0xffff_82e0_0000_0000;
/// All of RAM.
pub const DIRECT_MAP: u64 = 0xffff_8300_0000_0000;
/// First byte of the hypervisor's range.
pub const HYPERVISOR_START: u64 = 0xffff_8000_0000_0000;
/// First byte after the hypervisor's range.
pub const HYPERVISOR_END: u64 = 0xffff_8800_0000_0000;
/// First non-canonical address above user space.
pub const CANONICAL_LOW_END: u64 = 0x0000_8000_0000_0000;
/// CPUs that this build can drive.
pub const MAX_CPUS: usize = 64;
/// Highest machine frame number + 1 that is used: 1 TiB of address space. RAM beyond is left alone.
pub const MAX_FRAMES: u64 = 1 << 28;
