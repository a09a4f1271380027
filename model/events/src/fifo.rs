//! The FIFO ABI: each vCPU has 16 linked lists of ports, whose links lie in guest memory.
//!
//! A port's word has the flags PENDING, MASKED, LINKED and BUSY, and the port that comes next. The
//! hypervisor appends, the guest takes from the front, without a lock between them. The hypervisor
//! remembers each list's tail by itself and never reads a link, so a guest that scribbles on its
//! words garbles its own lists and nothing else.

use crate::channel::{Channel, PortCell, Priority};
use crate::deliver::Raised;
use crate::memory::{Private, Shared};
use crate::table::{Bindings, Events};
use crate::two_level::TWO_LEVEL_PORTS;
use abi::{Errno, PAGE_SIZE, Port, VcpuId};
use core::sync::atomic::{AtomicU32, Ordering, fence};

/// Bits of a word that hold the next port; what `EVTCHNOP_init_control` reports.
pub const LINK_BITS: u8 = 17;
/// Ports that a guest has with this ABI.
pub const FIFO_PORTS: u32 = 1 << 17;
/// Words in a page of the event array.
pub const WORDS_PER_PAGE: u32 = 1024;
/// Bytes of a control block: ready word, padding, 16 heads.
pub const CONTROL_BLOCK_SIZE: u32 = 72;

const PENDING: u32 = 1 << 31;
const MASKED: u32 = 1 << 30;
const LINKED: u32 = 1 << 29;
const BUSY: u32 = 1 << 28;
const LINK: u32 = FIFO_PORTS - 1;

/// How often the hypervisor tries to change a word that the guest changes at the same time. An
/// honest guest changes a flag a few times at most while it sees BUSY.
const TRIES: u32 = 5;

type QueueId = (VcpuId, Priority);

/// The tail of one list, 0 for none, and a bit that says that somebody is at work on it.
/// Zeroed memory is an empty queue.
#[derive(Debug, Default)]
pub struct Queue(AtomicU32);

const HELD: u32 = 1 << 31;

impl Queue {
    /// An empty one.
    pub const fn new() -> Queue {
        Queue(AtomicU32::new(0))
    }

    /// Waits for the queue and holds it; returns the tail.
    fn hold(&self) -> u32 {
        loop {
            let seen = self.0.fetch_or(HELD, Ordering::Acquire);
            if seen & HELD == 0 {
                return seen;
            }
            while self.0.load(Ordering::Relaxed) & HELD != 0 {
                core::hint::spin_loop();
            }
        }
    }

    fn release(&self, tail: u32) {
        self.0.store(tail, Ordering::Release);
    }
}

/// Sets the link of a word that was a list's tail. `false`: the guest has taken it off the list.
///
/// A guest that outruns us [`TRIES`] times is not an honest one; its list ends there.
fn set_link(word: &AtomicU32, next: Port) -> bool {
    let mut seen = word.load(Ordering::SeqCst);
    let mut announced = false;
    for _ in 0..TRIES {
        if seen & LINKED == 0 {
            if announced {
                word.fetch_and(!BUSY, Ordering::SeqCst);
            }
            return false;
        }
        let new = (seen & !(BUSY | LINK)) | (next.0 & LINK);
        match word.compare_exchange(seen, new, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return true,
            Err(_) => {
                // Guests leave a word's flags alone while it is BUSY.
                seen = word.fetch_or(BUSY, Ordering::SeqCst) | BUSY;
                announced = true;
            }
        }
    }
    word.fetch_and(!BUSY, Ordering::SeqCst);
    true
}

impl<M: Private + Shared> Events<M> {
    pub(crate) fn fifo_set_pending(&self, port: Port, cell: &PortCell, ch: Channel) -> Raised {
        let Some(word) = self.memory().event_word(port) else {
            let newly_pending = !cell.set_early();
            // The page may have come between the two; then whoever takes the note delivers.
            return match self.memory().event_word(port) {
                Some(word) if cell.take_early() => self.fifo_raise(port, cell, ch, word),
                _ => Raised { kick: None, newly_pending },
            };
        };
        self.fifo_raise(port, cell, ch, word)
    }

