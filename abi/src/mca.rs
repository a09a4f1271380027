//! `public/arch-x86/xen-mca.h`: machine-check telemetry (hypercall 48).

use crate::GuestPtr;
use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What a `mca` call does.
    pub struct McCmd(u32) {
        /// [`McFetch`].
        FETCH = 1,
        /// Tells a domain of an error that concerns it.
        NOTIFYDOMAIN = 2,
        /// [`McPhyscpuinfo`].
        PHYSCPUINFO = 3,
        /// Makes MSRs appear to hold given values.
        MSRINJECT = 4,
        /// Raises a machine check on a CPU.
        MCEINJECT = 5,
        /// Raises a machine check or CMCI on CPUs.
        INJECT_V2 = 6,
    }
}

consts! { u32;
    /// What [`Mc::interface_version`] must be.
    MCA_INTERFACE_VERSION = 0x01ec_c003,
    /// [`McFetch::flags`] (in): errors that were corrected or found by polling.
    MC_NONURGENT = 1,
    /// [`McFetch::flags`] (in): errors that raised an exception.
    MC_URGENT = 2,
    /// [`McFetch::flags`] (in): the record of that id has been taken.
    MC_ACK = 4,
    /// [`McFetch::flags`] (out): there was no record.
    MC_NODATA = 2,
    /// Words in [`McLogicalCpu::mc_cpu_caps`].
    MC_NCAPS = 7,
}

layouts! {
    /// Argument of the hypercall.
    pub struct Mc("struct xen_mc"): 152 {
        /// What to do.
        pub cmd: McCmd,
        /// [`MCA_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// The command's structure, from the start.
        pub u: [u64; 18],
    }

    /// Takes the oldest record.
    pub struct McFetch("struct xen_mc_fetch"): 24 {
        /// `MC_*`.
        pub flags: u32,
        /// Padding.
        pub _pad0: u32,
        /// The record's id (out), or the one acknowledged (in).
        pub fetch_id: u64,
        /// Room for the record.
        pub data: GuestPtr<u8>,
    }

    /// Describes the CPUs.
    pub struct McPhyscpuinfo("struct xen_mc_physcpuinfo"): 16 {
        /// Entries of room (in), CPUs (out).
        pub ncpus: u32,
        /// Padding.
        pub _pad0: u32,
        /// Room, or null to be told the count only.
        pub info: GuestPtr<McLogicalCpu>,
    }

    /// A model-specific register and its value.
    pub struct McMsr("struct mcinfo_msr"): 16 {
        /// Register.
        pub reg: u64,
        /// Value.
        pub value: u64,
    }

    /// One CPU.
    pub struct McLogicalCpu("struct mcinfo_logical_cpu"): 304 {
        /// Its number.
        pub mc_cpunr: u32,
        /// Its package.
        pub mc_chipid: u32,
        /// Its core within the package.
        pub mc_coreid: u16,
        /// Its thread within the core.
        pub mc_threadid: u16,
        /// APIC id.
        pub mc_apicid: u32,
        /// Not used.
        pub mc_clusterid: u32,
        /// Cores in a package.
        pub mc_ncores: u32,
        /// Of these on line.
        pub mc_ncores_active: u32,
        /// Threads in a core.
        pub mc_nthreads: u32,
        /// Highest basic CPUID leaf.
        pub mc_cpuid_level: i32,
        /// Family.
        pub mc_family: u32,
        /// The hypervisor's number of the vendor.
        pub mc_vendor: u32,
        /// Model.
        pub mc_model: u32,
        /// Stepping.
        pub mc_step: u32,
        /// CPUID's vendor string.
        pub mc_vendorid: [u8; 16],
        /// CPUID's name string.
        pub mc_brandid: [u8; 64],
        /// Feature words: leaf 1 EDX, 0x80000001 EDX, two unused, leaf 1 ECX, unused, 0x80000001 ECX.
        pub mc_cpu_caps: [u32; 7],
        /// KiB of cache.
        pub mc_cache_size: u32,
        /// Bytes of a cache line.
        pub mc_cache_alignment: u32,
        /// Used entries of the next.
        pub mc_nmsrvals: i32,
        /// Padding.
        pub _pad: u32,
        /// Registers that tell of machine-check abilities.
        pub mc_msrvalues: [McMsr; 8],
    }
}
