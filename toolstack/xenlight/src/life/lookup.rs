//! Domains by name and number.

use xenstore::Access;

use super::LifeError;
use crate::Context;
use crate::userdata;

/// A domain that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Number.
    pub domid: u16,
    /// Name; empty for one that has none.
    pub name: String,
}

/// Longest name that makes sense: what a store's path has room for, with all else in it.
const NAME_MAX: usize = 200;

/// The domain that a user means: digits are a number, all else is a name.
///
/// # Errors
/// [`LifeError::NoName`], with a name that is nearly the same; [`LifeError::NoDomain`].
pub fn find(cx: &mut Context, text: &str) -> Result<Domain, LifeError> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        let number: u32 = text.parse().unwrap_or(u32::MAX);
        let info = match u16::try_from(number) {
            Ok(domid) => cx
                .xen
                .domain_info(domid)
                .map_err(|source| LifeError::of(domid, "asking for it", source))?,
            Err(_) => None,
        };
        let Some(info) = info else { return Err(LifeError::NoDomain { domid: number }) };
        let name = cx.name(info.domid)?.unwrap_or_default();
        return Ok(Domain { domid: info.domid, name });
    }
    let all = names(cx)?;
    if let Some(found) = all.iter().find(|domain| domain.name == text) {
        return Ok(found.clone());
    }
    let near = all.into_iter().map(|domain| domain.name).filter(|name| is_near(text, name)).min();
    Err(LifeError::NoName { name: text.to_owned(), suggestion: near })
}

/// All domains of the hypervisor with their names.
///
/// # Errors
/// The store's and the hypervisor's.
pub fn names(cx: &mut Context) -> Result<Vec<Domain>, LifeError> {
    let all = cx.xen.domains().map_err(|source| LifeError::of(0, "listing domains", source))?;
    let paths: Vec<String> =
        all.iter().map(|info| format!("/local/domain/{}/name", info.domid)).collect();
    let names = cx.store.read_many(&paths)?;
    let found = all.into_iter().zip(names);
    Ok(found
        .map(|(info, name)| Domain { domid: info.domid, name: name.unwrap_or_default() })
        .collect())
}

/// Whether a live domain has a name.
///
/// # Errors
/// [`LifeError::NameInUse`] says which.
pub fn name_in_use(cx: &mut Context, name: &str) -> Result<(), LifeError> {
    match names(cx)?.into_iter().find(|domain| domain.name == name) {
        Some(domain) => Err(LifeError::NameInUse { name: domain.name, domid: domain.domid }),
        None => Ok(()),
    }
}

/// Checks a name's form: what the store, log files and `xl list` can show, and what is no number.
///
/// # Errors
/// [`LifeError::BadName`].
pub fn check_name(name: &str) -> Result<(), LifeError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_MAX {
        "it is longer than 200 bytes"
    } else if name.contains('/') {
        "a slash is not allowed"
    } else if name.chars().any(char::is_control) {
        "it contains control characters"
    } else if name.bytes().all(|byte| byte.is_ascii_digit()) {
        "a name of digits only is taken for a domain's number"
    } else {
        return Ok(());
    };
    Err(LifeError::BadName { name: name.to_owned(), why })
}

/// A domain's path below `/vm`.
///
/// # Errors
/// The store's.
pub fn vm_path(cx: &mut Context, domid: u16) -> Result<Option<String>, LifeError> {
    Ok(cx.store.try_read(&format!("/local/domain/{domid}/vm"))?)
}

/// Gives a domain another name, in the store and in its stored configuration.
///
/// # Errors
/// [`LifeError::NameInUse`], [`LifeError::BadName`].
pub fn rename(cx: &mut Context, domid: u16, new: &str) -> Result<(), LifeError> {
    check_name(new)?;
    match names(cx)?.into_iter().find(|domain| domain.name == new) {
        Some(domain) if domain.domid == domid => return Ok(()),
        Some(domain) => {
            return Err(LifeError::NameInUse { name: domain.name, domid: domain.domid });
        }
        None => {}
    }
    set_name(cx, domid, new)?;
    // The stored configuration is what a restart uses: without it there is nothing to be renamed.
    if let Ok(Some(mut config)) = userdata::load(cx, domid) {
        new.clone_into(&mut config.name);
        let _ = userdata::store(cx, domid, &config);
    }
    Ok(())
}

/// Sets the name in the store only.
pub(crate) fn set_name(cx: &mut Context, domid: u16, new: &str) -> Result<(), LifeError> {
    let home = format!("/local/domain/{domid}");
    cx.store.transaction(|t| {
        if let Some(vm) = t.try_read(&format!("{home}/vm"))? {
            t.write(&format!("{vm}/name"), new)?;
        }
        t.write(&format!("{home}/name"), new)
    })?;
    Ok(())
}

/// Whether two names differ by one letter: put in, left out, or another one; or only by case.
fn is_near(a: &str, b: &str) -> bool {
    if a.eq_ignore_ascii_case(b) {
        return true;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    if short.len() < 2 || long.len() > short.len() + 1 {
        return false;
    }
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    let skip = usize::from(long.len() == short.len());
    short.get(same + skip..).unwrap_or_default() == long.get(same + 1..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_one_letter_are_near() {
        for (a, b) in [("web1", "web2"), ("web", "webs"), ("webs", "web"), ("Web", "web")] {
            assert!(is_near(a, b), "{a} {b}");
        }
        for (a, b) in [("web", "mail"), ("a", "b"), ("web", "webxy"), ("", "x")] {
            assert!(!is_near(a, b), "{a} {b}");
        }
    }

    #[test]
    fn names_that_cannot_be_used_are_refused_with_the_reason() {
        for name in ["", "a/b", "a\nb", "17", &"x".repeat(201)] {
            assert!(matches!(check_name(name), Err(LifeError::BadName { .. })), "{name}");
        }
        assert!(check_name("gen2-core").is_ok());
        assert!(check_name("Gäste 7").is_ok());
    }
}
