//! An empty domain for a saved guest, and what a new guest needs that is drawn at random.

use std::fs::File;
use std::io::Read;

use sys::{CreateDomain, E820Entry, Xen};
use xl_config::Uuid;

use super::CreateError;
use crate::build::{BuildError, Request};

/// Type of a memory map's entry: RAM.
const E820_RAM: u32 = 1;
/// What a domain may have above its memory, KiB, as the builder gives it.
const SLACK_KIB: u64 = 1024;

/// Numbers from here on are no domains (public/xen.h).
const FIRST_RESERVED: u16 = 0x7ff0;
/// How often a number is drawn.
const DRAWS: u32 = 64;

/// A random UUID of version 4, as libxl makes.
pub(super) fn random_uuid() -> Result<Uuid, CreateError> {
    let mut bytes = [0_u8; 16];
    let mut file = File::open("/dev/urandom").map_err(CreateError::Random)?;
    file.read_exact(&mut bytes).map_err(CreateError::Random)?;
    let [.., version, _, variant, _, _, _, _, _, _, _] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    Ok(Uuid(bytes))
}

/// A number that no domain has, drawn at random: what `domid_policy="random"` of `xl.conf` asks for.
pub(super) fn random_domid(xen: &Xen) -> Result<Option<u16>, CreateError> {
    let mut file = File::open("/dev/urandom").map_err(CreateError::Random)?;
    for _ in 0..DRAWS {
        let mut bytes = [0_u8; 2];
        file.read_exact(&mut bytes).map_err(CreateError::Random)?;
        let domid = u16::from_ne_bytes(bytes) & 0x7fff;
        let usable = domid > 0 && domid < FIRST_RESERVED;
        if usable && xen.domain_info(domid).map_err(CreateError::Xen)?.is_none() {
            return Ok(Some(domid));
        }
    }
    // Nearly all are in use: the hypervisor finds the rest.
    Ok(None)
}

/// Makes a paused domain without memory: what a saved guest is read into.
pub(super) fn empty_domain(xen: &Xen, want: &Request) -> Result<u16, BuildError> {
    let create = CreateDomain {
        domid: want.domid,
        handle: want.uuid,
        max_vcpus: want.max_vcpus,
        max_evtchn_port: want.max_event_channel,
        max_grant_frames: want.max_grant_frames,
        max_maptrack_frames: want.max_maptrack_frames,
        max_grant_version: want.max_grant_version,
        cpupool: want.cpupool,
        ..CreateDomain::default()
    };
    xen.create_domain(&create).map_err(BuildError::Create)
}

/// Gives it its limits and its ports.
pub(super) fn configure(xen: &Xen, domid: u16, want: &Request) -> Result<(u32, u32), BuildError> {
    let step = |what| move |source| BuildError::Call { domid, what, source };
    xen.max_vcpus(domid, want.max_vcpus).map_err(step("setting the number of vCPUs"))?;
    let limit = want.max_memory_kib.saturating_add(SLACK_KIB);
    xen.max_mem(domid, limit).map_err(step("setting its memory limit"))?;
    let bytes = want.max_memory_kib.saturating_mul(1024);
    let low = |n: u64| u32::try_from(n & 0xffff_ffff).unwrap_or(0);
    let map = E820Entry {
        addr_low: 0,
        addr_high: 0,
        size_low: low(bytes),
        size_high: low(bytes >> 32),
        kind: E820_RAM,
    };
    xen.set_memory_map(domid, &[map]).map_err(step("setting its memory map"))?;
    xen.set_address_size(domid, 64).map_err(step("making it a 64-bit domain"))?;
    let store =
        xen.alloc_unbound(domid, want.store_domid).map_err(step("making its xenstore port"))?;
    let console =
        xen.alloc_unbound(domid, want.console_domid).map_err(step("making its console port"))?;
    Ok((store, console))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_uuid_says_that_it_is_random() {
        let (a, b) = (random_uuid().unwrap(), random_uuid().unwrap());
        assert_ne!(a, b);
        let text = a.to_string();
        assert_eq!(text.as_bytes()[14], b'4', "{text}");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}");
    }
}