    #[inline]
    fn fifo_raise(&self, port: Port, cell: &PortCell, ch: Channel, word: &AtomicU32) -> Raised {
        let seen = word.fetch_or(PENDING, Ordering::SeqCst);
        let newly_pending = seen & PENDING == 0;
        let kick = match seen & (MASKED | LINKED) {
            0 => self.enqueue(port, cell, (ch.vcpu, ch.priority), word),
            _ => None,
        };
        Raised { kick, newly_pending }
    }

    /// Appends the port to its queue, unless it is in one; returns whom to kick.
    fn enqueue(
        &self,
        port: Port,
        cell: &PortCell,
        to: QueueId,
        word: &AtomicU32,
    ) -> Option<VcpuId> {
        let ready = self.memory().ready(to.0)?;
        let head = self.memory().head(to.0, to.1)?;
        let queue = self.memory().queue(to.0, to.1)?;
        for _ in 0..TRIES {
            let from = cell.last_queue();
            let old = if from == to { None } else { self.memory().queue(from.0, from.1) };
            let (mut tail, old_tail) = match old {
                None => (queue.hold(), 0),
                Some(old) if from < to => {
                    let old_tail = old.hold();
                    (queue.hold(), old_tail)
                }
                Some(old) => (queue.hold(), old.hold()),
            };
            let usable = cell.last_queue() == from;
            let appended = usable && word.fetch_or(LINKED, Ordering::SeqCst) & LINKED == 0;
            if let Some(old) = old {
                // A tail that leaves its queue left it empty.
                old.release(if appended && old_tail == port.0 { 0 } else { old_tail });
            }
            if !appended {
                queue.release(tail);
                if usable {
                    return None;
                }
                continue;
            }
            cell.set_last_queue(to);
            if tail == port.0 {
                // The guest took it and nothing has come since.
                tail = 0;
            }
            let linked = self.link_behind(Port(tail), port);
            if !linked {
                head.store(port.0, Ordering::SeqCst);
            }
            queue.release(port.0);
            let bit = to.1.bit();
            if linked || ready.fetch_or(bit, Ordering::SeqCst) & bit != 0 {
                return None;
            }
            return self.mark_upcall(to.0);
        }
        None
    }

    /// `false`: the queue was empty, or the guest has emptied it just now.
    fn link_behind(&self, tail: Port, port: Port) -> bool {
        tail.0 != 0 && self.memory().event_word(tail).is_some_and(|word| set_link(word, port))
    }

    pub(crate) fn fifo_unmask(&self, port: Port, cell: &PortCell, channel: Channel) -> Raised {
        let Some(word) = self.memory().event_word(port) else { return Raised::NOTHING };
        let seen = word.fetch_and(!MASKED, Ordering::SeqCst);
        if seen & PENDING == 0 {
            return Raised::NOTHING;
        }
        self.fifo_raise(port, cell, channel, word)
    }

    /// Leaves the port in its list: the guest will find that it is not pending.
    pub(crate) fn fifo_clear_pending(&self, port: Port, cell: &PortCell) {
        cell.take_early();
        if let Some(word) = self.memory().event_word(port) {
            word.fetch_and(!PENDING, Ordering::SeqCst);
        }
    }

    pub(crate) fn fifo_is_pending(&self, port: Port, cell: &PortCell) -> bool {
        match self.memory().event_word(port) {
            Some(word) => word.load(Ordering::SeqCst) & PENDING != 0,
            None => cell.is_early(),
        }
    }

    /// Whether a port is still in a list, so that it must not be given to another use.
    pub(crate) fn fifo_is_linked(&self, port: Port) -> bool {
        self.memory().event_word(port).is_some_and(|w| w.load(Ordering::SeqCst) & LINKED != 0)
    }

