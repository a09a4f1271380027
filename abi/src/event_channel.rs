//! `public/event_channel.h`: event_channel_op and the pages of the FIFO ABI.

use crate::layout::{consts, layouts, open_enum};

open_enum! {
    /// What an event_channel_op call does.
    pub struct EvtchnCmd(u32) {
        /// [`BindInterdomain`].
        BIND_INTERDOMAIN = 0,
        /// [`BindVirq`].
        BIND_VIRQ = 1,
        /// [`BindPirq`].
        BIND_PIRQ = 2,
        /// [`PortArg`].
        CLOSE = 3,
        /// [`PortArg`].
        SEND = 4,
        /// [`Status`].
        STATUS = 5,
        /// [`AllocUnbound`].
        ALLOC_UNBOUND = 6,
        /// [`BindIpi`].
        BIND_IPI = 7,
        /// [`BindVcpu`].
        BIND_VCPU = 8,
        /// [`PortArg`].
        UNMASK = 9,
        /// [`Reset`].
        RESET = 10,
        /// [`InitControl`].
        INIT_CONTROL = 11,
        /// [`ExpandArray`].
        EXPAND_ARRAY = 12,
        /// [`SetPriority`].
        SET_PRIORITY = 13,
        /// Continuation of a reset; internal.
        RESET_CONT = 14,
    }
}

open_enum! {
    /// What a port is bound to.
    pub struct EvtchnStat(u32) {
        /// Nothing; free.
        CLOSED = 0,
        /// Waits for the other side.
        UNBOUND = 1,
        /// Another port.
        INTERDOMAIN = 2,
        /// A physical interrupt.
        PIRQ = 3,
        /// A virtual interrupt.
        VIRQ = 4,
        /// The domain's own vCPUs.
        IPI = 5,
    }
}

consts! { u32;
    /// [`BindPirq::flags`]: others may have the interrupt too.
    BIND_PIRQ_WILL_SHARE = 1,
    /// Ports of the two-level ABI.
    EVTCHN_2L_NR_CHANNELS = 4096,
    /// The most urgent priority.
    FIFO_PRIORITY_MAX = 0,
    /// Priority of a new port.
    FIFO_PRIORITY_DEFAULT = 7,
    /// The least urgent priority.
    FIFO_PRIORITY_MIN = 15,
    /// Queues of a vCPU.
    FIFO_MAX_QUEUES = 16,
    /// Event word: pending (bit number).
    FIFO_PENDING = 31,
    /// Event word: masked (bit number).
    FIFO_MASKED = 30,
    /// Event word: in a queue (bit number).
    FIFO_LINKED = 29,
    /// Event word: being put into a queue (bit number).
    FIFO_BUSY = 28,
    /// Event word: how many low bits name the next port.
    FIFO_LINK_BITS = 17,
    /// Event word: the next port.
    FIFO_LINK_MASK = (1 << FIFO_LINK_BITS) - 1,
    /// Ports of the FIFO ABI.
    FIFO_NR_CHANNELS = 1 << FIFO_LINK_BITS,
}

layouts! {
    /// Makes a port that another domain may bind to.
    pub struct AllocUnbound("struct evtchn_alloc_unbound"): 8 {
        /// Whose port.
        pub dom: u16,
        /// Who may bind.
        pub remote_dom: u16,
        /// The port (out).
        pub port: u32,
    }

    /// Binds a new port to another domain's unbound one.
    pub struct BindInterdomain("struct evtchn_bind_interdomain"): 12 {
        /// The other domain.
        pub remote_dom: u16,
        /// Padding.
        pub _pad: u16,
        /// Its port.
        pub remote_port: u32,
        /// The new port (out).
        pub local_port: u32,
    }

    /// Binds a virtual interrupt.
    pub struct BindVirq("struct evtchn_bind_virq"): 12 {
        /// Which.
        pub virq: crate::xen::Virq,
        /// To which vCPU.
        pub vcpu: u32,
        /// The port (out).
        pub port: u32,
    }

    /// Binds a physical interrupt.
    pub struct BindPirq("struct evtchn_bind_pirq"): 12 {
        /// Which.
        pub pirq: u32,
        /// [`BIND_PIRQ_WILL_SHARE`].
        pub flags: u32,
        /// The port (out).
        pub port: u32,
    }

    /// Binds a port for interrupts between vCPUs.
    pub struct BindIpi("struct evtchn_bind_ipi"): 8 {
        /// The vCPU that gets them.
        pub vcpu: u32,
        /// The port (out).
        pub port: u32,
    }

    /// Argument of close, send and unmask.
    pub struct PortArg("struct evtchn_send"): 4 {
        /// The port.
        pub port: u32,
    }

    /// State of a port.
    pub struct Status("struct evtchn_status"): 24 {
        /// Whose.
        pub dom: u16,
        /// Padding.
        pub _pad: u16,
        /// Which.
        pub port: u32,
        /// State (out).
        pub status: EvtchnStat,
        /// vCPU that gets its events (out).
        pub vcpu: u32,
        /// Unbound or interdomain: the other domain in the low 16 bits of the first word, and its port in
        /// the second. Otherwise the first word is the interrupt.
        pub u: [u32; 2],
    }

    /// Says which vCPU gets a port's events.
    pub struct BindVcpu("struct evtchn_bind_vcpu"): 8 {
        /// The port.
        pub port: u32,
        /// The vCPU.
        pub vcpu: u32,
    }

    /// Closes all ports of a domain.
    pub struct Reset("struct evtchn_reset"): 2 {
        /// Which domain.
        pub dom: u16,
    }

    /// Gives a vCPU its FIFO control block.
    pub struct InitControl("struct evtchn_init_control"): 24 {
        /// Guest frame.
        pub control_gfn: u64,
        /// Offset in it, a multiple of 8.
        pub offset: u32,
        /// The vCPU.
        pub vcpu: u32,
        /// Bits of a link (out).
        pub link_bits: u8,
        /// Padding.
        pub _pad: [u8; 7],
    }

    /// Adds a page of event words.
    pub struct ExpandArray("struct evtchn_expand_array"): 8 {
        /// Guest frame.
        pub array_gfn: u64,
    }

    /// Changes a port's priority.
    pub struct SetPriority("struct evtchn_set_priority"): 8 {
        /// The port.
        pub port: u32,
        /// 0 to 15.
        pub priority: u32,
    }

    /// Argument of the old event_channel_op hypercall.
    pub struct CompatOp("struct evtchn_op"): 28 {
        /// What to do.
        pub cmd: EvtchnCmd,
        /// Its argument.
        pub u: [u32; 6],
    }

    /// A vCPU's FIFO control block.
    pub struct FifoControlBlock("struct evtchn_fifo_control_block"): 72 {
        /// A bit for each queue with events.
        pub ready: u32,
        /// Padding.
        pub _rsvd: u32,
        /// First port of each queue.
        pub head: [u32; 16],
    }
}
