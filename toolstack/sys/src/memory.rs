//! memory_op: memory of domains.

use zerocopy::FromZeros;

use abi::GuestPtr;
use abi::memory::{
    E820Entry, ForeignMemoryMap, MEMF_EXACT_NODE_REQUEST, MEMF_NODE_SHIFT, MemoryCmd, MemoryDomain,
    MemoryMap, MemoryReservation,
};
use abi::xen::Hypercall;

use crate::error::{Error, Result};
use crate::xen::{Call, Xen};

/// Extents in one call. A call with more is continued by the hypervisor for long.
const BATCH: usize = 65536;
/// Entries of a memory map at most: Xen's own bound.
const MAX_E820: usize = 1024;

/// Where memory is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ReservationFlags {
    /// Greatest address, in bits; 0 for any.
    pub address_bits: u8,
    /// Which node first.
    pub node: Option<u8>,
    /// And no other.
    pub exact_node: bool,
}

impl ReservationFlags {
    fn bits(self) -> u32 {
        let node = self.node.map_or(0, |n| (u32::from(n) + 1) << MEMF_NODE_SHIFT);
        let exact = if self.exact_node { MEMF_EXACT_NODE_REQUEST } else { 0 };
        u32::from(self.address_bits) | (node & 0xff00) | exact
    }
}

/// Consecutive frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

impl Xen {
    fn memory_op<T>(&self, call: Call, cmd: MemoryCmd, argument: &mut T) -> Result<i64>
    where
        T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
    {
        self.call_with(call, Hypercall::MEMORY_OP, u64::from(cmd.0), argument)
    }

    /// One reservation of at most [`BATCH`] extents. Returns how many were done and the list after.
    fn reserve(
        &self,
        call: Call,
        cmd: MemoryCmd,
        domid: u16,
        extents: &[u64],
        order: u32,
        mem_flags: u32,
    ) -> Result<(usize, Vec<u64>)> {
        let list = self.pool.of(extents)?;
        let mut argument = MemoryReservation {
            extent_start: GuestPtr::new(list.address()),
            nr_extents: extents.len() as u64,
            extent_order: order,
            mem_flags,
            domid,
            _pad: [0; 3],
        };
        let done = self.memory_op(call, cmd, &mut argument)?;
        let done = usize::try_from(done).unwrap_or(0).min(extents.len());
        Ok((done, list.list(done)))
    }

