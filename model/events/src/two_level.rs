//! The two-level ABI: a bitmap of ports in `shared_info`, a bitmap of its words in `vcpu_info`.

use crate::deliver::Raised;
use crate::memory::{Private, Shared};
use crate::table::Events;
use abi::{Port, VcpuId};
use core::sync::atomic::Ordering;

/// Ports that a 64-bit guest has with this ABI.
pub const TWO_LEVEL_PORTS: u32 = 4096;

fn place(port: Port) -> (u32, u64) {
    (port.0.wrapping_shr(6), 1u64.wrapping_shl(port.0 & 63))
}

impl<M: Private + Shared> Events<M> {
    #[inline]
    pub(crate) fn two_level_set_pending(&self, port: Port, vcpu: VcpuId) -> Raised {
        let (index, bit) = place(port);
        let Some(pending) = self.memory().pending(index) else { return Raised::NOTHING };
        if pending.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return Raised::NOTHING;
        }
        let masked =
            self.memory().mask(index).is_none_or(|mask| mask.load(Ordering::SeqCst) & bit != 0);
        let kick = if masked { None } else { self.select(index, vcpu) };
        Raised { kick, newly_pending: true }
    }

    pub(crate) fn two_level_unmask(&self, port: Port, vcpu: VcpuId) -> Raised {
        let (index, bit) = place(port);
        let Some(mask) = self.memory().mask(index) else { return Raised::NOTHING };
        let was_masked = mask.fetch_and(!bit, Ordering::SeqCst) & bit != 0;
        if !was_masked || !self.two_level_is_pending(port) {
            return Raised::NOTHING;
        }
        Raised { kick: self.select(index, vcpu), newly_pending: false }
    }

    pub(crate) fn two_level_clear_pending(&self, port: Port) {
        let (index, bit) = place(port);
        if let Some(pending) = self.memory().pending(index) {
            pending.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    pub(crate) fn two_level_is_pending(&self, port: Port) -> bool {
        let (index, bit) = place(port);
        self.memory().pending(index).is_some_and(|word| word.load(Ordering::SeqCst) & bit != 0)
    }

    /// Tells the vCPU that a word of the bitmap has something for it.
    #[inline]
    fn select(&self, index: u32, vcpu: VcpuId) -> Option<VcpuId> {
        let sel = self.memory().pending_sel(vcpu)?;
        let bit = 1u64.wrapping_shl(index);
        if sel.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
            return None;
        }
        self.mark_upcall(vcpu)
    }
}
