//! Paths of nodes: what is valid, and what a relative one means.

use std::rc::Rc;
use xenstore::Errno;
use xenstore::wire::ABSOLUTE_PATH_MAX;

/// A checked absolute path (`/`, `/a/b`) or a special name (`@releaseDomain`).
pub type Path = Rc<str>;

/// A path as a client gave it, made absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canonical {
    /// The absolute path.
    pub path: Path,
    /// Bytes at its start that were implied, 0 if it was given as absolute. Events leave them out.
    pub implied: usize,
}

/// Makes a client's path absolute. `domid` is the client, `longest` the limit in bytes of what
/// follows `/local/domain/DOMID/`.
///
/// # Errors
/// `EINVAL` for anything that is no valid path.
pub fn canonical(text: &[u8], domid: u16, longest: usize) -> Result<Canonical, Errno> {
    let text = std::str::from_utf8(text).map_err(|_| Errno::Invalid)?;
    if text.is_empty() || !text.bytes().all(allowed) {
        return Err(Errno::Invalid);
    }
    let (path, implied): (Path, usize) = if text.starts_with('/') {
        (text.into(), 0)
    } else {
        let prefix = format!("/local/domain/{domid}/");
        let implied = prefix.len();
        ((prefix + text).into(), implied)
    };
    let bad = (path.len() > 1 && path.ends_with('/'))
        || path.contains("//")
        || path.contains('@')
        || path.len() > ABSOLUTE_PATH_MAX
        || path.len() - home_length(&path) > longest;
    if bad { Err(Errno::Invalid) } else { Ok(Canonical { path, implied }) }
}

/// Whether a name is a special one, which is no node.
#[must_use]
pub fn is_special(text: &[u8]) -> bool {
    text.starts_with(b"@")
}

/// Whether a byte may be in a path.
const fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@')
}

/// Length of `/local/domain/DOMID/` at a path's start, 0 if it begins otherwise.
fn home_length(path: &str) -> usize {
    let prefix = "/local/domain/";
    let Some(rest) = path.strip_prefix(prefix) else { return 0 };
    match rest.find('/') {
        Some(digits) if digits > 0 && rest.bytes().take(digits).all(|b| b.is_ascii_digit()) => {
            prefix.len() + digits + 1
        }
        _ => 0,
    }
}

/// A path's names, from the root down; none for the root.
pub fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

/// The path of a node's parent; the root is its own.
#[must_use]
pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => path.get(..at).unwrap_or("/"),
    }
}

/// The last name of a path.
#[must_use]
pub fn last_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The path of a child.
#[must_use]
pub fn child(path: &str, name: &str) -> Path {
    if path == "/" { format!("/{name}").into() } else { format!("{path}/{name}").into() }
}

/// A path and all above it, from the path up to the root; a special name alone.
pub fn upwards(path: &str) -> impl Iterator<Item = &str> {
    let mut next = Some(path);
    std::iter::from_fn(move || {
        let now = next?;
        next = (now != "/" && now.starts_with('/')).then(|| parent(now));
        Some(now)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_below_its_clients_home() {
        let found = canonical(b"device/vif", 7, 2048).unwrap();
        assert_eq!(&*found.path, "/local/domain/7/device/vif");
        assert_eq!(found.path.get(found.implied..), Some("device/vif"));
    }

    #[test]
    fn what_is_no_path_is_refused() {
        let long = [b'a'; 3000];
        for text in ["", "/a/", "//", "/a//b", "/a b", "/a\u{e9}", "@x", "/a@b", "a/"] {
            assert_eq!(canonical(text.as_bytes(), 0, 2048), Err(Errno::Invalid), "{text}");
        }
        assert_eq!(canonical(&long, 0, 2048), Err(Errno::Invalid));
        assert!(canonical(&long[..2048], 0, 2048).is_ok());
    }

    #[test]
    fn upwards_ends_at_the_root() {
        assert_eq!(upwards("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(upwards("/").collect::<Vec<_>>(), ["/"]);
        assert_eq!(upwards("@releaseDomain").collect::<Vec<_>>(), ["@releaseDomain"]);
    }
}
