//! The simulation. Time jumps from one event to the next.

use crate::{Handle, Next, Queue, QueueId, Share, Unit, Vcpus};
use abi::CpuId;

pub const MS: u64 = 1_000_000;

/// What a vCPU does.
#[derive(Clone, Copy, Debug)]
pub enum Behaviour {
    /// Computes for ever.
    Hog,
    /// Computes for the first time, sleeps for the second, in nanoseconds.
    Periodic(u64, u64),
}

pub struct Table {
    pub units: Vec<Unit>,
    pub shares: Vec<Share>,
    /// The domain of each unit.
    pub domain: Vec<usize>,
}

impl Vcpus for Table {
    fn unit(&self, vcpu: Handle) -> Option<&Unit> {
        self.units.get(vcpu.0 as usize)
    }
    fn share(&self, vcpu: Handle) -> Option<&Share> {
        self.shares.get(*self.domain.get(vcpu.0 as usize)?)
    }
}

#[derive(Clone, Copy)]
struct Cpu {
    queue: usize,
    running: Option<Handle>,
    until: u64,
    /// A unit that it has not let go of, and when it does.
    leaving: Option<(Handle, u64)>,
}

struct Worker {
    behaviour: Behaviour,
    /// Computing left until it sleeps.
    left: u64,
    wake_at: Option<u64>,
}

pub struct Machine {
    pub now: u64,
    pub table: Table,
    pub queues: Vec<Queue>,
    cpus: Vec<Cpu>,
    workers: Vec<Worker>,
    /// How long a CPU takes to let go of a unit.
    pub switch_time: u64,
    /// How much later than decided a CPU's timer fires.
    pub late: u64,
    /// The longest that a unit was seen to wait.
    pub longest_wait: Vec<u64>,
    waiting_since: Vec<u64>,
    last_balance: u64,
}

impl Machine {
    /// CPUs numbered through, `cpus` for each queue.
    pub fn new(queues: usize, cpus: usize) -> Machine {
        let mut m = Machine {
            now: 1_000 * MS,
            table: Table { units: vec![], shares: vec![], domain: vec![] },
            queues: (0..queues).map(|q| Queue::new(QueueId(q as u32))).collect(),
            cpus: vec![],
            workers: vec![],
            switch_time: 2_000,
            late: 0,
            longest_wait: vec![],
            waiting_since: vec![],
            last_balance: 0,
        };
        for n in 0..queues * cpus {
            m.queues[n / cpus].add_cpu(CpuId(n as u32)).unwrap();
            m.cpus.push(Cpu { queue: n / cpus, running: None, until: u64::MAX, leaving: None });
        }
        m
    }

    pub fn domain(&mut self, weight: u32, cap: u16) -> usize {
        let share = Share::new();
        share.set(weight, cap).unwrap();
        self.table.shares.push(share);
        self.table.shares.len() - 1
    }

    /// A new vCPU, asleep in the first queue.
    pub fn vcpu(&mut self, domain: usize, behaviour: Behaviour) -> Handle {
        let handle = Handle(self.table.units.len() as u32);
        self.table.units.push(Unit::new(self.now));
        self.table.domain.push(domain);
        let left = if let Behaviour::Periodic(run, _) = behaviour { run } else { u64::MAX };
        self.workers.push(Worker { behaviour, left, wake_at: None });
        self.longest_wait.push(0);
        self.waiting_since.push(u64::MAX);
        self.queues[0].insert(&self.table, handle).unwrap();
        handle
    }

    pub fn unit(&self, vcpu: Handle) -> &Unit {
        &self.table.units[vcpu.0 as usize]
    }

    pub fn home(&self, vcpu: Handle) -> usize {
        self.unit(vcpu).home().unwrap().0 as usize
    }

    pub fn running(&self) -> Vec<Option<Handle>> {
        self.cpus.iter().map(|c| c.running).collect()
    }

