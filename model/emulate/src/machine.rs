//! What the emulator needs of the world: a virtual CPU, its memory, its ports and its registers.

use crate::fault::Fault;

/// A general register, numbered as instructions do (Intel SDM vol. 2, table 2-4 ff.).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reg {
    /// Accumulator.
    Rax = 0,
    /// Counter.
    Rcx = 1,
    /// Data.
    Rdx = 2,
    /// Base.
    Rbx = 3,
    /// Stack pointer.
    Rsp = 4,
    /// Frame pointer.
    Rbp = 5,
    /// Source index.
    Rsi = 6,
    /// Destination index.
    Rdi = 7,
    /// Register 8.
    R8 = 8,
    /// Register 9.
    R9 = 9,
    /// Register 10.
    R10 = 10,
    /// Register 11.
    R11 = 11,
    /// Register 12.
    R12 = 12,
    /// Register 13.
    R13 = 13,
    /// Register 14.
    R14 = 14,
    /// Register 15.
    R15 = 15,
}

impl Reg {
    /// The register with the number in the low four bits; higher bits are ignored.
    #[inline]
    #[must_use]
    pub const fn from_low_bits(n: u8) -> Self {
        match n & 15 {
            0 => Self::Rax,
            1 => Self::Rcx,
            2 => Self::Rdx,
            3 => Self::Rbx,
            4 => Self::Rsp,
            5 => Self::Rbp,
            6 => Self::Rsi,
            7 => Self::Rdi,
            8 => Self::R8,
            9 => Self::R9,
            10 => Self::R10,
            11 => Self::R11,
            12 => Self::R12,
            13 => Self::R13,
            14 => Self::R14,
            _ => Self::R15,
        }
    }

    /// The register's number, 0 to 15.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// A segment whose base counts in 64-bit mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// FS.
    Fs,
    /// GS.
    Gs,
}

/// The width of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Size {
    /// 8 bits.
    Byte = 1,
    /// 16 bits.
    Word = 2,
    /// 32 bits.
    Dword = 4,
    /// 64 bits.
    Qword = 8,
}

impl Size {
    /// Width in bytes: 1, 2, 4 or 8.
    #[inline]
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self as u64
    }

    /// Width in bits: 8, 16, 32 or 64.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        match self {
            Self::Byte => 8,
            Self::Word => 16,
            Self::Dword => 32,
            Self::Qword => 64,
        }
    }

    /// All bits of a value of this width.
    #[inline]
    #[must_use]
    pub const fn mask(self) -> u64 {
        match self {
            Self::Byte => 0xff,
            Self::Word => 0xffff,
            Self::Dword => 0xffff_ffff,
            Self::Qword => u64::MAX,
        }
    }

    /// The top bit of a value of this width.
    #[inline]
    #[must_use]
    pub const fn sign_bit(self) -> u64 {
        match self {
            Self::Byte => 1 << 7,
            Self::Word => 1 << 15,
            Self::Dword => 1 << 31,
            Self::Qword => 1 << 63,
        }
    }

    /// `value`, of this width, with its sign carried up to 64 bits.
    #[inline]
    #[must_use]
    pub const fn sign_extend(self, value: u64) -> u64 {
        let sign = self.sign_bit();
        ((value & self.mask()) ^ sign).wrapping_sub(sign)
    }
}

/// A virtual CPU and what it can reach.
///
/// Addresses are linear addresses of the guest, already canonical at both ends of the access and
/// not wrapping, but otherwise unchecked: alignment, page crossings, rights and what lies there
/// are the implementation's to judge. Values are in the low bits, higher bits zero when passed in
/// and ignored when returned.
///
/// A method that returns `Err` must have had no effect: the instruction is then abandoned and
/// nothing of it is committed. Each instruction calls at most one method with an effect besides
/// register writes (per iteration, for string instructions), except where a method says so.
pub trait Machine {
    /// A general register.
    fn reg(&self, reg: Reg) -> u64;
    /// Sets all 64 bits of a general register.
    fn set_reg(&mut self, reg: Reg, value: u64);
    /// The address of the instruction to run.
    fn rip(&self) -> u64;
    /// Moves on; `rip` is always canonical.
    fn set_rip(&mut self, rip: u64);
    /// RFLAGS as the guest sees them.
    fn rflags(&self) -> u64;
    /// Changes RFLAGS; only the status flags and RF ever differ from what [`Self::rflags`] gave.
    fn set_rflags(&mut self, rflags: u64);
    /// Is the guest running a 64-bit code segment?
    fn code_is_64(&self) -> bool;
    /// Is the guest in its kernel mode, that is at virtual privilege level 0?
    fn kernel_mode(&self) -> bool;
    /// The base of FS or GS as the guest's code now sees it.
    fn segment_base(&mut self, segment: Segment) -> u64;

