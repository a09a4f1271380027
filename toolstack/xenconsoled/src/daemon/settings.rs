//! What the store says about a guest's console.

use crate::backlog::LIMIT_DEFAULT;
use crate::link::Link;

/// A console that is ours to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The frame of the ring's page in the guest.
    pub frame: u64,
    /// The guest's port that waits for us.
    pub port: u32,
    /// The most bytes to keep while nobody reads.
    pub limit: usize,
}

/// A node that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} is {value:?}, which is not {expected}")]
pub struct Nonsense {
    node: String,
    value: String,
    expected: &'static str,
}

/// The directory of a guest's first console.
#[must_use]
pub fn directory(domid: u16) -> String {
    format!("/local/domain/{domid}/console")
}

/// Reads a guest's settings; `None` if there is no console there, not yet, or not for us.
///
/// # Errors
/// A node makes no sense.
pub fn read(link: &mut Link, domid: u16) -> Result<Option<Settings>, Nonsense> {
    let directory = directory(domid);
    from_nodes(&directory, |node| link.read(&format!("{directory}/{node}")))
}

fn from_nodes(
    directory: &str,
    mut node: impl FnMut(&str) -> Option<String>,
) -> Result<Option<Settings>, Nonsense> {
    let Some(frame) = node("ring-ref") else { return Ok(None) };
    let Some(port) = node("port") else { return Ok(None) };
    if node("type").is_some_and(|kind| kind != "xenconsoled") {
        return Ok(None);
    }
    let nonsense = |name: &str, value: &str, expected| {
        let node = format!("{directory}/{name}");
        Nonsense { node, value: value.chars().take(64).collect(), expected }
    };
    let frame_number = frame.parse().map_err(|_| nonsense("ring-ref", &frame, "a frame's number"));
    let port_number = match port.parse() {
        Ok(number) if number > 0 => number,
        _ => return Err(nonsense("port", &port, "an event channel's number")),
    };
    let limit = match node("limit") {
        None => LIMIT_DEFAULT,
        Some(text) => text.parse().map_err(|_| nonsense("limit", &text, "a number of bytes"))?,
    };
    Ok(Some(Settings { frame: frame_number?, port: port_number, limit }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(nodes: &[(&str, &str)]) -> Result<Option<Settings>, String> {
        let find = |name: &str| nodes.iter().find(|n| n.0 == name).map(|n| n.1.to_owned());
        from_nodes("/c", find).map_err(|e| e.to_string())
    }

    #[test]
    fn what_the_toolstack_writes_is_understood_and_others_consoles_are_left_alone() {
        let full = [("ring-ref", "1044476"), ("port", "2"), ("limit", "1048576")];
        let expected = Settings { frame: 1_044_476, port: 2, limit: 1 << 20 };
        assert_eq!(read(&full), Ok(Some(expected.clone())));
        assert_eq!(read(&full[..2]), Ok(Some(expected.clone())));
        assert_eq!(read(&full[..1]), Ok(None));
        let ours = [full.as_slice(), &[("type", "xenconsoled")]].concat();
        assert_eq!(read(&ours), Ok(Some(expected)));
        let others = [full.as_slice(), &[("type", "ioemu")]].concat();
        assert_eq!(read(&others), Ok(None));
    }

    #[test]
    fn nonsense_is_named_with_its_node_and_value() {
        for (ring, port, limit, message) in [
            ("x", "2", "1", "/c/ring-ref is \"x\", which is not a frame's number"),
            ("-1", "2", "1", "/c/ring-ref is \"-1\", which is not a frame's number"),
            ("5", "0", "1", "/c/port is \"0\", which is not an event channel's number"),
            (
                "5",
                "99999999999",
                "1",
                "/c/port is \"99999999999\", which is not an event channel's number",
            ),
            ("5", "2", "", "/c/limit is \"\", which is not a number of bytes"),
        ] {
            let nodes = [("ring-ref", ring), ("port", port), ("limit", limit)];
            assert_eq!(read(&nodes), Err(message.to_owned()));
        }
    }
}
