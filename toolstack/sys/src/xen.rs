//! The connection to the hypervisor, and what all calls share.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use abi::xen::Hypercall;

use crate::bounce::{Bounce, Pool};
use crate::error::{Error, Result};
use crate::raw::{Backend, Privcmd};

/// How long a call that asks to be made again is repeated. Destroying a large domain takes many rounds.
const LIMIT: Duration = Duration::from_secs(120);

/// The hypervisor, as this domain's kernel lets its tools reach it. Methods are the hypercalls, named after
/// the operation.
pub struct Xen {
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) pool: Pool,
}

impl std::fmt::Debug for Xen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Xen").finish_non_exhaustive()
    }
}

/// What a call is about, for its error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Family and operation.
    pub name: &'static str,
    /// The domain.
    pub domid: Option<u16>,
}

impl Call {
    pub(crate) const fn new(name: &'static str) -> Self {
        Self { name, domid: None }
    }

    pub(crate) const fn of(name: &'static str, domid: u16) -> Self {
        Self { name, domid: Some(domid) }
    }

    pub(crate) fn failed(self, errno: Errno) -> Error {
        Error::Hypercall { call: self.name, domid: self.domid, errno }
    }
}

impl Xen {
    /// Opens `/dev/xen/privcmd`, or `/proc/xen/privcmd`.
    ///
    /// # Errors
    /// [`Error::Open`]; see [`Error::not_on_xen`] and [`Error::is_permission`].
    pub fn open() -> Result<Self> {
        Ok(Self { backend: Box::new(Privcmd::open()?), pool: Pool::open() })
    }

    #[cfg(test)]
    pub(crate) fn with(backend: impl Backend + 'static) -> Self {
        Self { backend: Box::new(backend), pool: Pool::default() }
    }

    /// Makes a call; the addresses in `args` are of buffers that the caller holds.
    pub(crate) fn call(&self, call: Call, op: Hypercall, args: [u64; 5]) -> Result<i64> {
        self.backend.hypercall(op, args).map_err(|errno| call.failed(errno))
    }

    /// Makes a call with one structure, which is copied in and back out.
    pub(crate) fn call_with<T>(
        &self,
        call: Call,
        op: Hypercall,
        cmd: u64,
        argument: &mut T,
    ) -> Result<i64>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let buffer = self.pool.of(argument)?;
        let result = self.call(call, op, [cmd, buffer.address(), 0, 0, 0])?;
        *argument = buffer.get(0);
        Ok(result)
    }

    /// A zeroed buffer for a list of `count`.
    pub(crate) fn room<T>(&self, count: usize) -> Result<Bounce<'_>> {
        self.pool.get(count.saturating_mul(size_of::<T>()))
    }

    /// Repeats `step` for as long as it fails with EAGAIN (or a kernel's EINTR), up to a limit.
    pub(crate) fn until_done<T>(
        &self,
        call: Call,
        mut step: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            match step() {
                Err(Error::Hypercall { errno: Errno::AGAIN | Errno::INTR, .. }) => {}
                other => return other,
            }
            if start.elapsed() > LIMIT {
                let (call, domid, seconds) = (call.name, call.domid, LIMIT.as_secs());
                return Err(Error::Unfinished { call, domid, seconds });
            }
            std::thread::yield_now();
        }
    }
}

/// `N` bytes of a text that may end with a zero byte, as text.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}
