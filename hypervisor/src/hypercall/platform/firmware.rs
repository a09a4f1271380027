//! What the firmware said at boot, and the hypervisor's own symbols.

use abi::Errno;
use abi::platform::{
    FW_DISK_INFO, FW_DISK_MBR_SIGNATURE, FW_KBD_SHIFT_FLAGS, FW_VBEDDC_INFO, FirmwareInfo, Symdata,
};
use machine::guest;

/// `firmware_info`. The boot path calls no BIOS, so that nothing is known of disks and monitors.
pub(super) fn info(info: &mut FirmwareInfo) -> Result<(), Errno> {
    match info.kind {
        FW_DISK_INFO | FW_DISK_MBR_SIGNATURE | FW_VBEDDC_INFO => Err(Errno::ESRCH),
        FW_KBD_SHIFT_FLAGS if info.index != 0 => Err(Errno::ESRCH),
        FW_KBD_SHIFT_FLAGS => {
            let flags = machine::boot::info().map_or(0, |i| i.keyboard_flags());
            info.u = [flags.into(), 0, 0, 0];
            Ok(())
        }
        abi::platform::FW_EFI_INFO => Err(Errno::ENOSYS),
        _ => Err(Errno::EINVAL),
    }
}

/// `get_symbol`: the one of that number; the number stays as it is after the last.
pub(super) fn symbol(s: &mut Symdata) -> Result<(), Errno> {
    let count = machine::symbols::count();
    if count == 0 {
        return Err(Errno::ENOSYS);
    }
    if s.symnum > count {
        return Err(Errno::ERANGE);
    }
    let entry = machine::symbols::get(s.symnum);
    let name = entry.map_or("", |e| e.name);
    let room = (s.namelen as usize).min(name.len().saturating_add(1));
    let text = name.bytes().chain([0]);
    for (k, byte) in (0u64..).zip(text.take(room)) {
        guest::write_bytes(s.name.addr().wrapping_add(k), &[byte]).map_err(|_| Errno::EFAULT)?;
    }
    s.namelen = u32::try_from(name.len()).unwrap_or(0).saturating_add(1);
    if let Some(e) = entry {
        s.address = e.address;
        s.kind = b't';
        s.symnum = s.symnum.saturating_add(1);
    }
    Ok(())
}