    /// Gives a domain memory: for each of `pfns` an extent of 2^`order` pages that becomes its
    /// pseudo-physical memory from there on. Returns the machine frame (PV) of each extent that was given;
    /// fewer than asked for where there was no more of that size.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn populate_physmap(
        &self,
        domid: u16,
        pfns: &[u64],
        order: u32,
        flags: ReservationFlags,
    ) -> Result<Vec<u64>> {
        let call = Call::of("memory_op populate_physmap", domid);
        let mut frames = Vec::with_capacity(pfns.len());
        for batch in pfns.chunks(BATCH) {
            let cmd = MemoryCmd::POPULATE_PHYSMAP;
            let (done, list) = self.reserve(call, cmd, domid, batch, order, flags.bits())?;
            frames.extend(list);
            if done < batch.len() {
                break;
            }
        }
        Ok(frames)
    }

    /// Takes extents of 2^`order` pages from a domain, all or as an error.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Extents`].
    pub fn decrease_reservation(&self, domid: u16, frames: &[u64], order: u32) -> Result<()> {
        let call = Call::of("memory_op decrease_reservation", domid);
        let mut all = 0usize;
        for batch in frames.chunks(BATCH) {
            let cmd = MemoryCmd::DECREASE_RESERVATION;
            let (done, _) = self.reserve(call, cmd, domid, batch, order, 0)?;
            all = all.saturating_add(done);
            if done < batch.len() {
                let (done, wanted) = (all as u64, frames.len() as u64);
                let pages = 1u64.checked_shl(order).unwrap_or(0);
                return Err(Error::Extents { domid, done, wanted, pages });
            }
        }
        Ok(())
    }

    /// Sets pages aside for a domain, counted from what it has; 0 gives back what is left of a claim.
    ///
    /// # Errors
    /// [`Error::Hypercall`]: ENOMEM, there are not so many free.
    pub fn claim_pages(&self, domid: u16, pages: u64) -> Result<()> {
        let mut argument =
            MemoryReservation { nr_extents: pages, domid, ..MemoryReservation::new_zeroed() };
        let call = Call::of("memory_op claim_pages", domid);
        self.memory_op(call, MemoryCmd::CLAIM_PAGES, &mut argument).map(drop)
    }

    /// Sets the memory map that a domain is told.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Argument`] for more than 1024 entries.
    pub fn set_memory_map(&self, domid: u16, map: &[E820Entry]) -> Result<()> {
        let name = "memory_op set_memory_map";
        if map.len() > MAX_E820 {
            let value = map.len() as u64;
            return Err(Error::Argument { call: name, what: "more than 1024 entries", value });
        }
        let list = self.pool.of(map)?;
        let nr_entries = u32::try_from(map.len()).unwrap_or(0);
        let mut argument = ForeignMemoryMap {
            domid,
            _pad: [0; 3],
            map: MemoryMap { nr_entries, _pad: 0, buffer: GuestPtr::new(list.address()) },
        };
        let call = Call::of(name, domid);
        self.memory_op(call, MemoryCmd::SET_MEMORY_MAP, &mut argument).map(drop)
    }

    /// The memory map of the machine.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn machine_memory_map(&self) -> Result<Vec<E820Entry>> {
        let list = self.room::<E820Entry>(MAX_E820)?;
        let mut argument = MemoryMap {
            nr_entries: MAX_E820 as u32,
            _pad: 0,
            buffer: GuestPtr::new(list.address()),
        };
        let call = Call::new("memory_op machine_memory_map");
        self.memory_op(call, MemoryCmd::MACHINE_MEMORY_MAP, &mut argument)?;
        Ok(list.list((argument.nr_entries as usize).min(MAX_E820)))
    }

    /// The machine's greatest frame.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn maximum_ram_page(&self) -> Result<u64> {
        let name = "memory_op maximum_ram_page";
        let cmd = u64::from(MemoryCmd::MAXIMUM_RAM_PAGE.0);
        let frame = self.call(Call::new(name), Hypercall::MEMORY_OP, [cmd, 0, 0, 0, 0])?;
        u64::try_from(frame).map_err(|_| Error::Answer { call: name, what: "a negative frame" })
    }

    fn memory_number(&self, name: &'static str, cmd: MemoryCmd, domid: u16) -> Result<u64> {
        let mut argument = MemoryDomain { domid };
        let number = self.memory_op(Call::of(name, domid), cmd, &mut argument)?;
        u64::try_from(number).map_err(|_| Error::Answer { call: name, what: "a negative number" })
    }

    /// Pages that a domain has.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn current_reservation(&self, domid: u16) -> Result<u64> {
        let name = "memory_op current_reservation";
        self.memory_number(name, MemoryCmd::CURRENT_RESERVATION, domid)
    }

    /// Pages that a domain may have.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn maximum_reservation(&self, domid: u16) -> Result<u64> {
        let name = "memory_op maximum_reservation";
        self.memory_number(name, MemoryCmd::MAXIMUM_RESERVATION, domid)
    }

    /// A domain's greatest guest frame.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn maximum_gpfn(&self, domid: u16) -> Result<u64> {
        self.memory_number("memory_op maximum_gpfn", MemoryCmd::MAXIMUM_GPFN, domid)
    }

    /// Pages saved by sharing, and pages shared; zeros where the hypervisor has no sharing.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn sharing_pages(&self) -> Result<(u64, u64)> {
        let ask = |name, cmd: MemoryCmd| match self.call(
            Call::new(name),
            Hypercall::MEMORY_OP,
            [u64::from(cmd.0), 0, 0, 0, 0],
        ) {
            Ok(pages) => Ok(u64::try_from(pages).unwrap_or(0)),
            Err(e) if e.not_implemented() => Ok(0),
            Err(e) => Err(e),
        };
        Ok((
            ask("memory_op get_sharing_freed_pages", MemoryCmd::GET_SHARING_FREED_PAGES)?,
            ask("memory_op get_sharing_shared_pages", MemoryCmd::GET_SHARING_SHARED_PAGES)?,
        ))
    }
}
