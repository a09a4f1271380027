//! `xen_version`: what this hypervisor is.

use super::table::operations;
use super::{Args, Call, Caller};
use crate::util::low32;
use abi::Errno;
use abi::version::{
    CAPABILITIES_INFO_LEN, CHANGESET_INFO_LEN, COMMANDLINE_LEN, CompileInfo, EXTRAVERSION_LEN,
    FeatureInfo, PlatformParameters, VarBuf, VersionCmd, feature,
};
use machine::guest;
use zerocopy::{FromZeros, IntoBytes};

/// The interface version that we speak: 4.20.
pub const MAJOR: u32 = 4;
/// See [`MAJOR`].
pub const MINOR: u32 = 20;
/// What follows the number.
pub const EXTRA: &str = ".4-ferroxen";
/// Kinds of guests that can run here.
pub const CAPABILITIES: &str = "xen-3.0-x86_64 ";
const CHANGESET: &str = concat!("ferroxen ", env!("CARGO_PKG_VERSION"));

/// `xen_version(command, buffer)`.
pub fn xen_version(caller: &mut Caller, a: &mut Args) -> Call {
    let [command, buffer, ..] = *a.all();
    let command = low32(command);
    operations! { match xen_version(VersionCmd(command)) {
        VersionCmd::VERSION [] => return Ok(u64::from(MAJOR << 16 | MINOR)),
        VersionCmd::EXTRAVERSION [EFAULT] => text::<EXTRAVERSION_LEN>(buffer, EXTRA)?,
        VersionCmd::COMPILE_INFO [EFAULT] => compile_info(buffer)?,
        VersionCmd::CAPABILITIES [EFAULT] => text::<CAPABILITIES_INFO_LEN>(buffer, CAPABILITIES)?,
        VersionCmd::CHANGESET [EFAULT] => text::<CHANGESET_INFO_LEN>(buffer, CHANGESET)?,
        VersionCmd::PLATFORM_PARAMETERS [EFAULT] => {
            let p = PlatformParameters { virt_start: abi::xen::HYPERVISOR_VIRT_START };
            guest::write(buffer, &p)?;
        },
        VersionCmd::GET_FEATURES [EFAULT EINVAL] => features(caller, buffer)?,
        VersionCmd::PAGESIZE [] => return Ok(4096),
        VersionCmd::GUEST_HANDLE [EFAULT] => guest::write(buffer, &*caller.domain.handle.lock())?,
        VersionCmd::COMMANDLINE [EFAULT] => text::<COMMANDLINE_LEN>(buffer, command_line())?,
        // There is no build id; the long forms give whole strings.
        VersionCmd::BUILD_ID [!ok ENODATA] => return Err(Errno::ENODATA.into()),
        VersionCmd::EXTRAVERSION2 [EFAULT EINVAL ENOBUFS] => return long(buffer, EXTRA),
        VersionCmd::CAPABILITIES2 [EFAULT EINVAL ENOBUFS] => return long(buffer, CAPABILITIES),
        VersionCmd::CHANGESET2 [EFAULT EINVAL ENOBUFS] => return long(buffer, CHANGESET),
        VersionCmd::COMMANDLINE2 [EFAULT EINVAL ENOBUFS] => return long(buffer, command_line()),
        _ [ENOSYS] => return Err(Errno::ENOSYS.into()),
    } }
    Ok(0)
}

/// The hypervisor's command line.
pub fn command_line() -> &'static str {
    core::str::from_utf8(crate::options::command_line()).unwrap_or("")
}

/// Writes `text` and zeroes into a field of `N` bytes, the last always zero.
fn text<const N: usize>(buffer: u64, text: &str) -> Result<(), guest::BadAddress> {
    let mut field = [0u8; N];
    for (slot, byte) in field.iter_mut().take(N.saturating_sub(1)).zip(text.bytes()) {
        *slot = byte;
    }
    guest::write_bytes(buffer, &field)
}

/// The `*2` forms: a length, then the bytes. A buffer that is too short gets `ENOBUFS`; NULL asks
/// for the length.
fn long(buffer: u64, text: &str) -> Call {
    let len = text.len() as u64;
    if buffer == 0 {
        return Ok(len);
    }
    let room: VarBuf = guest::read(buffer)?;
    if room.len == 0 {
        return Err(Errno::EINVAL.into());
    }
    if u64::from(room.len) < len {
        return Err(Errno::ENOBUFS.into());
    }
    guest::write_bytes(buffer.wrapping_add(4), text.as_bytes())?;
    Ok(len)
}

fn compile_info(buffer: u64) -> Result<(), guest::BadAddress> {
    let mut info = CompileInfo::new_zeroed();
    fill(&mut info.compiler, concat!("rustc ", env!("CARGO_PKG_RUST_VERSION")));
    fill(&mut info.compile_by, "ferroxen");
    fill(&mut info.compile_domain, "ferroxen.invalid");
    fill(&mut info.compile_date, "reproducible build");
    guest::write_bytes(buffer, info.as_bytes())
}

fn fill(field: &mut [u8], text: &str) {
    let room = field.len().saturating_sub(1);
    for (slot, byte) in field.iter_mut().take(room).zip(text.bytes()) {
        *slot = byte;
    }
}

fn features(caller: &Caller, buffer: u64) -> Result<(), super::Stop> {
    let mut info: FeatureInfo = guest::read(buffer)?;
    let mut bits = [
        feature::MMU_PT_UPDATE_PRESERVE_AD,
        feature::HIGHMEM_ASSIST,
        feature::GNTTAB_MAP_AVAIL_BITS,
        feature::MEMORY_OP_VNODE_SUPPORTED,
        feature::DIRECT_MAPPED,
    ]
    .iter()
    .fold(0u32, |sum, &bit| sum | 1u32.wrapping_shl(bit));
    if caller.domain.privileged {
        bits |= 1u32.wrapping_shl(feature::DOM0);
    }
    info.submap = match info.submap_idx {
        0 => bits,
        _ => return Err(Errno::EINVAL.into()),
    };
    guest::write(buffer, &info)?;
    Ok(())
}