    /// CPUs that have nothing to run: those that stay so, and those that are about to pick.
    pub fn idle_cpus(&self) -> (usize, usize) {
        let idle = self.cpus.iter().filter(|c| c.running.is_none());
        let picks = |c: &&Cpu| c.leaving.is_some() || c.until <= self.now;
        let about = idle.clone().filter(picks).count();
        (idle.count() - about, about)
    }

    /// Nanoseconds that the vCPU has been on a CPU.
    pub fn ran(&self, vcpu: Handle) -> u64 {
        self.unit(vcpu).runstate(self.now).time[0]
    }

    /// An operation on the vCPU's queue, and what follows from it.
    pub fn on<R: Into<Option<Next>>>(
        &mut self,
        vcpu: Handle,
        op: impl FnOnce(&mut Queue, &Table, Handle, u64) -> R,
    ) {
        let home = self.home(vcpu);
        let next = op(&mut self.queues[home], &self.table, vcpu, self.now).into();
        self.follow(vcpu, next.unwrap_or(Next::Nothing));
    }

    pub fn wake(&mut self, vcpu: Handle) {
        self.on(vcpu, |q, t, v, now| q.wake(t, v, now));
    }

    fn follow(&mut self, vcpu: Handle, next: Next) {
        match next {
            Next::Nothing => {}
            Next::Kick(cpu) => self.cpus[cpu.0 as usize].until = self.now,
            Next::Rehome => {
                let allowed = self.unit(vcpu).allowed();
                let fits = |q: &Queue| !q.online().and(&allowed).is_empty();
                let Some(to) = self.queues.iter().position(fits) else { return };
                let next = self.migrate(vcpu, to);
                assert_ne!(next, Next::Rehome);
                self.follow(vcpu, next);
            }
        }
    }

    pub fn migrate(&mut self, vcpu: Handle, to: usize) -> Next {
        let home = self.home(vcpu);
        let [a, b] = self.queues.get_disjoint_mut([home, to]).unwrap();
        a.migrate(b, &self.table, vcpu, self.now)
    }

    pub fn retire(&mut self, cpu: u32) {
        let queue = self.cpus[cpu as usize].queue;
        self.queues[queue].retire_cpu(CpuId(cpu));
        self.pick(cpu as usize);
        if let Some((handle, _)) = self.cpus[cpu as usize].leaving.take() {
            self.on(handle, |q, t, v, now| q.saved(t, v, now));
        }
        let next = self.queues[queue].remove_cpu(CpuId(cpu)).unwrap();
        self.cpus[cpu as usize].until = u64::MAX;
        while let Some(handle) = self.queues[queue].evict(&self.table) {
            self.follow(handle, Next::Rehome);
        }
        if let Next::Kick(cpu) = next {
            self.cpus[cpu.0 as usize].until = self.now;
        }
    }