    /// Reads code at `rip` as an instruction fetch would; the buffer is at most 15 bytes. Returns
    /// how many bytes were readable, at least one: fewer than asked only when the next page is not
    /// to be had, and the fault when not even the first byte is.
    ///
    /// # Errors
    /// The fault that fetching the first byte raises.
    fn fetch(&mut self, rip: u64, buffer: &mut [u8]) -> Result<usize, Fault>;
    /// Reads memory or a device register.
    ///
    /// # Errors
    /// The fault that the read raises.
    fn read(&mut self, addr: u64, size: Size) -> Result<u64, Fault>;
    /// Writes memory or a device register.
    ///
    /// # Errors
    /// The fault that the write raises.
    fn write(&mut self, addr: u64, size: Size, value: u64) -> Result<(), Fault>;
    /// Would a write here succeed? Asked before an instruction does something irreversible (takes
    /// a datum from a port, writes the first of two words).
    ///
    /// # Errors
    /// The fault that the write would raise.
    fn probe_write(&mut self, addr: u64, size: Size) -> Result<(), Fault>;
    /// Atomically replaces `old` by `new`; `Ok(Err(seen))` when something else was there. Used for
    /// every read-modify-write instruction, locked or not, after a [`Self::read`] of the same
    /// place (CMPXCHG itself does not read first). For an instruction without LOCK on a device
    /// register an implementation may write without comparing.
    ///
    /// # Errors
    /// The fault that the write raises.
    fn compare_exchange(
        &mut self,
        addr: u64,
        size: Size,
        old: u64,
        new: u64,
    ) -> Result<Result<(), u64>, Fault>;
    /// The 16-byte form; `addr` is a multiple of 16.
    ///
    /// # Errors
    /// The fault that the write raises.
    fn compare_exchange_16(
        &mut self,
        addr: u64,
        old: u128,
        new: u128,
    ) -> Result<Result<(), u128>, Fault>;
    /// Atomically puts `new` and returns what was there (XCHG with memory). The default asks
    /// [`Self::read`] and [`Self::compare_exchange`].
    ///
    /// # Errors
    /// The fault that the write raises, or `Retry` after much contention.
    #[inline]
    fn exchange(&mut self, addr: u64, size: Size, new: u64) -> Result<u64, Fault> {
        crate::operand::modify(self, addr, size, |_| (new, ())).map(|(old, ())| old)
    }

    /// Reads an I/O port, after checking that the guest may.
    ///
    /// # Errors
    /// `#GP(0)` when the guest has no right to the port.
    fn port_in(&mut self, port: u16, size: Size) -> Result<u32, Fault>;
    /// Writes an I/O port, after checking that the guest may.
    ///
    /// # Errors
    /// `#GP(0)` when the guest has no right to the port.
    fn port_out(&mut self, port: u16, size: Size, value: u32) -> Result<(), Fault>;
    /// CLI (`false`) or STI (`true`): checks the virtual IOPL, and may do nothing.
    ///
    /// # Errors
    /// `#GP(0)` when the virtual IOPL does not allow it.
    fn set_interrupts(&mut self, enable: bool) -> Result<(), Fault>;
    /// RDMSR, from kernel mode.
    ///
    /// # Errors
    /// `#GP(0)` for an MSR that the guest does not have.
    fn rdmsr(&mut self, msr: u32) -> Result<u64, Fault>;
    /// WRMSR, from kernel mode.
    ///
    /// # Errors
    /// `#GP(0)` for an MSR or value that the guest may not write.
    fn wrmsr(&mut self, msr: u32, value: u64) -> Result<(), Fault>;
    /// Reads control register 0, 2, 3, 4 or 8. From kernel mode, or by SMSW from anywhere (0).
    ///
    /// # Errors
    /// Whatever fault the read raises.
    fn read_cr(&mut self, cr: u8) -> Result<u64, Fault>;
    /// Writes control register 0, 2, 3, 4 or 8, from kernel mode.
    ///
    /// # Errors
    /// `#GP(0)` for a value that the guest may not set.
    fn write_cr(&mut self, cr: u8, value: u64) -> Result<(), Fault>;
    /// Reads debug register 0 to 7, from kernel mode; 4 and 5 are aliases or `#UD`.
    ///
    /// # Errors
    /// Whatever fault the read raises.
    fn read_dr(&mut self, dr: u8) -> Result<u64, Fault>;
    /// Writes debug register 0 to 7, from kernel mode; 4 and 5 are aliases or `#UD`.
    ///
    /// # Errors
    /// `#GP(0)` for a value that the guest may not set.
    fn write_dr(&mut self, dr: u8, value: u64) -> Result<(), Fault>;
    /// CPUID, from any mode; returns EAX, EBX, ECX, EDX.
    ///
    /// # Errors
    /// `#GP(0)` when the guest has asked for faulting and is in user mode.
    fn cpuid(&mut self, leaf: u32, subleaf: u32) -> Result<[u32; 4], Fault>;
    /// RDTSC and the first half of RDTSCP, from any mode.
    ///
    /// # Errors
    /// `#GP(0)` when the guest's CR4.TSD forbids it in user mode.
    fn rdtsc(&mut self) -> Result<u64, Fault>;
    /// TSC_AUX, for RDTSCP; asked before [`Self::rdtsc`].
    ///
    /// # Errors
    /// `#UD` when the guest has no RDTSCP.
    fn tsc_aux(&mut self) -> Result<u32, Fault>;
    /// RDPMC, from any mode.
    ///
    /// # Errors
    /// `#GP(0)` when the guest may not, or has no such counter.
    fn rdpmc(&mut self, counter: u32) -> Result<u64, Fault>;
    /// WBINVD, WBNOINVD or INVD (which a guest may only get with write-back), from kernel mode.
    ///
    /// # Errors
    /// Whatever fault the guest is to get.
    fn wbinvd(&mut self) -> Result<(), Fault>;
    /// HLT, from kernel mode: notes that the virtual CPU is to block; must not block itself.
    ///
    /// # Errors
    /// Whatever fault the guest is to get.
    fn hlt(&mut self) -> Result<(), Fault>;
    /// INVLPG of a canonical address, from kernel mode.
    ///
    /// # Errors
    /// Whatever fault the guest is to get.
    fn invlpg(&mut self, addr: u64) -> Result<(), Fault>;
    /// XSETBV, from kernel mode.
    ///
    /// # Errors
    /// `#GP(0)` for a register or value that the guest may not set.
    fn xsetbv(&mut self, index: u32, value: u64) -> Result<(), Fault>;
}
