//! Random requests of three clients, in transactions and outside, on the server and on a model that is
//! obviously right: one flat map, copied whole for each transaction.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::type_complexity,
    clippy::panic,
    reason = "a test fails by a panic"
)]

mod common;

use common::{Bench, nodes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use xenstore::{Errno, MessageType, Permission, Rights};
use xenstored::restore::Restored;
use xenstored::state_file::bodies;

#[derive(Clone, Debug, PartialEq)]
struct Node {
    value: Vec<u8>,
    list: Vec<Permission>,
    order: u64,
    version: u64,
}

#[derive(Clone, Debug)]
enum Op {
    Write(String, Vec<u8>),
    Mkdir(String),
    Rm(String),
    Chmod(String, Vec<Permission>),
    Read(String),
    List(String),
    Perms(String),
}

type Map = BTreeMap<String, Node>;

fn parent(path: &str) -> String {
    let at = path.rfind('/').unwrap();
    if at == 0 { "/".into() } else { path[..at].into() }
}

/// What a domain may do by a list: read, write, own.
fn allowed(by: u16, list: &[Permission]) -> (bool, bool, bool) {
    if by == 0 || by == list[0].domid {
        return (true, true, true);
    }
    let own = list[1..].iter().find(|entry| entry.domid == by).unwrap_or(&list[0]);
    (own.rights.reads(), own.rights.writes(), false)
}

struct Copy {
    start: Map,
    map: Map,
    used: BTreeSet<String>,
    ops: Vec<Op>,
    fired: Vec<String>,
}

#[derive(Default)]
struct Model {
    map: Map,
    clock: u64,
    open: BTreeMap<(u16, u32), Copy>,
}

impl Model {
    fn one(
        map: &mut Map,
        clock: &mut u64,
        used: &mut BTreeSet<String>,
        fired: &mut Vec<String>,
        by: u16,
        op: &Op,
    ) -> Result<Vec<u8>, Errno> {
        let (path, read, own) = match op {
            Op::Write(path, _) | Op::Mkdir(path) | Op::Rm(path) => (path, false, false),
            Op::Chmod(path, _) => (path, false, true),
            Op::Read(path) | Op::List(path) | Op::Perms(path) => (path, true, false),
        };
        used.insert(path.clone());
        let Some(node) = map.get(path).cloned() else {
            let mut above = parent(path);
            while !map.contains_key(&above) {
                above = parent(&above);
            }
            let (may_read, may_write, _) = allowed(by, &map[&above].list);
            if !(if read { may_read } else { may_write }) {
                return Err(Errno::Access);
            }
            return match op {
                Op::Write(_, value) => {
                    Self::create(map, clock, used, by, path, &above, value);
                    fired.push(path.clone());
                    Ok(b"OK\0".to_vec())
                }
                Op::Mkdir(_) => {
                    Self::create(map, clock, used, by, path, &above, b"");
                    fired.push(path.clone());
                    Ok(b"OK\0".to_vec())
                }
                Op::Rm(_) if above == parent(path) => Ok(b"OK\0".to_vec()),
                _ => Err(Errno::NotFound),
            };
        };
        let (may_read, may_write, may_own) = allowed(by, &node.list);
        if !(if own {
            may_own
        } else if read {
            may_read
        } else {
            may_write
        }) {
            return Err(Errno::Access);
        }
        *clock += 1;
        match op {
            Op::Read(_) => return Ok(node.value),
            Op::Perms(_) => {
                return Ok(node.list.iter().flat_map(|e| format!("{e}\0").into_bytes()).collect());
            }
            Op::List(_) => {
                let mut children: Vec<_> =
                    map.iter().filter(|(p, _)| *p != "/" && parent(p) == *path).collect();
                children.sort_by_key(|(_, node)| node.order);
                let name = |p: &str| p.rsplit('/').next().unwrap().to_owned() + "\0";
                return Ok(children.iter().flat_map(|(p, _)| name(p).into_bytes()).collect());
            }
            Op::Mkdir(_) => return Ok(b"OK\0".to_vec()),
            Op::Write(_, value) => {
                let node = map.get_mut(path).unwrap();
                (node.value, node.version) = (value.clone(), *clock);
            }
            Op::Chmod(_, list) => {
                if by != 0 && list[0].domid != node.list[0].domid {
                    return Err(Errno::NotPermitted);
                }
                let node = map.get_mut(path).unwrap();
                (node.list, node.version) = (list.clone(), *clock);
            }
            Op::Rm(_) => {
                if path == "/" {
                    return Err(Errno::Invalid);
                }
                used.insert(parent(path));
                map.get_mut(&parent(path)).unwrap().version = *clock;
                let below = format!("{path}/");
                map.retain(|p, _| p != path && !p.starts_with(&below));
            }
        }
        fired.push(path.clone());
        Ok(b"OK\0".to_vec())
    }

    fn create(
        map: &mut Map,
        clock: &mut u64,
        used: &mut BTreeSet<String>,
        by: u16,
        path: &str,
        above: &str,
        value: &[u8],
    ) {
        let mut list = map[above].list.clone();
        if by != 0 {
            list[0].domid = by;
        }
        used.insert(above.to_owned());
        let mut missing = vec![path.to_owned()];
        while parent(missing.last().unwrap()) != above {
            missing.push(parent(missing.last().unwrap()));
        }
        for now in missing.into_iter().rev() {
            *clock += 1;
            used.insert(now.clone());
            map.get_mut(&parent(&now)).unwrap().version = *clock;
            let value = if now == path { value.to_vec() } else { Vec::new() };
            let node = Node { value, list: list.clone(), order: *clock, version: *clock };
            map.insert(now, node);
        }
    }

    fn run(&mut self, by: u16, transaction: u32, op: &Op) -> (Result<Vec<u8>, Errno>, Vec<String>) {
        let mut fired = Vec::new();
        if transaction == 0 {
            let used = &mut BTreeSet::new();
            let answer = Self::one(&mut self.map, &mut self.clock, used, &mut fired, by, op);
            return (answer, fired);
        }
        let Some(open) = self.open.get_mut(&(by, transaction)) else {
            return (Err(Errno::NotFound), fired);
        };
        let (map, used, clock) = (&mut open.map, &mut open.used, &mut self.clock);
        let answer = Self::one(map, clock, used, &mut open.fired, by, op);
        let changes = !matches!(op, Op::Read(_) | Op::List(_) | Op::Perms(_));
        if changes && answer.is_ok() {
            open.ops.push(op.clone());
        }
        (answer, fired)
    }

    fn start(&mut self, by: u16, transaction: u32) {
        let (start, map) = (self.map.clone(), self.map.clone());
        let (used, ops, fired) = (BTreeSet::new(), Vec::new(), Vec::new());
        self.open.insert((by, transaction), Copy { start, map, used, ops, fired });
    }

    fn end(&mut self, by: u16, transaction: u32, commit: bool) -> (Result<(), Errno>, Vec<String>) {
        let Some(open) = self.open.remove(&(by, transaction)) else {
            return (Err(Errno::NotFound), Vec::new());
        };
        if !commit || open.ops.is_empty() {
            return (Ok(()), Vec::new());
        }
        let version = |map: &Map, path: &str| map.get(path).map(|node| node.version);
        if open.used.iter().any(|path| version(&open.start, path) != version(&self.map, path)) {
            return (Err(Errno::Again), Vec::new());
        }
        let mut fired = Vec::new();
        for op in &open.ops {
            let used = &mut BTreeSet::new();
            Self::one(&mut self.map, &mut self.clock, used, &mut fired, by, op).unwrap();
        }
        let mut seen = BTreeSet::new();
        fired.retain(|path| seen.insert(path.clone()));
        (Ok(()), fired)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Op(u16, u32, Op),
    Start(u16),
    End(u16, u32, bool),
}

fn path() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/a/d", "/e", "/e/f/g", "/tool"])
        .prop_map(str::to_owned)
}

fn list() -> impl Strategy<Value = Vec<Permission>> {
    let rights =
        prop::sample::select(vec![Rights::None, Rights::Read, Rights::Write, Rights::Both]);
    prop::collection::vec((0u16..3, rights).prop_map(|(d, r)| Permission::new(d, r)), 1..4)
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (path(), prop::collection::vec(any::<u8>(), 0..4)).prop_map(|(p, v)| Op::Write(p, v)),
        2 => path().prop_map(Op::Mkdir),
        1 => path().prop_map(Op::Rm),
        2 => (path(), list()).prop_map(|(p, l)| Op::Chmod(p, l)),
        2 => path().prop_map(Op::Read),
        2 => path().prop_map(Op::List),
        1 => path().prop_map(Op::Perms),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let transaction = prop_oneof![2 => Just(0u32), 3 => 1u32..4];
    let domid = prop_oneof![2 => Just(0u16), 1 => 1u16..3];
    prop_oneof![
        10 => (domid, transaction, op()).prop_map(|(d, t, o)| Step::Op(d, t, o)),
        2 => (0u16..3).prop_map(Step::Start),
        2 => (0u16..3, 1u32..4, any::<bool>()).prop_map(|(d, t, c)| Step::End(d, t, c)),
    ]
}

fn message(op: &Op) -> (MessageType, Vec<u8>) {
    let with = |path: &String, rest: &[u8]| [path.as_bytes(), b"\0", rest].concat();
    match op {
        Op::Write(path, value) => (MessageType::Write, with(path, value)),
        Op::Mkdir(path) => (MessageType::Mkdir, with(path, b"")),
        Op::Rm(path) => (MessageType::Rm, with(path, b"")),
        Op::Read(path) => (MessageType::Read, with(path, b"")),
        Op::List(path) => (MessageType::Directory, with(path, b"")),
        Op::Perms(path) => (MessageType::GetPerms, with(path, b"")),
        Op::Chmod(path, list) => {
            let list: String = list.iter().map(|entry| format!("{entry}\0")).collect();
            (MessageType::SetPerms, with(path, list.as_bytes()))
        }
    }
}

fn first(bench: &Bench) -> Model {
    let mut model = Model::default();
    for (path, value, list) in bench.nodes() {
        model.clock += 1;
        let list = list.split(',').map(|e| Permission::parse(e.as_bytes()).unwrap()).collect();
        let node = Node { value, list, order: model.clock, version: model.clock };
        model.map.insert(path, node);
    }
    model
}

fn compare(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(&[1, 2]);
    let watcher = bench.server.add_client(xenstored::rights::Subject::new(0), false);
    bench.ask(watcher, MessageType::Watch, 0, b"/\0all\0").0.unwrap();
    bench.take(watcher);
    let mut model = first(&bench);
    for step in steps {
        let from = |bench: &Bench, by: u16| if by == 0 { bench.tool } else { bench.domain(by) };
        let expected = match step {
            Step::Op(by, transaction, op) => {
                let (kind, payload) = message(op);
                let client = from(&bench, *by);
                let (answer, _) = bench.ask(client, kind, *transaction, &payload);
                let (expected, fired) = model.run(*by, *transaction, op);
                prop_assert_eq!(answer, expected, "{:?}", step);
                fired
            }
            Step::Start(by) => {
                let client = from(&bench, *by);
                let (answer, _) = bench.ask(client, MessageType::TransactionStart, 0, b"\0");
                if let Ok(number) = answer {
                    let number = String::from_utf8(number).unwrap();
                    model.start(*by, number.trim_end_matches('\0').parse().unwrap());
                }
                Vec::new()
            }
            Step::End(by, transaction, commit) => {
                let client = from(&bench, *by);
                let how: &[u8] = if *commit { b"T\0" } else { b"F\0" };
                let (answer, _) = bench.ask(client, MessageType::TransactionEnd, *transaction, how);
                let (expected, fired) = model.end(*by, *transaction, *commit);
                prop_assert_eq!(answer.map(drop), expected, "{:?}", step);
                fired
            }
        };
        prop_assert_eq!(bench.events(watcher), expected, "{:?}", step);
    }
    finish(bench, &model)
}

/// The same nodes as the model's, the same counts as counted anew, and the same from the journal.
fn finish(mut bench: Bench, model: &Model) -> Result<(), TestCaseError> {
    let mut found: Vec<_> = bench.nodes();
    let restored = Restored::read(&bodies(&bench.frames)).finish(&mut bench.fake).0;
    prop_assert_eq!(nodes(&restored), found.clone());
    prop_assert_eq!(&restored.holdings, &bench.server.holdings);
    found.sort();
    let text = |list: &[Permission]| {
        list.iter().map(|entry| entry.to_string()).collect::<Vec<_>>().join(",")
    };
    let expected: Vec<_> = model
        .map
        .iter()
        .map(|(path, node)| (path.clone(), node.value.clone(), text(&node.list)))
        .collect();
    prop_assert_eq!(found, expected);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn every_answer_and_event_and_the_journal_are_the_models(
        steps in prop::collection::vec(step(), 1..60)
    ) {
        compare(&steps)?;
    }

    #[test]
    fn bytes_of_any_kind_are_answered_and_change_no_counts(
        messages in prop::collection::vec(
            (0u32..25, 0u32..3, prop::collection::vec(any::<u8>(), 0..64), 0u16..2), 1..60)
    ) {
        let mut bench = Bench::new(&[1]);
        for (kind, transaction, payload, by) in messages {
            let from = if by == 0 { bench.tool } else { bench.domain(1) };
            let length = payload.len() as u32;
            let header = xenstore::wire::Header { kind, request: 3, transaction, length };
            bench.server.handle(from, &header, &payload, &mut bench.fake);
            let answers = bench.take(from);
            prop_assert!(answers.iter().any(|(header, _)| header.request == 3));
        }
        let counted = bench.server.holdings.clone();
        let header = xenstore::wire::Header { kind: 0, request: 3, transaction: 0, length: 6 };
        bench.server.handle(bench.tool, &header, b"check\0", &mut bench.fake);
        prop_assert_eq!(counted, bench.server.holdings);
    }
}