    fn pick(&mut self, n: usize) {
        if let Some((_, until)) = self.cpus[n].leaving {
            // It first has to let go; that is soon.
            self.cpus[n].until = until;
            return;
        }
        let q = self.cpus[n].queue;
        let cpu = CpuId(n as u32);
        let mut d = self.queues[q].pick(&self.table, cpu, self.now);
        if d.next.is_none() && d.left.is_none() {
            for other in (0..self.queues.len()).filter(|&o| o != q) {
                let [a, b] = self.queues.get_disjoint_mut([q, other]).unwrap();
                if a.steal(b, &self.table, cpu, self.now) {
                    d = a.pick(&self.table, cpu, self.now);
                    break;
                }
            }
        }
        assert!(d.until > self.now, "a decision that is over at once");
        if let Some(left) = d.left {
            assert_eq!(self.cpus[n].running, Some(left));
            self.cpus[n].leaving = Some((left, self.now + self.switch_time));
            if !self.unit(left).is_blocked() {
                self.waiting_since[left.0 as usize] = self.now;
            }
        }
        if let Some(next) = d.next {
            let others = self.cpus.iter().enumerate().filter(|(o, _)| *o != n);
            for (o, other) in others {
                assert_ne!(other.running, Some(next), "{next:?} on CPUs {n} and {o}");
                assert_ne!(other.leaving.map(|l| l.0), Some(next), "CPU {o} has not let go");
            }
            assert!(self.unit(next).allowed().contains(cpu), "{next:?} may not run on {n}");
            assert!(self.unit(next).is_runnable());
            assert_eq!(self.unit(next).on_cpu(), Some(cpu));
            let since = self.waiting_since[next.0 as usize];
            let longest = &mut self.longest_wait[next.0 as usize];
            *longest = (*longest).max(self.now.saturating_sub(since));
            self.waiting_since[next.0 as usize] = u64::MAX;
        }
        self.cpus[n].running = d.next;
        // A CPU that is idle looks around for work now and then.
        let idle = if self.queues.len() > 1 { self.now + MS } else { u64::MAX };
        let timer = d.until.saturating_add(self.late);
        self.cpus[n].until = if d.next.is_none() { timer.min(idle) } else { timer };
        if let Some(kick) = d.kick {
            self.cpus[kick.0 as usize].until = self.now;
        }
    }

    /// Lets time pass.
    pub fn run(&mut self, duration: u64) {
        let end = self.now + duration;
        while self.now < end {
            let next = self.next_event().min(end);
            self.advance(next.max(self.now));
            self.events();
        }
    }

    fn next_event(&self) -> u64 {
        let mut next = u64::MAX;
        for cpu in &self.cpus {
            next = next.min(cpu.until);
            next = next.min(cpu.leaving.map_or(u64::MAX, |l| l.1));
            if let Some(h) = cpu.running {
                next = next.min(self.now.saturating_add(self.workers[h.0 as usize].left));
            }
        }
        self.workers.iter().filter_map(|w| w.wake_at).fold(next, u64::min)
    }

    fn advance(&mut self, to: u64) {
        let passed = to - self.now;
        for handle in self.cpus.iter().filter_map(|c| c.running) {
            let worker = &mut self.workers[handle.0 as usize];
            if worker.left != u64::MAX {
                worker.left -= passed;
            }
        }
        self.now = to;
    }

    fn events(&mut self) {
        for n in 0..self.cpus.len() {
            if let Some((handle, _)) = self.cpus[n].leaving.filter(|l| l.1 <= self.now) {
                self.cpus[n].leaving = None;
                self.on(handle, |q, t, v, now| q.saved(t, v, now));
            }
            if let Some(h) = self.cpus[n].running {
                let (now, worker) = (self.now, &mut self.workers[h.0 as usize]);
                if let (0, Behaviour::Periodic(run, sleep)) = (worker.left, worker.behaviour) {
                    worker.left = run;
                    worker.wake_at = Some(now + sleep);
                    self.on(h, |q, t, v, now| q.block(t, v, now));
                }
            }
        }
        for n in 0..self.workers.len() {
            if self.workers[n].wake_at.is_some_and(|at| at <= self.now) {
                self.workers[n].wake_at = None;
                self.waiting_since[n] = self.now;
                self.wake(Handle(n as u32));
            }
        }
        if self.queues.len() > 1 && self.now - self.last_balance > 10 * MS {
            self.last_balance = self.now;
            self.balance();
        }
        for n in 0..self.cpus.len() {
            if self.cpus[n].until <= self.now {
                self.pick(n);
            }
        }
    }

    fn balance(&mut self) {
        for a in 0..self.queues.len() {
            for b in (0..self.queues.len()).filter(|&b| b != a) {
                let [from, to] = self.queues.get_disjoint_mut([a, b]).unwrap();
                if let Next::Kick(cpu) = from.balance(to, &self.table, self.now) {
                    self.cpus[cpu.0 as usize].until = self.now;
                }
            }
        }
    }
}
