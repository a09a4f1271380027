//! Memory for a new guest: what is free, what is needed, and domain 0's share.

use std::time::Duration;

use xl_config::DomainConfig;

use super::CreateError;
use super::error::Dom0;
use crate::{Context, memory, wait};

pub use xl_config::Autoballoon;

/// What Xen keeps for a guest beside the guest's memory: its structures, grant tables, shadow of nothing.
const OVERHEAD_KIB: u64 = 1024;
/// The same for each vCPU.
const VCPU_KIB: u64 = 64;
/// What domain 0 must keep to be of use.
const DOM0_LEAST_KIB: u64 = 256 * 1024;
/// How long domain 0 may take to give memory up.
const BALLOON_LIMIT: Duration = Duration::from_secs(30);

/// What must be free for a guest, KiB.
pub fn needed_kib(memory_kib: u64, vcpus: u32) -> u64 {
    memory_kib
        .saturating_add(OVERHEAD_KIB)
        .saturating_add(VCPU_KIB.saturating_mul(u64::from(vcpus)))
}

/// What is free and not claimed, KiB.
///
/// # Errors
/// The hypervisor's.
pub fn free_kib(cx: &Context) -> Result<u64, sys::Error> {
    let info = cx.xen.physinfo()?;
    // What is still to be scrubbed is scrubbed when it is given.
    let pages = info.free_pages.max(info.scrub_pages);
    Ok(pages.saturating_sub(info.outstanding_pages).saturating_mul(4))
}

/// How there can be enough for a guest.
enum Room {
    /// There is.
    Enough,
    /// Domain 0 gives some of its `has_kib` up and keeps `target_kib`.
    Balloon { has_kib: u64, target_kib: u64 },
}

/// Says no where there is not enough, and domain 0 cannot make room either; changes nothing.
pub(super) fn check(
    cx: &Context,
    config: &DomainConfig,
    memory_kib: u64,
) -> Result<(), CreateError> {
    plan(cx, config, memory_kib).map(drop)
}

fn plan(cx: &Context, config: &DomainConfig, memory_kib: u64) -> Result<Room, CreateError> {
    let needed_kib = needed_kib(memory_kib, config.max_vcpus);
    let free_kib = free_kib(cx).map_err(CreateError::Xen)?;
    if free_kib >= needed_kib {
        return Ok(Room::Enough);
    }
    let refuse = |dom0| Err(CreateError::NoMemory { memory_kib, needed_kib, free_kib, dom0 });
    let info = cx.xen.domain_info(0).map_err(CreateError::Xen)?;
    let has_kib = info.map_or(0, |info| info.pages.saturating_mul(4));
    let may = match cx.host.autoballoon {
        Autoballoon::On => true,
        Autoballoon::Off => false,
        Autoballoon::Auto => {
            let line = cx.xen.command_line().map_err(CreateError::Xen)?;
            !dom0_is_fixed(&line)
        }
    };
    if !may {
        return refuse(Dom0::Fixed { has_kib });
    }
    let target_kib = has_kib.saturating_sub(needed_kib.saturating_sub(free_kib));
    if target_kib < DOM0_LEAST_KIB {
        return refuse(Dom0::TooSmall { has_kib, least_kib: DOM0_LEAST_KIB });
    }
    Ok(Room::Balloon { has_kib, target_kib })
}

/// Sees to it that there is enough, by domain 0's ballooning where that is allowed.
pub(super) fn make_room(
    cx: &mut Context,
    config: &DomainConfig,
    memory_kib: u64,
) -> Result<(), CreateError> {
    let Room::Balloon { has_kib, target_kib } = plan(cx, config, memory_kib)? else {
        return Ok(());
    };
    let needed_kib = needed_kib(memory_kib, config.max_vcpus);
    let refuse =
        |free_kib, dom0| Err(CreateError::NoMemory { memory_kib, needed_kib, free_kib, dom0 });
    let mut last = free_kib(cx).map_err(CreateError::Xen)?;
    if memory::set_target(cx, 0, target_kib).is_err() {
        return refuse(last, Dom0::Fixed { has_kib });
    }
    let enough = wait::poll(BALLOON_LIMIT, || {
        last = free_kib(cx).unwrap_or(last);
        (last >= needed_kib).then_some(())
    });
    match enough {
        Some(()) => Ok(()),
        None => {
            // It gets back what did not help.
            let _ = memory::set_target(cx, 0, has_kib);
            refuse(last, Dom0::Slow { limit: BALLOON_LIMIT })
        }
    }
}

/// Whether the hypervisor was told how much domain 0 has.
fn dom0_is_fixed(command_line: &str) -> bool {
    command_line.split_whitespace().any(|word| word.starts_with("dom0_mem="))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_0_is_fixed_where_the_hypervisor_was_told_its_size() {
        assert!(dom0_is_fixed("console=com1 dom0_mem=768M"));
        assert!(!dom0_is_fixed("console=com1 xdom0_mem=1"));
        assert!(!dom0_is_fixed(""));
    }

    #[test]
    fn a_lack_of_memory_is_told_in_figures_with_what_helps() {
        let error = CreateError::NoMemory {
            memory_kib: 4096 * 1024,
            needed_kib: needed_kib(4096 * 1024, 1),
            free_kib: 1000 * 1024,
            dom0: Dom0::Fixed { has_kib: 768 * 1024 },
        };
        assert_eq!(
            error.to_string(),
            "not enough memory: the guest needs 4098 MiB (4096 MiB and what Xen keeps for it), 1000 MiB \
             are free; domain 0 keeps its 768 MiB (`xl mem-set 0 SIZE` makes it smaller, or \
             autoballoon=\"on\" in xl.conf)"
        );
    }
}
