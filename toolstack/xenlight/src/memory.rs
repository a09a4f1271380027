//! A running domain's memory: its target, and its limit.

use xenstore::Access;

use crate::Context;

/// What a domain may have above what it is told of, KiB.
const SLACK_KIB: u64 = 1024;
/// Below this, a guest's kernel cannot live: who asks for it means another unit.
const LEAST_KIB: u64 = 4 * 1024;
/// Below this, domain 0 cannot.
const LEAST_DOM0_KIB: u64 = 128 * 1024;

/// Why a domain's memory could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Not a size.
    #[error("\"{0}\" is no size of memory; examples: 512m, 2g, 524288 (KiB)")]
    Size(String),
    /// Too small to be meant.
    #[error(
        "domain {domid}: {kib} KiB are less than the {} MiB that it needs to live; a number without \
         unit counts KiB: did you mean {kib}m?", least_kib / 1024
    )]
    TooSmall {
        /// The domain.
        domid: u16,
        /// What was asked for.
        kib: u64,
        /// The least.
        least_kib: u64,
    },
    /// More than the domain may ever have.
    #[error(
        "domain {domid}: {kib} KiB are more than its limit of {max_kib} KiB; `xl mem-max` raises the \
         limit, and maxmem= in the configuration how far the guest's kernel can follow"
    )]
    AboveMax {
        /// The domain.
        domid: u16,
        /// What was asked for.
        kib: u64,
        /// Its limit.
        max_kib: u64,
    },
    /// A limit below what the domain is to have.
    #[error(
        "domain {domid}: a limit of {kib} KiB is less than its target of {target_kib} KiB; \
         `xl mem-set` lowers the target"
    )]
    BelowTarget {
        /// The domain.
        domid: u16,
        /// What was asked for.
        kib: u64,
        /// Its target.
        target_kib: u64,
    },
    /// There is no such domain.
    #[error("there is no domain {0}")]
    NoDomain(u16),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] xenstore::Error),
    /// The hypervisor refused.
    #[error("domain {domid}: {what} failed")]
    Xen {
        /// The domain.
        domid: u16,
        /// What was to be done.
        what: &'static str,
        /// Why not.
        #[source]
        source: sys::Error,
    },
}

/// Reads a size: a number with `b`, `k`, `m`, `g` or `t`, upper or lower case; KiB without. Answers KiB.
///
/// # Errors
/// [`MemoryError::Size`].
pub fn parse_size(text: &str) -> Result<u64, MemoryError> {
    let wrong = || MemoryError::Size(text.to_owned());
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    let unit = text.get(digits.len()..).unwrap_or_default().to_ascii_lowercase();
    match unit.as_str() {
        "b" => Some(number / 1024),
        "" | "k" => Some(number),
        "m" => number.checked_mul(1 << 10),
        "g" => number.checked_mul(1 << 20),
        "t" => number.checked_mul(1 << 30),
        _ => None,
    }
    .ok_or_else(wrong)
}

/// What a domain is told to have, and what it may have at most, KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The balloon's target.
    pub target_kib: u64,
    /// The limit that the guest was told of.
    pub max_kib: u64,
    /// Part of it that is the video card's.
    pub video_kib: u64,
}

/// A domain's target and limit; what the store does not say is what the domain has.
///
/// # Errors
/// [`MemoryError`].
pub fn targets(cx: &mut Context, domid: u16) -> Result<Targets, MemoryError> {
    let info = cx.xen.domain_info(domid);
    let info = info.map_err(|source| MemoryError::Xen { domid, what: "asking for it", source })?;
    let info = info.ok_or(MemoryError::NoDomain(domid))?;
    let home = format!("/local/domain/{domid}/memory");
    let mut read = |name: &str| -> Result<Option<u64>, MemoryError> {
        let value = cx.store.try_read(&format!("{home}/{name}"))?;
        Ok(value.and_then(|value| value.parse().ok()))
    };
    let (target, max, video) = (read("target")?, read("static-max")?, read("videoram")?);
    let has = info.pages.saturating_mul(4);
    // Domain 0 without a limit has one of nearly 2^64 pages.
    let limit = info.max_pages.saturating_mul(4);
    let host = cx.xen.physinfo().map(|host| host.total_pages.saturating_mul(4)).unwrap_or(limit);
    Ok(Targets {
        target_kib: target.unwrap_or(has),
        max_kib: max.unwrap_or(limit.min(host).max(has)),
        video_kib: video.unwrap_or(0),
    })
}

/// Sets what a domain is to have (`xl mem-set`): its kernel's balloon follows in its own time.
///
/// # Errors
/// [`MemoryError::TooSmall`], [`MemoryError::AboveMax`].
pub fn set_target(cx: &mut Context, domid: u16, kib: u64) -> Result<(), MemoryError> {
    let now = targets(cx, domid)?;
    let least_kib = if domid == 0 { LEAST_DOM0_KIB } else { LEAST_KIB };
    if kib < least_kib {
        return Err(MemoryError::TooSmall { domid, kib, least_kib });
    }
    if kib > now.max_kib {
        return Err(MemoryError::AboveMax { domid, kib, max_kib: now.max_kib });
    }
    limit(cx, domid, kib)?;
    let target = kib.saturating_sub(now.video_kib);
    let home = format!("/local/domain/{domid}/memory");
    cx.store.transaction(|t| {
        t.write(&format!("{home}/target"), &target.to_string())?;
        // Domain 0 has no entry until somebody sets its target.
        if t.try_read(&format!("{home}/static-max"))?.is_none() {
            t.write(&format!("{home}/static-max"), &now.max_kib.to_string())?;
        }
        Ok(())
    })?;
    Ok(())
}

/// Sets what a domain may have at most (`xl mem-max`).
///
/// # Errors
/// [`MemoryError::BelowTarget`].
pub fn set_max(cx: &mut Context, domid: u16, kib: u64) -> Result<(), MemoryError> {
    let now = targets(cx, domid)?;
    if kib < now.target_kib {
        return Err(MemoryError::BelowTarget { domid, kib, target_kib: now.target_kib });
    }
    limit(cx, domid, kib)?;
    cx.store.write(&format!("/local/domain/{domid}/memory/static-max"), &kib.to_string())?;
    Ok(())
}

/// Sets the hypervisor's limit.
fn limit(cx: &Context, domid: u16, kib: u64) -> Result<(), MemoryError> {
    let what = "setting its memory limit";
    cx.xen.max_mem(domid, kib.saturating_add(SLACK_KIB)).map_err(|source| MemoryError::Xen {
        domid,
        what,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_and_kib_without() {
        for (text, kib) in [
            ("512", 512),
            ("512k", 512),
            ("512K", 512),
            ("512m", 512 << 10),
            ("2G", 2 << 20),
            ("1t", 1 << 30),
            ("4096b", 4),
        ] {
            assert_eq!(parse_size(text).unwrap(), kib, "{text}");
        }
        for text in ["", "m", "-1", "1.5g", "10mb", "99999999999999999999", "18446744073709551615t"]
        {
            assert!(matches!(parse_size(text), Err(MemoryError::Size(_))), "{text}");
        }
    }

    #[test]
    fn a_size_that_forgot_its_unit_is_told_so() {
        let error = MemoryError::TooSmall { domid: 3, kib: 512, least_kib: LEAST_KIB }.to_string();
        assert!(error.ends_with("did you mean 512m?"), "{error}");
    }
}
