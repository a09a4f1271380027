//! Virtual interrupts: what the hypervisor itself has to say to a domain.

/// One more than the largest virtual interrupt (`public/xen.h`).
pub const NR_VIRQS: u32 = 24;

/// Those that each vCPU has for itself: timer, debug, performance counters.
const PER_VCPU: u32 = (1 << 0) | (1 << 1) | (1 << 13);

/// A virtual interrupt that is known to exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Virq(u32);

impl Virq {
    /// The clock of a vCPU.
    pub const TIMER: Virq = Virq(0);
    /// A request to dump state.
    pub const DEBUG: Virq = Virq(1);
    /// Input on the emergency console.
    pub const CONSOLE: Virq = Virq(2);
    /// A domain died, or came; for the xenstore domain.
    pub const DOM_EXC: Virq = Virq(3);
    /// The hypervisor's console ring has something new.
    pub const CON_RING: Virq = Virq(8);
    /// A physical CPU came or went.
    pub const PCPU_STATE: Virq = Virq(9);

    /// `None` if there is none of that number.
    pub fn new(number: u32) -> Option<Virq> {
        (number < NR_VIRQS).then_some(Virq(number))
    }

    /// Its number, less than [`NR_VIRQS`].
    pub fn get(self) -> u32 {
        self.0
    }

    /// Whether the domain has it once, rather than each vCPU.
    pub fn is_global(self) -> bool {
        PER_VCPU & 1u32.wrapping_shl(self.0) == 0
    }
}
