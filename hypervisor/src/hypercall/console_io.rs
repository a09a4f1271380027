//! `console_io`: the hypervisor's console, for dom0 and for guests' early messages.

use super::table::operations;
use super::{Args, Call, Caller, Stop};
use crate::console;
use crate::util::{index, low32};
use abi::Errno;
use abi::xen::ConsoleioCmd;
use machine::guest;

/// Bytes written in one go.
const CHUNK: usize = 512;

/// `console_io(command, count, buffer)`.
pub fn console_io(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, count, buffer, ..] = *a.all();
    if !caller.domain.privileged {
        return Err(Errno::EPERM.into());
    }
    let count = count & 0x7fff_ffff;
    let command = low32(command);
    operations! { match console_io(ConsoleioCmd(command)) {
        ConsoleioCmd::WRITE [EFAULT] => write(a, count, buffer),
        ConsoleioCmd::READ [EFAULT] => read(count, buffer),
        _ [ENOSYS] => Err(Errno::ENOSYS.into()),
    } }
}

fn read(count: u64, buffer: u64) -> Call {
    let mut n = 0u64;
    while n < count {
        let Some(byte) = crate::serial_input::next() else { break };
        guest::write_bytes(buffer.wrapping_add(n), &[byte])?;
        n = n.wrapping_add(1);
    }
    Ok(n)
}

fn write(a: &mut Args, count: u64, buffer: u64) -> Call {
    let n = count.min(CHUNK as u64);
    let mut bytes = [0u8; CHUNK];
    let Some(part) = bytes.get_mut(..index(n)) else { return Err(Errno::EINVAL.into()) };
    guest::read_bytes(buffer, part)?;
    console::write_raw(part);
    if n < count {
        a.set(1, count.wrapping_sub(n));
        a.set(2, buffer.wrapping_add(n));
        return Err(Stop::Again);
    }
    Ok(0)
}
