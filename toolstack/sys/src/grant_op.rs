//! grant_table_op on another domain's table.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use abi::GuestPtr;
use abi::grant_table::{GetVersion, GrantCmd, GrantStatus, QuerySize, SetupTable};
use abi::xen::Hypercall;

use crate::error::{Error, Result};
use crate::xen::{Call, Xen};

impl Xen {
    fn grant_op<T>(&self, call: Call, cmd: GrantCmd, argument: &mut T) -> Result<()>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let buffer = self.pool.of(argument)?;
        let args = [u64::from(cmd.0), buffer.address(), 1, 0, 0];
        self.call(call, Hypercall::GRANT_TABLE_OP, args)?;
        *argument = buffer.get(0);
        Ok(())
    }

    /// Makes the first `frames` frames of a domain's grant table, and says which machine frames they are.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Grant`].
    pub fn setup_grant_table(&self, domid: u16, frames: u32) -> Result<Vec<u64>> {
        let count = frames.min(4096);
        let list = self.room::<u64>(count as usize)?;
        let mut argument = SetupTable {
            dom: domid,
            nr_frames: count,
            frame_list: GuestPtr::new(list.address()),
            ..SetupTable::new_zeroed()
        };
        let call = Call::of("grant_table_op setup_table", domid);
        self.grant_op(call, GrantCmd::SETUP_TABLE, &mut argument)?;
        status("setup_table", domid, argument.status)?;
        Ok(list.list(count as usize))
    }

    /// Frames that a domain's grant table has, and may have.
    ///
    /// # Errors
    /// [`Error::Hypercall`], [`Error::Grant`].
    pub fn grant_table_size(&self, domid: u16) -> Result<(u32, u32)> {
        let mut argument = QuerySize { dom: domid, ..QuerySize::new_zeroed() };
        let call = Call::of("grant_table_op query_size", domid);
        self.grant_op(call, GrantCmd::QUERY_SIZE, &mut argument)?;
        status("query_size", domid, argument.status)?;
        Ok((argument.nr_frames, argument.max_nr_frames))
    }

    /// Version of a domain's grant entries: 1 or 2.
    ///
    /// # Errors
    /// [`Error::Hypercall`].
    pub fn grant_table_version(&self, domid: u16) -> Result<u32> {
        let mut argument = GetVersion { dom: domid, ..GetVersion::new_zeroed() };
        let call = Call::of("grant_table_op get_version", domid);
        self.grant_op(call, GrantCmd::GET_VERSION, &mut argument)?;
        Ok(argument.version)
    }
}

fn status(operation: &'static str, domid: u16, status: GrantStatus) -> Result<()> {
    if status == GrantStatus::OKAY {
        Ok(())
    } else {
        Err(Error::Grant { operation, domid, status: status.0 })
    }
}
