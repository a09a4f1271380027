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

/// Sees to it that there is enough, by domain 0's ballooning where that is allowed.
pub(super) fn make_room(
    cx: &mut Context,
    config: &DomainConfig,
    memory_kib: u64,
) -> Result<(), CreateError> {
    let needed = needed_kib(memory_kib, config.max_vcpus);
    let free = free_kib(cx).map_err(CreateError::Xen)?;
    if free >= needed {
        return Ok(());
    }
    let refuse = |free, dom0| {
        Err(CreateError::NoMemory { memory_kib, needed_kib: needed, free_kib: free, dom0 })
    };
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
        return refuse(free, Dom0::Fixed { has_kib });
    }
    let lacking = needed.saturating_sub(free);
    let target = has_kib.saturating_sub(lacking);
    if target < DOM0_LEAST_KIB {
        return refuse(free, Dom0::TooSmall { has_kib, least_kib: DOM0_LEAST_KIB });
    }
    if memory::set_target(cx, 0, target).is_err() {
        return refuse(free, Dom0::Fixed { has_kib });
    }
    let mut last = free;
    let enough = wait::poll(BALLOON_LIMIT, || {
        last = free_kib(cx).unwrap_or(last);
        (last >= needed).then_some(())
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