    /// `EVTCHNOP_init_control`: gives a vCPU its control block. The first one switches the domain
    /// to the FIFO ABI; events pending then are delivered when their words are there.
    ///
    /// `install` makes the block at `offset` of the guest's page what [`Shared::ready`] and
    /// [`Shared::head`] answer; it is called after all checks, and an error of it is passed on.
    ///
    /// Events for a vCPU without a block stay pending, and are delivered when they are unmasked.
    ///
    /// # Errors
    /// `ENOENT`: no such vCPU. `EINVAL`: offset not a multiple of 8 or too near to the page's
    /// end, or the vCPU has a block.
    pub fn init_control(
        &self,
        lock: &mut Bindings,
        vcpu: VcpuId,
        offset: u32,
        install: impl FnOnce() -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        lock.check(self.domain());
        if vcpu.0 >= self.memory().vcpus() {
            return Err(Errno::ENOENT);
        }
        let fits = usize::try_from(offset.saturating_add(CONTROL_BLOCK_SIZE))
            .is_ok_and(|end| end <= PAGE_SIZE);
        if !fits || offset & 7 != 0 || self.memory().ready(vcpu).is_some() {
            return Err(Errno::EINVAL);
        }
        install()?;
        if !self.is_fifo() {
            self.switch_abi(true);
            self.carry_over();
        }
        Ok(())
    }

    /// Notes what is pending by the two-level ABI, to be delivered by the new one.
    fn carry_over(&self) {
        for port in (0..TWO_LEVEL_PORTS).map(Port) {
            let Some(cell) = self.memory().port(port) else { return };
            if !cell.is_free() && self.two_level_is_pending(port) {
                cell.set_early();
            }
        }
    }

    /// `EVTCHNOP_expand_array`: adds a page of words, and delivers what waited for it.
    ///
    /// `install` gets the page's index in the array and makes its words what
    /// [`Shared::event_word`] answers; an error of it is passed on. `raised` gets what is to be
    /// done for each port, at most [`WORDS_PER_PAGE`] of them.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: no control block yet. `ENOSPC`: all 128 pages are there.
    pub fn expand_array(
        &self,
        lock: &mut Bindings,
        install: impl FnOnce(u32) -> Result<(), Errno>,
        mut raised: impl FnMut(Port, Raised),
    ) -> Result<(), Errno> {
        lock.check(self.domain());
        if !self.is_fifo() {
            return Err(Errno::EOPNOTSUPP);
        }
        let page = lock.array_pages;
        let first = page.wrapping_mul(WORDS_PER_PAGE);
        if first >= FIFO_PORTS {
            return Err(Errno::ENOSPC);
        }
        install(page)?;
        // A sender either sees the page now, or has noted its event where it is looked for below.
        fence(Ordering::SeqCst);
        lock.array_pages = page.wrapping_add(1);
        for port in (first..first.wrapping_add(WORDS_PER_PAGE)).map(Port) {
            let Some(cell) = self.memory().port(port) else { break };
            if cell.is_early() && cell.take_early() {
                let effect = self.fifo_set_pending(port, cell, cell.load());
                raised(port, effect);
            }
        }
        Ok(())
    }

    /// The end of `EVTCHNOP_reset`: back to the two-level ABI. Only after this may the caller drop
    /// control blocks and array pages, once no sender can be using them any more.
    pub fn back_to_two_level(&self, lock: &mut Bindings) {
        lock.check(self.domain());
        self.switch_abi(false);
        lock.array_pages = 0;
        for vcpu in (0..self.memory().vcpus()).map(VcpuId) {
            for priority in (0..Priority::COUNT).filter_map(Priority::new) {
                if let Some(queue) = self.memory().queue(vcpu, priority) {
                    queue.hold();
                    queue.release(0);
                }
            }
        }
    }
}
