//! xlvs as the director of a scenario: the daemon's registry and front, one worker on memory
//! ports, a clock that moves when the scenario says so.

use std::{fmt::Write, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use control::{
    front::{self, Answer, Ask, Desk, Terminal, View},
    load,
    model::Model,
    registry::Registry,
    traffic::Traffic,
};
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    memory::{MemoryFrame, MemoryIo},
    snapshot::{Services, Snapshot},
    stats::Stats,
    worker::Worker,
};
use ipvsadm::{Denial, NoNames, Program};
use oracle::{
    Scenario, Step,
    ground::Port,
    order::Packet,
    packet::frames,
    recording::{Exit, command_lines, connection_lines, exit_lines, pick_lines},
    step::Deed,
};

use crate::ground_box::topology;

/// Milliseconds from one sample of the estimators to the next.
const SAMPLES: u64 = control::traffic::PERIOD.as_millis() as u64;

/// A director that has just come up.
pub(crate) struct Player {
    sysctl: Vec<(String, String)>,
    marks: String,
    mtu: [u16; 2],
    registry: Registry,
    director: Arc<Director>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    stats: Arc<Stats>,
    worker: Worker<MemoryFrame>,
    io: MemoryIo,
    now: Now,
}

impl Player {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let sysctl: Vec<_> = scenario.sysctl.clone().into_iter().collect();
        let marks = marks(scenario);
        let mut registry = Registry::new(model(&sysctl, &marks));
        let limits = Limits {
            connections_v4: 32_768,
            connections_v6: 32_768,
            templates_v4: 1024,
            templates_v6: 1024,
            sources: 64,
            icmp_rate: u32::MAX,
            services: 64,
            servers: 256,
            ..Limits::default()
        };
        let (resolve, _) = crossbeam_channel::bounded(16);
        let director = Arc::new(Director::new(limits, resolve).expect("memory for the tables"));
        let services = registry.compile(&Services::default());
        director.prepare(&services);
        let mtu = [1500; 2];
        let first = Snapshot::new(1, Arc::new(services), Arc::new(topology(mtu, 1)));
        let snapshot = Arc::new(ArcSwap::from_pointee(first));
        let stats = Arc::new(Stats::new(256));
        let worker =
            Worker::new((0, 1), Arc::clone(&director), Arc::clone(&snapshot), Arc::clone(&stats));
        let (io, now) = (MemoryIo::new(2, 256), Now::at_seconds(1));
        let mut player =
            Self { sysctl, marks, mtu, registry, director, snapshot, stats, worker, io, now };
        player.settle();
        player
    }

    /// Does a step; its lines are those of a transcript.
    pub(crate) fn step(&mut self, step: &Step) -> Vec<String> {
        match &step.deed {
            Deed::Ipvsadm { arguments, input } => {
                let (code, out, err) = self.ipvsadm(arguments, input.as_deref());
                // What xlvs has to say beyond ipvsadm's own texts.
                let ours = |line: &&str| !line.starts_with("Warning: ");
                let err: String = err.split_inclusive('\n').filter(ours).collect();
                command_lines(code, &out, &err)
            }
            Deed::Connections => connection_lines(&self.ipvsadm("-Lnc", None).1),
            Deed::Sysctl { name, value } => {
                self.sysctl.retain(|(known, _)| known != name);
                self.sysctl.push((name.clone(), value.clone()));
                self.set_sysctls();
                Vec::new()
            }
            Deed::Mtu { port, size } => {
                self.mtu[port.number()] = *size;
                self.publish();
                Vec::new()
            }
            Deed::Wait(seconds) => {
                self.wait(*seconds);
                Vec::new()
            }
            Deed::Steady { seconds, rate, packet } => {
                self.steady(*seconds, *rate, packet);
                Vec::new()
            }
            Deed::Sample => {
                self.until((self.now.millis / SAMPLES + 1) * SAMPLES + 500);
                Vec::new()
            }
            Deed::Packet(packet) => self.packet(packet),
            Deed::Picks { packets, compact } => {
                let picks: Vec<String> = packets.iter().map(|packet| self.pick(packet)).collect();
                pick_lines(&picks, *compact)
            }
        }
    }

    /// All frames are where they belong.
    pub(crate) fn settled(&self) {
        assert_eq!(self.io.outstanding(), self.worker.held(), "a frame is lost");
    }

    fn wait(&mut self, seconds: u32) {
        self.until(self.now.millis + 1000 * u64::from(seconds));
        self.sweep();
    }

    /// Lets time go by.
    fn until(&mut self, millis: u64) {
        while self.now.millis < millis {
            let before = self.now.millis;
            self.now.millis = millis.min(before + 100);
            self.worker.breathe(&mut self.io, self.now);
            if self.now.millis / SAMPLES != before / SAMPLES {
                self.measure();
            }
        }
    }

    fn steady(&mut self, seconds: u32, rate: u32, packet: &Packet) {
        let begun = self.now.millis;
        for number in 0..seconds * rate {
            self.until(begun + u64::from(1000 * number / rate));
            self.send(packet);
        }
        self.until(begun + u64::from(1000 * seconds));
    }

    /// Expiry comes up to a second late, a kernel's timers do not: lets the sweep pass once more,
    /// ahead of time, for what is due by now.
    fn sweep(&mut self) {
        for ahead in 1..=10 {
            let then = Now { millis: self.now.millis + 100 * ahead };
            self.worker.breathe(&mut self.io, then);
        }
    }

    /// Lets the look at the defences pass that is taken once a second.
    fn settle(&mut self) {
        self.now.millis += 1000;
        self.worker.breathe(&mut self.io, self.now);
    }

    /// What the daemon does every two seconds.
    fn measure(&mut self) {
        let stats = [Arc::clone(&self.stats)];
        let raw = |id| Traffic::raw(&self.director, &stats, id);
        self.registry.ledger.tick(&self.snapshot.load().services, &raw);
        let services = Arc::clone(&self.snapshot.load().services);
        let now = self.now.seconds();
        if self.registry.release(&services, &self.director, &stats, now) {
            self.publish();
        }
    }

    /// Lets a packet in; gives what leaves, and how many frames go to the kernel.
    fn send(&mut self, packet: &Packet) -> (Vec<Exit>, usize) {
        for frame in frames(packet) {
            assert!(self.io.arrive(packet.port.number() as u16, &frame), "no free frame");
        }
        // A second breath lets held frames go that the first one made free.
        self.worker.breathe(&mut self.io, self.now);
        self.worker.breathe(&mut self.io, self.now);
        // Time goes by while packets come, or limits of a second would hold for ever.
        self.now.millis += 1;
        let mut exits = Vec::new();
        while let Some((port, frame)) = self.io.take_sent() {
            exits.push(Exit { port: Port::ALL[usize::from(port)], frame });
        }
        let mut punted = 0;
        while self.io.take_punted().is_some() {
            punted += 1;
        }
        (exits, punted)
    }

    fn packet(&mut self, packet: &Packet) -> Vec<String> {
        let (exits, punted) = self.send(packet);
        let all = frames(packet);
        let arrived = all.first().and_then(|frame| frame.get(14..)).unwrap_or_default();
        let mut lines = exit_lines(&exits, arrived);
        if punted > 0 {
            lines.push("punt".to_owned());
        }
        lines
    }

    fn pick(&mut self, packet: &Packet) -> String {
        let (exits, punted) = self.send(packet);
        match exits.as_slice() {
            [] if punted > 0 => "P".to_owned(),
            [] => "-".to_owned(),
            [exit, ..] => exit.pick(),
        }
    }

    fn ipvsadm(&mut self, arguments: &str, input: Option<&str>) -> (i32, String, String) {
        let words = std::iter::once("ipvsadm").chain(arguments.split_whitespace());
        let argv: Vec<String> =
            words.map(|word| word.trim_matches(['\'', '"']).to_owned()).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal {
            input: &mut input.unwrap_or_default().as_bytes(),
            output: &mut out,
            error: &mut err,
            names: &NoNames,
        };
        let code = front::run(Program::Ipvsadm, &argv, self, &mut terminal).expect("memory");
        let text = |octets| String::from_utf8(octets).expect("text");
        // The size of the kernel's hash table; ours is the number of connections.
        let out = text(out).replace("(size=32768)", "(size=4096)");
        (code.into(), out, text(err))
    }

    fn publish(&mut self) {
        let before = self.snapshot.load_full();
        let services = self.registry.compile(&before.services);
        self.director.retire(&services);
        let generation = before.generation + 1;
        let topology = topology(self.mtu, generation as u32);
        let next = Snapshot::new(generation, Arc::new(services), Arc::new(topology));
        self.snapshot.store(Arc::new(next));
        self.director.enlist(&self.snapshot.load().services);
    }

    /// Sets what the file's `lvs:` says now, for the box and all services.
    fn set_sysctls(&mut self) {
        let new = model(&self.sysctl, &self.marks);
        let model = &mut self.registry.model;
        (model.lifecycle, model.defence) = (new.lifecycle, new.defence);
        model.services.iter_mut().for_each(|s| s.policy.lifecycle = new.lifecycle);
        self.publish();
        self.settle();
    }
}

