//! The only hypervisor crate that may say `unsafe`: CPU state, entry code, page tables, devices,
//! and access to guests' memory, each behind a safe face.
#![no_std]
#![cfg_attr(not(target_os = "none"), allow(dead_code))]

pub mod boot;
pub mod bootinfo;
pub mod cpu;
pub mod desc;
pub mod entry;
mod extable;
pub mod frames;
pub mod guest;
pub mod heap;
pub mod hot;
pub mod layout;
pub mod lock;
pub mod memory;
pub mod once;
pub mod paging;
pub mod percpu;
pub mod port;
pub mod regs;
pub mod smp;
