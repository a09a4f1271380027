//! Which domains there are, what they are called, and which one a word means.

use crate::cli::suggest;
use crate::failure::{Failure, OrFail as _};
use crate::session::Session;
use sys::DomainInfo;
use xenstore::Client;

/// All domains, by number.
pub fn list(session: &mut Session) -> Result<Vec<DomainInfo>, Failure> {
    session.xen()?.domains().or_fail(|| "cannot list the domains".to_owned())
}

/// What a domain is and does.
pub fn info(session: &mut Session, domid: u16) -> Result<DomainInfo, Failure> {
    let info =
        session.xen()?.domain_info(domid).or_fail(|| format!("cannot look at domain {domid}"))?;
    info.ok_or_else(|| no_such_domain(domid))
}

fn no_such_domain(domid: u16) -> Failure {
    Failure::new(format!("Domain '{domid}' does not exist.")).help("xl list shows which do")
}

/// The names of some domains, in their order; a domain may have none.
pub fn names(store: &mut Client, domains: &[u16]) -> Result<Vec<Option<String>>, Failure> {
    let paths: Vec<_> = domains.iter().map(|domid| name_path(*domid)).collect();
    let names = store.read_many(&paths).or_fail(|| "cannot read the domains' names".to_owned())?;
    Ok(names.into_iter().map(|name| name.filter(|name| !name.is_empty())).collect())
}

/// Where a domain's name is in the store.
pub fn name_path(domid: u16) -> String {
    format!("/local/domain/{domid}/name")
}

/// The domain that a word means: its number, or its name.
///
/// # Errors
/// "... is an invalid domain identifier", as Xen's `xl` says it, with the nearest name.
pub fn find(session: &mut Session, word: &str) -> Result<u16, Failure> {
    if let Some(domid) = as_number(word) {
        return Ok(domid);
    }
    let (domid, near) = find_name(session, word)?;
    domid.ok_or_else(|| {
        let failure = Failure::new(format!("{word} is an invalid domain identifier (rc=-6)"));
        match near {
            Some(near) => failure.help(format!("did you mean {near}?")),
            None => failure.help("xl list shows the domains that there are"),
        }
    })
}

/// A word that is a domain's number. Numbers from 0x7ff0 on are not domains (public/xen.h).
pub fn as_number(word: &str) -> Option<u16> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|domid| digits && *domid < 0x7ff0)
}

/// The domain of exactly this name, and the nearest other name if there is none.
pub fn find_name(
    session: &mut Session,
    word: &str,
) -> Result<(Option<u16>, Option<String>), Failure> {
    let (xen, store) = session.both()?;
    let domains = xen.domains().or_fail(|| "cannot list the domains".to_owned())?;
    let domids: Vec<_> = domains.iter().map(|info| info.domid).collect();
    let names = names(store, &domids)?;
    let is_it = |name: &Option<String>| name.as_deref() == Some(word);
    if let Some(domid) = names.iter().position(is_it).and_then(|index| domids.get(index)) {
        return Ok((Some(*domid), None));
    }
    let near = suggest::nearest(word, names.iter().flatten().map(String::as_str));
    Ok((None, near.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_numbers_of_domains_are_numbers() {
        assert_eq!(as_number("17"), Some(17));
        for word in ["", "x", "3x", "+3", "-1", "32752", "99999999"] {
            assert_eq!(as_number(word), None, "{word}");
        }
    }
}
