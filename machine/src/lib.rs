//! The only hypervisor crate that may say `unsafe`: CPU state, entry code, page tables, devices,
//! and access to guests' memory, each behind a safe face.
#![no_std]
#![cfg_attr(not(target_os = "none"), allow(dead_code))]

pub mod acpi;
pub mod apic;
pub mod backtrace;
pub mod boot;
pub mod bootinfo;
pub mod bringup;
pub mod clock;
pub mod cpu;
pub mod desc;
pub mod entry;
mod extable;
pub mod fpu;
pub mod frames;
pub mod guest;
pub mod heap;
pub mod hot;
pub mod ioapic;
pub mod layout;
pub mod lock;
pub mod memory;
pub mod mitigate;
mod mmio;
pub mod msi;
pub mod num;
pub mod once;
pub mod paging;
mod patch;
pub mod pci;
pub mod percpu;
pub mod port;
pub mod regs;
pub mod reset;
pub mod rtc;
pub mod serial;
pub mod smp;
pub mod static_ref;
pub mod symbols;
mod thunk;
