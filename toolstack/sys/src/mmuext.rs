//! mmuext_op and mmu_update on another PV domain.

use abi::xen::{Hypercall, MmuCmd, MmuUpdate, MmuextCmd, MmuextOp};

use crate::error::{Error, Result};
use crate::xen::{Call, Xen};

impl Xen {
    /// Makes operations in batches; all of one call are about one domain.
    fn mmuext(&self, name: &'static str, domid: u16, ops: &[MmuextOp]) -> Result<()> {
        for batch in ops.chunks(1024) {
            let list = self.pool.of(batch)?;
            let args = [list.address(), batch.len() as u64, 0, u64::from(domid), 0];
            self.call(Call::of(name, domid), Hypercall::MMUEXT_OP, args)?;
        }
        Ok(())
    }

    /// Pins page tables of a PV domain: its frames with their levels (1 to 4).
    ///
    /// # Errors
    /// [`Error::Hypercall`]: EINVAL, a table that the rules for PV page tables do not allow;
    /// [`Error::Argument`], a level that is none.
    pub fn pin_tables(&self, domid: u16, tables: &[(u64, u32)]) -> Result<()> {
        let name = "mmuext_op pin_table";
        let mut ops = Vec::with_capacity(tables.len());
        for (frame, level) in tables {
            let cmd = match *level {
                1 => MmuextCmd::PIN_L1_TABLE,
                2 => MmuextCmd::PIN_L2_TABLE,
                3 => MmuextCmd::PIN_L3_TABLE,
                4 => MmuextCmd::PIN_L4_TABLE,
                level => {
                    let value = u64::from(level);
                    return Err(Error::Argument { call: name, what: "no such level", value });
                }
            };
            ops.push(MmuextOp { cmd, _pad: 0, arg1: *frame, arg2: 0 });
        }
        self.mmuext(name, domid, &ops)
    }

    /// Unpins page tables of a PV domain.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn unpin_tables(&self, domid: u16, frames: &[u64]) -> Result<()> {
        let op =
            |frame: &u64| MmuextOp { cmd: MmuextCmd::UNPIN_TABLE, _pad: 0, arg1: *frame, arg2: 0 };
        let ops: Vec<_> = frames.iter().map(op).collect();
        self.mmuext("mmuext_op unpin_table", domid, &ops)
    }

    /// Zeroes pages of a PV domain without mapping them.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn clear_pages(&self, domid: u16, frames: &[u64]) -> Result<()> {
        let op =
            |frame: &u64| MmuextOp { cmd: MmuextCmd::CLEAR_PAGE, _pad: 0, arg1: *frame, arg2: 0 };
        let ops: Vec<_> = frames.iter().map(op).collect();
        self.mmuext("mmuext_op clear_page", domid, &ops)
    }

    /// Writes entries of the machine-to-physical table: which PFN each frame of a domain is.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn set_machphys(&self, domid: u16, entries: &[(u64, u64)]) -> Result<()> {
        let name = "mmu_update machphys";
        for batch in entries.chunks(1024) {
            let update = |(frame, pfn): &(u64, u64)| MmuUpdate {
                ptr: frame << abi::PAGE_SHIFT | MmuCmd::MACHPHYS_UPDATE.0,
                val: *pfn,
            };
            let updates: Vec<_> = batch.iter().map(update).collect();
            let list = self.pool.of(updates.as_slice())?;
            let args = [list.address(), batch.len() as u64, 0, u64::from(domid), 0];
            self.call(Call::of(name, domid), Hypercall::MMU_UPDATE, args)?;
        }
        Ok(())
    }
}