impl Desk for Player {
    fn reach(&mut self) -> Result<(), Denial> {
        Ok(())
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer, Denial> {
        let snapshot = self.snapshot.load_full();
        let stats = [Arc::clone(&self.stats)];
        let view = View {
            services: &snapshot.services,
            director: &self.director,
            stats: &stats,
            now: self.now.seconds(),
        };
        let (answer, changed) = front::answer(&mut self.registry, view, ask);
        if changed {
            self.publish();
        }
        Ok(answer)
    }
}

/// The configuration in which a scenario begins: no services.
fn model(sysctl: &[(String, String)], marks: &str) -> Model {
    // What only a sync daemon would heed.
    let ours = sysctl.iter().filter(|(name, _)| !name.starts_with("sync_"));
    let lvs: Vec<String> = ours.map(|(name, value)| format!("{name}: {value}")).collect();
    let lvs = if lvs.is_empty() { String::new() } else { format!("lvs: {{{}}}\n", lvs.join(", ")) };
    let text =
        format!("version: 1\ninterfaces: [eth0, eth1]\ncompat: lvs\n{lvs}{marks}services: []\n");
    load::read(Path::new("scenario.yaml"), &text, None)
        .unwrap_or_else(|faults| panic!("{text}\n{faults}"))
}

fn marks(scenario: &Scenario) -> String {
    if scenario.marks.is_empty() {
        return String::new();
    }
    let mut text = "marks:\n".to_owned();
    for mark in &scenario.marks {
        let _ = write!(text, "  - {{mark: {}, destination: \"{}\"", mark.mark, mark.destination);
        if let Some(protocol) = &mark.protocol {
            let _ = write!(text, ", protocol: {protocol}");
        }
        if !mark.ports.is_empty() {
            let _ = write!(text, ", ports: {:?}", mark.ports);
        }
        text.push_str("}\n");
    }
    text
}
