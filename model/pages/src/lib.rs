//! Frame ownership, reference and type counts, page-table validation.
//!
//! The rules by which a hostile PV guest may have its page tables used by the CPU as they are:
//! every frame has one owner and one use at a time, both counted, and a present entry of a
//! validated table holds exactly the references that it needs. [`Pages`] has the operations,
//! [`Frame`] is the record that each frame has, [`Env`] is the machine as seen from here.
//!
//! A walk through one page-table write: [`Pages::update_entry`] locks the table, `entry` takes
//! the references of the new entry (`tables` brings a whole sub-tree into use if it must), the
//! word is swapped, and what the old word held is given back.
//!
//! Who owns which reference, the order of locks and the argument about TLBs are in
//! `docs/design/0003-page-references.md`.
#![cfg_attr(not(any(test, loom)), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )
)]

mod bits;
mod budget;
mod entry;
mod env;
mod flush;
mod frame;
mod kind;
mod life;
mod list;
#[cfg(test)]
#[cfg(loom)]
mod loom_tests;
mod owner;
mod pin;
mod pte;
mod reason;
mod record;
mod relinquish;
mod state;
mod tables;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;
mod token;
mod typed;
mod update;

pub use budget::Budget;
pub use env::{Access, Caches, ENTRIES, Env, HYPERVISOR_SLOTS};
pub use flush::FlushBatch;
pub use frame::{Frame, Snapshot};
pub use kind::{Kind, Level};
pub use list::PageList;
pub use pte::Pte;
pub use reason::{Reason, Stop};
pub use relinquish::Stage;
pub use token::{Deferred, PageRef, TypedRef, lost};
pub use update::{Compared, Ctx, Done, Mode};

/// The operations on frames. Holds no state of its own: that is in the frames' records.
#[derive(Debug)]
pub struct Pages<E> {
    env: E,
    /// The bits of an entry that may be an address on this machine.
    address: u64,
}

impl<E> Pages<E> {
    /// Over this machine, whose physical addresses are `address_bits` wide (CPUID 0x8000_0008;
    /// taken as 52 if larger).
    #[must_use]
    pub const fn new(env: E, address_bits: u32) -> Self {
        let bits = if address_bits > 52 { 52 } else { address_bits };
        Self { env, address: (1_u64.wrapping_shl(bits)).wrapping_sub(1) & Pte::ADDRESS }
    }

    /// The machine.
    pub const fn env(&self) -> &E {
        &self.env
    }
}
