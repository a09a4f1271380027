//! What the daemon asks of the kernel and the hypervisor.

use std::os::fd::BorrowedFd;

use crate::ring::Page;

/// What is known of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its number.
    pub domid: u16,
    /// Its handle: another domain under the same number has another.
    pub handle: [u8; 16],
    /// It is being torn down: what it wrote is all that it will write.
    pub dying: bool,
}

/// A port of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port(pub u32);

/// The kernel and the hypervisor, or what stands for them in tests.
pub trait Platform {
    /// A guest's page.
    type Page: Page;
    /// Why something failed.
    type Error: std::error::Error + 'static;

    /// All domains but dom0.
    ///
    /// # Errors
    /// The hypervisor refuses.
    fn domains(&mut self) -> Result<Vec<Domain>, Self::Error>;

    /// Maps a guest's console page: by the grant that is reserved for it, else by its frame.
    ///
    /// # Errors
    /// There is no such page.
    fn map(&mut self, domid: u16, frame: u64) -> Result<Self::Page, Self::Error>;

    /// Binds a port of a guest's that waits for us.
    ///
    /// # Errors
    /// The guest has no such port for us.
    fn bind(&mut self, domid: u16, remote: u32) -> Result<Port, Self::Error>;

    /// Binds the hypervisor's "there is something in the log".
    ///
    /// # Errors
    /// Somebody else has it.
    fn bind_hypervisor_log(&mut self) -> Result<Port, Self::Error>;

    /// Gives a port up.
    fn unbind(&mut self, port: Port);

    /// Tells the guest to look.
    fn notify(&mut self, port: Port);

    /// A port that fired, if any. It is masked until [`Platform::unmask`].
    ///
    /// # Errors
    /// The device is broken.
    fn fired(&mut self) -> Result<Option<Port>, Self::Error>;

    /// Lets a port fire again.
    fn unmask(&mut self, port: Port);

    /// Readable when a port fired.
    fn events(&self) -> BorrowedFd<'_>;

    /// What the hypervisor logged from an index on, and the index after it.
    ///
    /// # Errors
    /// The hypervisor refuses.
    fn hypervisor_log(&mut self, index: u32) -> Result<(Vec<u8>, u32), Self::Error>;
}
