//! Event channels, 2-level: the shared info page, the callback, and the calls.

use crate::hypercall::{self, addr_mut, call2, nr};
use crate::memory::{self, Page};
use crate::{global::Global, start};
use core::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// One virtual CPU's part of the shared info page.
#[repr(C)]
pub struct VcpuInfo {
    /// Not 0 when there is something.
    pub upcall_pending: AtomicU8,
    /// Not 0 to be left alone.
    pub upcall_mask: AtomicU8,
    /// Which words of pending bits to look at.
    pub pending_sel: AtomicU64,
    /// Address of the last page fault.
    pub cr2: AtomicU64,
    /// Time and padding.
    pub rest: [AtomicU64; 5],
}

/// The page shared with the hypervisor, as far as it is used here.
#[repr(C)]
pub struct SharedInfo {
    /// By virtual CPU.
    pub vcpus: [VcpuInfo; 32],
    /// Which channels have something.
    pub pending: [AtomicU64; 64],
    /// Which channels are to be left alone.
    pub mask: [AtomicU64; 64],
    /// When the machine started: version, seconds, nanoseconds, upper seconds.
    pub wall_clock: [AtomicU32; 4],
}

impl SharedInfo {
    /// Address of the first CPU's last page fault.
    pub fn cr2(&self) -> u64 {
        self.vcpus[0].cr2.load(Ordering::Relaxed)
    }
}

static SHARED: Page = Page::new();
static MAPPED: Global<bool> = Global::new(false);
/// How many events came, all channels together.
static COUNT: AtomicU32 = AtomicU32::new(0);
/// Of the last event that came.
static LAST_PORT: AtomicU32 = AtomicU32::new(0);

/// Maps the shared info page over one of our own.
pub fn install() {
    let entry = start::info().shared_info | memory::PRESENT | memory::WRITE;
    let mapped = hypercall::update_va_mapping(SHARED.va(), entry, hypercall::INVLPG_LOCAL);
    assert!(mapped == 0, "mapping the shared info page gives {mapped}");
    MAPPED.set(true);
    mask_given();
}

/// Keeps the channels that the toolstack made for us quiet: what they tell is looked at anyway.
pub fn mask_given() {
    let Some(shared) = shared_info() else { return };
    for port in start::given_ports().into_iter().filter(|&port| port != 0) {
        if let Some(word) = shared.mask.get(port as usize / 64) {
            word.fetch_or(1 << (port % 64), Ordering::SeqCst);
        }
    }
}

/// Our own number, by which other domains name us.
///
/// # Panics
/// When no channel is to be had.
pub fn domid() -> u16 {
    static OWN: Global<Option<u16>> = Global::new(None);
    if let Some(own) = OWN.get() {
        return own;
    }
    #[repr(C)]
    struct Status {
        dom: u16,
        port: u32,
        status: u32,
        vcpu: u32,
        remote: u16,
        remote_port: u32,
    }
    // A channel for ourselves to bind to says whom it is for.
    let (result, port) = alloc_unbound(SELF);
    assert!(result == 0, "a channel for ourselves gives {result}");
    let mut status = Status { dom: SELF, port, status: 0, vcpu: 0, remote: 0, remote_port: 0 };
    let told = op(5, &mut status);
    assert!(told == 0, "the state of a channel gives {told}");
    close(port);
    OWN.set(Some(status.remote));
    status.remote
}

const SELF: u16 = 0x7ff0;

/// The shared info page, once it is mapped.
pub fn shared_info() -> Option<&'static SharedInfo> {
    // SAFETY: the page is mapped for good, aligned, and its fields are all atomics, as the
    // hypervisor writes them at any time.
    MAPPED.get().then(|| unsafe { &*(SHARED.va() as *const SharedInfo) })
}

/// Lets events in, and takes those that wait.
pub fn unmask_upcalls() {
    let Some(shared) = shared_info() else { return };
    shared.vcpus[0].upcall_mask.store(0, Ordering::SeqCst);
    if shared.vcpus[0].upcall_pending.load(Ordering::SeqCst) != 0 {
        // Any hypercall delivers what waits.
        let _ = call2(nr::XEN_VERSION, 0, 0);
    }
}

/// Keeps events out.
pub fn mask_upcalls() {
    if let Some(shared) = shared_info() {
        shared.vcpus[0].upcall_mask.store(1, Ordering::SeqCst);
    }
}

/// How many events came since the start, and the port of the last.
pub fn count() -> (u32, u32) {
    (COUNT.load(Ordering::SeqCst), LAST_PORT.load(Ordering::SeqCst))
}

pub(crate) fn on_event() {
    let Some(shared) = shared_info() else { return };
    let vcpu = &shared.vcpus[0];
    vcpu.upcall_pending.store(0, Ordering::SeqCst);
    let mut words = vcpu.pending_sel.swap(0, Ordering::SeqCst);
    while words != 0 {
        let word = words.trailing_zeros();
        words &= words - 1;
        let (pending, mask) = (&shared.pending[word as usize], &shared.mask[word as usize]);
        let mut bits = pending.load(Ordering::SeqCst) & !mask.load(Ordering::SeqCst);
        pending.fetch_and(!bits, Ordering::SeqCst);
        while bits != 0 {
            LAST_PORT.store(word * 64 + bits.trailing_zeros(), Ordering::SeqCst);
            COUNT.fetch_add(1, Ordering::SeqCst);
            bits &= bits - 1;
        }
    }
}

/// An operation on a channel.
pub fn op<T>(number: u64, argument: &mut T) -> i64 {
    call2(nr::EVENT_CHANNEL_OP, number, addr_mut(argument))
}

/// A new channel for `remote` to bind to: the result, and the port.
pub fn alloc_unbound(remote: u16) -> (i64, u32) {
    #[repr(C)]
    struct Alloc {
        dom: u16,
        remote: u16,
        port: u32,
    }
    let mut alloc = Alloc { dom: SELF, remote, port: 0 };
    (op(6, &mut alloc), alloc.port)
}

/// Binds to a remote channel.
pub fn bind_interdomain(remote: u16, remote_port: u32) -> (i64, u32) {
    #[repr(C)]
    struct Bind {
        remote: u16,
        remote_port: u32,
        port: u32,
    }
    let mut bind = Bind { remote, remote_port, port: 0 };
    (op(0, &mut bind), bind.port)
}

/// Binds a virtual interrupt.
pub fn bind_virq(virq: u32, vcpu: u32) -> (i64, u32) {
    let mut bind = [virq, vcpu, 0];
    (op(1, &mut bind), bind[2])
}

/// Binds a channel to ourselves.
pub fn bind_ipi(vcpu: u32) -> (i64, u32) {
    let mut bind = [vcpu, 0];
    (op(7, &mut bind), bind[1])
}

/// Closes a channel.
pub fn close(mut port: u32) -> i64 {
    op(3, &mut port)
}

/// Sends to a channel.
pub fn send(mut port: u32) -> i64 {
    op(4, &mut port)
}

/// Unmasks a channel.
pub fn unmask(mut port: u32) -> i64 {
    op(9, &mut port)
}
