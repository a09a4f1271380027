//! `xenstore-ls`: the tree, a node a line.

use crate::options::Options;
use crate::text::escape;
use std::io::{self, Write};
use xenstore::{Access, Client, Error, MessageType, Permission};

/// Columns of ` = "..."`.
const TAG: i32 = 8;
/// The column that permissions are aligned to.
const DESIRED: i32 = 60;

/// How lines look.
struct Layout {
    flat: bool,
    permissions: bool,
    /// Columns of a line; negative ones stand for no limit, as a terminal without size has them.
    width: i32,
    desired: i32,
}

impl Layout {
    fn of(options: &Options) -> Self {
        let permissions = options.prefix;
        if options.flat {
            return Self { flat: true, permissions, width: i32::MAX / 2, desired: 0 };
        }
        let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
        let width = size.map_or(80, |size| i32::from(size.ws_col) - 2);
        Self { flat: false, permissions, width, desired: DESIRED }
    }
}

/// Prints what is below a path.
///
/// # Errors
/// The daemon's, with what failed; or standard output's.
pub fn ls(
    client: &mut Client,
    options: &Options,
    out: &mut dyn Write,
) -> Result<(), super::commands::Failed> {
    let path = options.words.first().map_or("/", String::as_str);
    let layout = Layout::of(options);
    let names = client
        .list(path)
        .map_err(|error| super::commands::Failed::on(format!("xs_directory ({path})"), error))?;
    below(client, &layout, path, names, 0, out)
}

/// Prints the children of a node, each with what is below it. Their values and their own children
/// are asked for all at once.
fn below(
    client: &mut Client,
    layout: &Layout,
    path: &str,
    names: Vec<String>,
    depth: usize,
    out: &mut dyn Write,
) -> Result<(), super::commands::Failed> {
    let base = if path.ends_with('/') { path.to_owned() } else { format!("{path}/") };
    let paths: Vec<String> = names.iter().map(|name| format!("{base}{name}")).collect();
    let kinds: &[MessageType] = if layout.permissions {
        &[MessageType::Read, MessageType::Directory, MessageType::GetPerms]
    } else {
        &[MessageType::Read, MessageType::Directory]
    };
    let requests: Vec<_> = paths
        .iter()
        .flat_map(|path| kinds.iter().map(move |kind| (*kind, path.as_str())))
        .collect();
    let answers = client
        .batch(&requests)
        .map_err(|error| super::commands::Failed::on(format!("xs_directory ({path})"), error))?;
    let mut answers = answers.into_iter();
    for (path, name) in paths.iter().zip(&names) {
        let (Some(value), Some(children)) = (answers.next(), answers.next()) else { break };
        let mut width = print_name(layout, path, name, depth, out)?;
        print_value(layout, value.ok().as_deref(), &mut width, out)?;
        if layout.permissions
            && let Some(list) = answers.next()
        {
            print_permissions(path, list, out)?;
        }
        out.write_all(b"\n")?;
        let children = match children {
            Ok(children) => split(&children),
            Err(error) if error.is_not_found() => continue,
            Err(error) if error.errno() == Some(xenstore::Errno::TooBig) => list(client, path)?,
            Err(error) => {
                return Err(super::commands::Failed::on(format!("xs_directory ({path})"), error));
            }
        };
        if !children.is_empty() {
            below(client, layout, path, children, depth + 1, out)?;
        }
    }
    Ok(())
}

fn list(client: &mut Client, path: &str) -> Result<Vec<String>, super::commands::Failed> {
    let names = client
        .try_list(path)
        .map_err(|error| super::commands::Failed::on(format!("xs_directory ({path})"), error))?;
    Ok(names.unwrap_or_default())
}

fn split(names: &[u8]) -> Vec<String> {
    let names = names.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// The cut of a text to a printf precision; a negative one is none.
fn cut(text: &str, precision: i32) -> &str {
    let most = usize::try_from(precision).unwrap_or(usize::MAX);
    text.get(..most).unwrap_or(text)
}

fn print_name(
    layout: &Layout,
    path: &str,
    name: &str,
    depth: usize,
    out: &mut dyn Write,
) -> io::Result<i32> {
    if layout.flat {
        out.write_all(path.as_bytes())?;
        return Ok(0);
    }
    let indent = depth as i32;
    let shown = cut(name, layout.width - TAG - indent);
    write!(out, "{:depth$}{shown}", "")?;
    Ok(indent + shown.len() as i32)
}

fn print_value(
    layout: &Layout,
    value: Option<&[u8]>,
    width: &mut i32,
    out: &mut dyn Write,
) -> io::Result<()> {
    let Some(value) = value else { return out.write_all(b":") };
    let shown = escape(value);
    // Unsigned, so that a terminal without size has room for all.
    let needed = *width as u32 + value.len() as u32 + TAG as u32;
    if (layout.width as u32) < needed {
        let part = cut(&shown, layout.width - TAG - *width);
        return write!(out, " = \"{part}\\...\"");
    }
    write!(out, " = \"{shown}\"")?;
    if layout.permissions {
        *width += shown.len() as i32 + 5;
        out.write_all(b" ")?;
        *width += 1;
        while *width < layout.desired.min(layout.width) {
            out.write_all(if *width & 1 == 1 { b"." } else { b" " })?;
            *width += 1;
        }
    }
    Ok(())
}

fn print_permissions(
    path: &str,
    list: Result<Vec<u8>, Error>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let entries = list.ok().map(|bytes| {
        let entries = bytes.split(|byte| *byte == 0).filter_map(Permission::parse);
        entries.map(|entry| entry.to_string()).collect::<Vec<_>>()
    });
    match entries {
        Some(entries) => write!(out, "  ({})", entries.join(",")),
        None => {
            eprintln!("xenstore-ls: could not access permissions for {path}");
            Ok(())
        }
    }
}
