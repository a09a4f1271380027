//! The state of one port, packed so that it is read at once.

use abi::{DomId, Pirq, Port, VcpuId};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// What a port is connected to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Nothing; may be allocated.
    Free,
    /// Nothing, and never allocated: port 0.
    Reserved,
    /// Waits for a connection by this domain.
    Unbound(DomId),
    /// Connected to a port of a domain, maybe the same one.
    Interdomain(DomId, Port),
    /// A physical interrupt.
    Pirq(Pirq),
    /// A virtual interrupt, less than [`NR_VIRQS`](crate::NR_VIRQS).
    Virq(u32),
    /// What the domain's vCPUs tell each other.
    Ipi,
}

/// A FIFO queue's rank: 0 comes first, 15 last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority(u8);

impl Priority {
    /// What a port has until it is told otherwise.
    pub const DEFAULT: Priority = Priority(7);
    /// How many there are.
    pub const COUNT: u32 = 16;

    /// `None` above 15.
    pub fn new(value: u32) -> Option<Priority> {
        u8::try_from(value).ok().filter(|&p| p < 16).map(Priority)
    }

    /// Its number, at most 15.
    pub fn get(self) -> u8 {
        self.0
    }

    pub(crate) fn bit(self) -> u32 {
        1u32.wrapping_shl(u32::from(self.0))
    }
}

/// All there is to know about a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Channel {
    /// What it is connected to.
    pub state: State,
    /// Whom its events are told.
    pub vcpu: VcpuId,
    /// The queue its events go to, with the FIFO ABI.
    pub priority: Priority,
}

// The word: kind in bits 0-3, priority 4-7, vCPU 8-23, number (port, PIRQ, VIRQ) 24-47,
// domain 48-63.
const KIND: u64 = 0xf;
const NUMBER_MAX: u32 = 0xff_ffff;

fn field(word: u64, shift: u32, mask: u32) -> u32 {
    let value = word.wrapping_shr(shift) & u64::from(mask);
    u32::try_from(value).unwrap_or(0)
}

impl Channel {
    /// A port that is in no use.
    pub const FREE: Channel =
        Channel { state: State::Free, vcpu: VcpuId(0), priority: Priority::DEFAULT };

    pub(crate) fn new(state: State, vcpu: VcpuId) -> Channel {
        Channel { state, vcpu, priority: Priority::DEFAULT }
    }

    /// The word of it. Numbers that don't fit do not occur: PIRQs and vCPUs are checked when
    /// bound, ports have 17 bits.
    fn pack(self) -> u64 {
        let (kind, number, dom) = match self.state {
            State::Free => (0u64, 0, 0),
            State::Reserved => (1, 0, 0),
            State::Unbound(dom) => (2, 0, dom.0),
            State::Interdomain(dom, port) => (3, port.0, dom.0),
            State::Pirq(pirq) => (4, pirq.0, 0),
            State::Virq(virq) => (5, virq, 0),
            State::Ipi => (6, 0, 0),
        };
        kind | u64::from(self.priority.0).wrapping_shl(4)
            | u64::from(self.vcpu.0 & 0xffff).wrapping_shl(8)
            | u64::from(number & NUMBER_MAX).wrapping_shl(24)
            | u64::from(dom).wrapping_shl(48)
    }

    fn unpack(word: u64) -> Channel {
        let number = field(word, 24, NUMBER_MAX);
        let dom = DomId(u16::try_from(field(word, 48, 0xffff)).unwrap_or(0));
        let state = match word & KIND {
            1 => State::Reserved,
            2 => State::Unbound(dom),
            3 => State::Interdomain(dom, Port(number)),
            4 => State::Pirq(Pirq(number)),
            5 => State::Virq(number),
            6 => State::Ipi,
            _ => State::Free,
        };
        let priority = Priority::new(field(word, 4, 15)).unwrap_or(Priority::DEFAULT);
        Channel { state, vcpu: VcpuId(field(word, 8, 0xffff)), priority }
    }
}

/// PIRQs of a domain are below this, vCPUs below 2^16.
pub(crate) const PIRQ_LIMIT: u32 = NUMBER_MAX;

/// One port's place in a domain's table, 16 bytes. Zeroed memory is 16 bytes of free port.
#[derive(Debug, Default)]
pub struct PortCell {
    word: AtomicU64,
    /// The FIFO queue that the port was last put in: vCPU in bits 8-23, priority in 0-3. Changes
    /// only while that queue is held.
    last_queue: AtomicU32,
    /// With the FIFO ABI: raised before the guest supplied the port's word.
    early: AtomicBool,
}

impl PortCell {
    /// A free port.
    pub const fn new() -> PortCell {
        PortCell {
            word: AtomicU64::new(0),
            last_queue: AtomicU32::new(0),
            early: AtomicBool::new(false),
        }
    }

    /// The port's state just now.
    #[inline]
    pub fn load(&self) -> Channel {
        Channel::unpack(self.word.load(Ordering::Acquire))
    }

    pub(crate) fn is_free(&self) -> bool {
        self.word.load(Ordering::Acquire) & KIND == 0
    }

    pub(crate) fn store(&self, channel: Channel) {
        self.word.store(channel.pack(), Ordering::Release);
    }

    pub(crate) fn last_queue(&self) -> (VcpuId, Priority) {
        let word = self.last_queue.load(Ordering::Acquire);
        let priority = Priority::new(word & 15).unwrap_or(Priority::DEFAULT);
        (VcpuId(word.wrapping_shr(8)), priority)
    }

    pub(crate) fn set_last_queue(&self, (vcpu, priority): (VcpuId, Priority)) {
        let word = vcpu.0.wrapping_shl(8) | u32::from(priority.0);
        self.last_queue.store(word, Ordering::Release);
    }

    pub(crate) fn is_early(&self) -> bool {
        self.early.load(Ordering::SeqCst)
    }

    /// Notes an event that cannot be delivered yet; returns whether one was noted already.
    pub(crate) fn set_early(&self) -> bool {
        self.early.swap(true, Ordering::SeqCst)
    }

    /// Forgets it; returns whether there was one.
    pub(crate) fn take_early(&self) -> bool {
        self.early.swap(false, Ordering::SeqCst)
    }
}
