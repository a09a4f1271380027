//! `top`, which is also `xentop`: looks again and again, and shows each time what changed.

mod fetch;
mod keys;

use crate::cli::options::Parsed;
use crate::failure::{Failure, OrFail as _, code};
use crate::format::top::{self, Order, Sample, Shown};
use crate::format::{self, time};
use crate::output;
use crate::session::Session;
use crate::table::Outcome;
use keys::{Key, Terminal};
use std::time::Duration;

/// Time between two looks, unless told otherwise.
const DELAY: u64 = 3;
/// More seconds than anybody waits.
const DELAY_MAX: u64 = 86_400;

/// How it goes on.
struct View {
    shown: Shown,
    order: Order,
    delay: Duration,
    left: Option<u64>,
    json: bool,
}

/// `xl top`.
pub fn top(session: &mut Session, parsed: &Parsed) -> Outcome {
    if parsed.flag("version") {
        output::print(&format!("xentop (Ferroxen) {}\n", env!("CARGO_PKG_VERSION")));
        return Ok(0);
    }
    let mut view = View {
        shown: Shown {
            nets: parsed.flag("networks"),
            vbds: parsed.flag("vbds"),
            vcpus: parsed.flag("vcpus"),
            repeat: parsed.flag("repeat-header"),
            full: parsed.flag("full-name"),
            dom0_first: parsed.flag("dom0-first"),
        },
        order: Order::default(),
        delay: Duration::from_secs(number(parsed, "delay")?.unwrap_or(DELAY).min(DELAY_MAX)),
        left: number(parsed, "iterations")?,
        json: parsed.json(),
    };
    if parsed.flag("batch") || view.json {
        batch(session, &mut view)
    } else {
        live(session, &mut view)
    }
}

fn number(parsed: &Parsed, option: &str) -> Result<Option<u64>, Failure> {
    let Some(text) = parsed.value(option) else { return Ok(None) };
    let failed = || format!("--{option} needs a number, not {text}");
    text.parse().map(Some).or_fail(failed).map_err(|failure| failure.code(code::USAGE))
}

/// The next look, compared with the one before.
fn look(session: &mut Session, view: &View, before: &Sample) -> Result<Sample, Failure> {
    let mut sample = fetch::sample(session, view.shown)?;
    top::compare(&mut sample, before);
    top::sort(&mut sample, view.order, view.shown.dom0_first);
    Ok(sample)
}

fn batch(session: &mut Session, view: &mut View) -> Outcome {
    let mut before = Sample::default();
    while view.left != Some(0) {
        let sample = look(session, view, &before)?;
        output::print(&if view.json {
            format::json::ours(&top::json(&sample))
        } else {
            top::table(&sample, view.shown)
        });
        before = sample;
        view.left = view.left.map(|left| left.saturating_sub(1));
        if view.left != Some(0) {
            std::thread::sleep(view.delay);
        }
    }
    Ok(0)
}

fn live(session: &mut Session, view: &mut View) -> Outcome {
    let terminal = Terminal::open()
        .or_fail(|| "cannot show a live view".to_owned())
        .map_err(|failure| failure.help("without a terminal use batch mode: -b, with -i COUNT"))?;
    let mut before = Sample::default();
    while view.left != Some(0) {
        let sample = look(session, view, &before)?;
        terminal.show(&page(&sample, view));
        before = sample;
        view.left = view.left.map(|left| left.saturating_sub(1));
        if view.left == Some(0) {
            break;
        }
        match terminal.key(view.delay) {
            Key::Quit => break,
            Key::Letter(letter) => change(view, letter),
            Key::None => {}
        }
    }
    // What comes next does not begin in the page's last line.
    output::print("\n");
    Ok(0)
}

/// What a key changes.
fn change(view: &mut View, letter: char) {
    let shown = &mut view.shown;
    match letter.to_ascii_lowercase() {
        'n' => shown.nets = !shown.nets,
        'b' | 'x' => shown.vbds = !shown.vbds,
        'v' => shown.vcpus = !shown.vcpus,
        'r' => shown.repeat = !shown.repeat,
        'f' => shown.full = !shown.full,
        'z' => shown.dom0_first = !shown.dom0_first,
        's' => view.order = view.order.next(),
        '+' => view.delay = view.delay.saturating_add(Duration::from_secs(1)),
        '-' if view.delay > Duration::from_secs(1) => {
            view.delay = view.delay.saturating_sub(Duration::from_secs(1));
        }
        _ => {}
    }
}

fn page(sample: &Sample, view: &View) -> String {
    let now = time::utc(time::now());
    let clock = now.split(' ').nth(1).unwrap_or_default();
    let table = top::table(sample, view.shown);
    let keys = format!(
        "Delay {}s (+/-)  Networks  vBds  Vcpus  Repeat header  Full names  dom0 first (Z)  \
         Sort order ({})  Quit",
        view.delay.as_secs(),
        view.order.name()
    );
    format!("{}{table}\n{keys}\n", top::summary(sample, clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> View {
        View {
            shown: Shown::default(),
            order: Order::default(),
            delay: Duration::from_secs(2),
            left: None,
            json: false,
        }
    }

    #[test]
    fn keys_turn_lines_on_and_off_again() {
        let mut view = view();
        change(&mut view, 'N');
        assert!(view.shown.nets);
        change(&mut view, 'n');
        assert!(!view.shown.nets);
    }

    #[test]
    fn the_delay_never_goes_below_a_second() {
        let mut view = view();
        for _ in 0..5 {
            change(&mut view, '-');
        }
        assert_eq!(view.delay, Duration::from_secs(1));
    }

    #[test]
    fn the_page_has_the_summary_over_the_table_and_the_keys_below() {
        let text = page(&Sample::default(), &view());
        assert!(text.starts_with("xentop - "), "{text}");
        assert!(text.contains("\nMem: 0k total, 0k used, 0k free    CPUs: 0 @ 0MHz\n"), "{text}");
        assert!(text.ends_with("Sort order (NAME)  Quit\n"), "{text}");
    }
}
