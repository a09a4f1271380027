//! What is done with a guest that has ended.

use std::time::{SystemTime, UNIX_EPOCH};

use sys::ShutdownReason;
use xenstore::Access;
use xl_config::{Action, DomainConfig, Events, Uuid};

use super::{MonitorError, Say};
use crate::{Context, life, tree, userdata};

/// What the configuration says about an end.
pub(super) fn action_for(reason: ShutdownReason, events: &Events) -> Action {
    match reason {
        ShutdownReason::POWEROFF => events.on_poweroff,
        ShutdownReason::REBOOT => events.on_reboot,
        ShutdownReason::WATCHDOG => events.on_watchdog,
        ShutdownReason::CRASH => events.on_crash,
        ShutdownReason::SOFT_RESET => events.on_soft_reset,
        _ => Action::Destroy,
    }
}

/// Destroys the guest; what is left of it is told.
pub(super) fn destroy(cx: &mut Context, domid: u16, say: Say<'_>) -> Result<(), MonitorError> {
    say(&format_args!("Domain {domid} needs to be cleaned up: destroying the domain"));
    match life::destroy(cx, domid) {
        Ok(remains) => {
            for problem in &remains.problems {
                say(&life::chain(problem));
            }
            if remains.zombie {
                say(&format_args!("Domain {domid} is dead, but somebody holds pages of it"));
            }
            Ok(())
        }
        Err(life::LifeError::NoDomain { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Keeps the guest under another name and UUID; the configuration of its successor.
pub(super) fn preserve(
    cx: &mut Context,
    domid: u16,
    config: &DomainConfig,
    say: Say<'_>,
) -> Result<DomainConfig, MonitorError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name = free_name(cx, &format!("{}-{}", config.name, stamp(now)))?;
    let uuid = derived_uuid(config.uuid.unwrap_or_default(), domid, now);
    let home = tree::domain_home(domid);
    let vm = format!("/vm/{uuid}");
    cx.store
        .transaction(|t| {
            t.write(&vm, "")?;
            t.set_permissions(&vm, &tree::read_only(domid))?;
            t.write(&format!("{vm}/name"), &name)?;
            t.write(&format!("{vm}/uuid"), &uuid.to_string())?;
            t.write(&format!("{home}/vm"), &vm)?;
            t.write(&format!("{home}/name"), &name)
        })
        .map_err(life::LifeError::from)?;
    cx.xen
        .set_handle(domid, uuid.0)
        .map_err(|source| life::LifeError::of(domid, "giving it another UUID", source))?;
    userdata::remove_all(&cx.paths, domid);
    let kept = DomainConfig { name: name.clone(), uuid: Some(uuid), ..config.clone() };
    userdata::store(cx, domid, &kept)?;
    say(&format_args!("Domain {domid} is kept as {name}"));
    Ok(config.clone())
}

/// The name, or with a number where another guest has it: the stamp's minutes are long.
fn free_name(cx: &mut Context, name: &str) -> Result<String, MonitorError> {
    const MOST: u32 = 100;
    let mut candidate = name.to_owned();
    for number in 2..MOST {
        match life::name_in_use(cx, &candidate) {
            Err(life::LifeError::NameInUse { .. }) => candidate = format!("{name}-{number}"),
            other => return other.map(|()| candidate).map_err(MonitorError::from),
        }
    }
    Ok(candidate)
}

/// Dumps the guest's memory; that it does not work does not keep the guest from being restarted.
pub(super) fn dump(cx: &mut Context, domid: u16, say: Say<'_>) {
    let name = cx.name(domid).ok().flatten().unwrap_or_else(|| domid.to_string());
    let path = cx.paths.dump.join(name.replace('/', "_"));
    say(&format_args!("dumping core to {}", path.display()));
    if let Err(error) = crate::dump::dump_core(cx, domid, &path) {
        say(&format_args!("core dump failed: {}", life::chain(&error)));
    }
}

/// A UUID for a guest that is kept: another one than its own, and always valid.
fn derived_uuid(uuid: Uuid, domid: u16, now: u64) -> Uuid {
    let mut bytes = uuid.0;
    let fresh = now.to_le_bytes().into_iter().chain(domid.to_le_bytes());
    for (byte, fresh) in bytes.iter_mut().zip(fresh) {
        *byte ^= fresh.wrapping_add(0x5a);
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    Uuid(bytes)
}

/// Seconds since 1970 as `20261127T1805Z`.
fn stamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01; years begin in March, so that the odd day is the last.
    let days = days + 719_468;
    let era = days / 146_097;
    let day = days % 146_097;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = year + era * 400 + next;
    format!("{year:04}{month:02}{of_month:02}T{:02}{:02}Z", rest / 3_600, rest % 3_600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_own_action_and_an_unknown_one_destroys() {
        let events = Events {
            on_poweroff: Action::Preserve,
            on_reboot: Action::Restart,
            on_watchdog: Action::CoredumpRestart,
            on_crash: Action::RenameRestart,
            on_soft_reset: Action::SoftReset,
        };
        let of = |code| action_for(ShutdownReason(code), &events);
        assert_eq!(of(0), Action::Preserve);
        assert_eq!(of(1), Action::Restart);
        assert_eq!(of(3), Action::RenameRestart);
        assert_eq!(of(4), Action::CoredumpRestart);
        assert_eq!(of(5), Action::SoftReset);
        assert_eq!(of(99), Action::Destroy);
    }

    #[test]
    fn a_kept_guest_has_another_uuid() {
        let uuid = Uuid([0x11; 16]);
        assert_ne!(derived_uuid(uuid, 3, 1_795_802_752), uuid);
    }

    #[test]
    fn a_moment_is_written_as_libxl_writes_it() {
        for (seconds, text) in [
            (0, "19700101T0000Z"),
            (951_782_400, "20000229T0000Z"),
            (1_795_802_752, "20261127T1805Z"),
            (4_107_542_399, "21000228T2359Z"),
        ] {
            assert_eq!(stamp(seconds), text);
        }
    }
}
