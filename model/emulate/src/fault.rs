//! How an instruction can fail to complete, and what a call to the emulator came to.

/// An exception for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// Vector, 0 to 31.
    pub vector: u8,
    /// Error code, for the vectors that push one.
    pub error: Option<u32>,
    /// The faulting address, for `#PF`.
    pub cr2: Option<u64>,
}

impl Exception {
    /// `#UD`, invalid opcode.
    pub const UD: Self = Self { vector: 6, error: None, cr2: None };
    /// `#SS(0)`, stack fault.
    pub const SS: Self = Self { vector: 12, error: Some(0), cr2: None };
    /// `#GP(0)`, general protection.
    pub const GP: Self = Self { vector: 13, error: Some(0), cr2: None };

    /// `#PF` at `addr` with the given error code.
    #[must_use]
    pub const fn page_fault(addr: u64, error: u32) -> Self {
        Self { vector: 14, error: Some(error), cr2: Some(addr) }
    }
}

/// Why a step of an instruction did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The guest gets this exception, with RIP at the instruction.
    Exception(Exception),
    /// Later: resume the guest at the same instruction.
    Retry,
    /// This is nothing that can be emulated.
    Unhandled,
}

impl Fault {
    /// `#UD`.
    pub const UD: Self = Self::Exception(Exception::UD);
    /// `#SS(0)`.
    pub const SS: Self = Self::Exception(Exception::SS);
    /// `#GP(0)`.
    pub const GP: Self = Self::Exception(Exception::GP);

    /// `#PF` at `addr` with the given error code.
    #[must_use]
    pub const fn page_fault(addr: u64, error: u32) -> Self {
        Self::Exception(Exception::page_fault(addr, error))
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Outcome {
    /// The instruction (or one iteration of a repeated one) is done and its registers are set.
    /// When the guest has TF set, it is now due a single-step `#DB`.
    Done,
    /// The guest gets this exception; RIP is still at the instruction and nothing was changed but
    /// for completed iterations.
    Inject(Exception),
    /// Not an instruction of this entry's set: the guest gets the fault that brought us here.
    NotOurs,
    /// Resume the guest at the same instruction: it will trap again and go on.
    Retry,
}

impl From<Result<(), Fault>> for Outcome {
    #[inline(always)]
    fn from(result: Result<(), Fault>) -> Self {
        match result {
            Ok(()) => Self::Done,
            Err(Fault::Exception(exception)) => Self::Inject(exception),
            Err(Fault::Retry) => Self::Retry,
            Err(Fault::Unhandled) => Self::NotOurs,
        }
    }
}
