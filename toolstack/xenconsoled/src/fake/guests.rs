//! Guests and a hypervisor that are data.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Read, Write};
use std::mem::offset_of;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};

use abi::io::ConsoleInterface;

use super::SharedPage;
use crate::daemon::platform::{Domain, Platform, Port};
use crate::ring::{INPUT_SIZE, OUTPUT_SIZE, Page};

/// What the fake hypervisor refuses.
#[derive(Debug, thiserror::Error)]
#[error("refused: {0}")]
pub struct Refused(&'static str);

/// The port of a guest's console.
pub const REMOTE_PORT: u32 = 2;
/// The frame of a guest's console.
pub const FRAME: u64 = 100;

#[derive(Default)]
struct State {
    domains: BTreeMap<u16, (Domain, SharedPage)>,
    /// Ports of ours and whose they are.
    bound: BTreeMap<u32, u16>,
    masked: BTreeSet<u32>,
    pending: BTreeSet<u32>,
    next_port: u32,
    fired: VecDeque<u32>,
    /// How often each guest's events were taken.
    taken: BTreeMap<u16, usize>,
    log: Vec<u8>,
    log_port: Option<u32>,
}

/// All guests: shared by the machines of daemons that come one after the other.
#[derive(Clone, Default)]
pub struct Guests(Arc<Mutex<State>>, Arc<Mutex<Option<UnixStream>>>);

impl Guests {
    /// Makes a domain.
    pub fn create(&self, domid: u16) -> FakeGuest {
        let page = SharedPage::new();
        let handle = [domid as u8; 16];
        let domain = Domain { domid, handle, dying: false };
        self.0.lock().unwrap().domains.insert(domid, (domain, page.clone()));
        FakeGuest { domid, page, guests: self.clone() }
    }

    /// Ends a domain.
    pub fn destroy(&self, domid: u16) {
        self.0.lock().unwrap().domains.remove(&domid);
    }

    /// The machine that a daemon has. What the last one had bound is free again.
    pub fn machine(&self) -> FakeMachine {
        let mut state = self.0.lock().unwrap();
        state.bound.clear();
        state.pending.clear();
        state.masked.clear();
        state.fired.clear();
        let (wakes, sender) = UnixStream::pair().unwrap();
        wakes.set_nonblocking(true).unwrap();
        sender.set_nonblocking(true).unwrap();
        *self.1.lock().unwrap() = Some(sender);
        drop(state);
        FakeMachine { guests: self.clone(), wakes }
    }

    /// The hypervisor logs something.
    pub fn log(&self, text: &str) {
        let port = {
            let mut state = self.0.lock().unwrap();
            state.log.extend(text.as_bytes());
            state.log_port
        };
        port.into_iter().for_each(|port| self.fire(port));
    }

    /// How often a guest's event was taken.
    pub fn taken(&self, domid: u16) -> usize {
        self.0.lock().unwrap().taken.get(&domid).copied().unwrap_or(0)
    }

    /// Whether a guest's event channel is bound.
    pub fn is_bound(&self, domid: u16) -> bool {
        self.0.lock().unwrap().bound.values().any(|d| *d == domid)
    }

    fn fire(&self, port: u32) {
        let mut state = self.0.lock().unwrap();
        state.pending.insert(port);
        self.deliver(&mut state, port);
    }

    fn deliver(&self, state: &mut State, port: u32) {
        if !state.masked.contains(&port) && state.pending.remove(&port) {
            state.masked.insert(port);
            state.fired.push_back(port);
            if let Some(mut sender) = self.1.lock().unwrap().as_ref() {
                let _ = sender.write(&[0]);
            }
        }
    }
}

/// A guest's side.
pub struct FakeGuest {
    /// Its number.
    pub domid: u16,
    /// Its page.
    pub page: SharedPage,
    guests: Guests,
}

impl FakeGuest {
    /// Tells the daemon to look, as real guests do after each step.
    pub fn notify(&self) {
        let port = {
            let state = self.guests.0.lock().unwrap();
            state.bound.iter().find(|(_, d)| **d == self.domid).map(|(port, _)| *port)
        };
        port.into_iter().for_each(|port| self.guests.fire(port));
    }

    /// Writes as much as fits. How much that was.
    pub fn write(&self, bytes: &[u8]) -> usize {
        let (cons, prod) = (
            self.page.load(offset_of!(ConsoleInterface, out_cons)),
            self.page.load(offset_of!(ConsoleInterface, out_prod)),
        );
        let length = bytes.len().min(OUTPUT_SIZE.saturating_sub(prod.wrapping_sub(cons) as usize));
        for (i, byte) in bytes[..length].iter().enumerate() {
            let at = (prod as usize + i) % OUTPUT_SIZE;
            self.page.write(offset_of!(ConsoleInterface, output) + at, &[*byte]);
        }
        self.page.store(offset_of!(ConsoleInterface, out_prod), prod.wrapping_add(length as u32));
        self.notify();
        length
    }

    /// Reads what is there.
    pub fn read(&self) -> Vec<u8> {
        let (cons, prod) = (
            self.page.load(offset_of!(ConsoleInterface, in_cons)),
            self.page.load(offset_of!(ConsoleInterface, in_prod)),
        );
        let mut bytes = vec![0; INPUT_SIZE.min(prod.wrapping_sub(cons) as usize)];
        for (i, byte) in bytes.iter_mut().enumerate() {
            let at = (cons as usize + i) % INPUT_SIZE;
            let from = offset_of!(ConsoleInterface, input) + at;
            self.page.read(from, std::slice::from_mut(byte));
        }
        self.page.store(offset_of!(ConsoleInterface, in_cons), prod);
        self.notify();
        bytes
    }
}

/// What a daemon sees.
pub struct FakeMachine {
    guests: Guests,
    wakes: UnixStream,
}

impl Platform for FakeMachine {
    type Page = SharedPage;
    type Error = Refused;

    fn domains(&mut self) -> Result<Vec<Domain>, Refused> {
        Ok(self.guests.0.lock().unwrap().domains.values().map(|(d, _)| *d).collect())
    }

    fn map(&mut self, domid: u16, frame: u64) -> Result<SharedPage, Refused> {
        let state = self.guests.0.lock().unwrap();
        let (_, page) = state.domains.get(&domid).ok_or(Refused("no such domain"))?;
        (frame == FRAME).then(|| page.clone()).ok_or(Refused("no such frame"))
    }

    fn bind(&mut self, domid: u16, remote: u32) -> Result<Port, Refused> {
        let mut state = self.guests.0.lock().unwrap();
        if remote != REMOTE_PORT || state.bound.values().any(|d| *d == domid) {
            return Err(Refused("no port for us"));
        }
        state.next_port += 1;
        let port = state.next_port;
        state.bound.insert(port, domid);
        // As the hypervisor does: what was sent before may be lost.
        state.pending.insert(port);
        self.guests.deliver(&mut state, port);
        Ok(Port(port))
    }

    fn bind_hypervisor_log(&mut self) -> Result<Port, Refused> {
        self.guests.0.lock().unwrap().log_port = Some(1 << 20);
        Ok(Port(1 << 20))
    }

    fn unbind(&mut self, port: Port) {
        let mut state = self.guests.0.lock().unwrap();
        state.bound.remove(&port.0);
        state.fired.retain(|fired| *fired != port.0);
    }

    fn notify(&mut self, _port: Port) {}

    fn fired(&mut self) -> Result<Option<Port>, Refused> {
        let mut state = self.guests.0.lock().unwrap();
        let port = state.fired.pop_front();
        if let Some(domid) = port.and_then(|port| state.bound.get(&port).copied()) {
            *state.taken.entry(domid).or_default() += 1;
        }
        if port.is_none() {
            let mut bytes = [0; 64];
            while matches!(self.wakes.read(&mut bytes), Ok(1..)) {}
        }
        Ok(port.map(Port))
    }

    fn unmask(&mut self, port: Port) {
        let mut state = self.guests.0.lock().unwrap();
        state.masked.remove(&port.0);
        self.guests.deliver(&mut state, port.0);
    }

    fn events(&self) -> BorrowedFd<'_> {
        self.wakes.as_fd()
    }

    fn hypervisor_log(&mut self, index: u32) -> Result<(Vec<u8>, u32), Refused> {
        let state = self.guests.0.lock().unwrap();
        let rest = state.log.get(index as usize..).unwrap_or_default();
        Ok((rest.to_vec(), index + rest.len() as u32))
    }
}
