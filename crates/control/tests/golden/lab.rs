//! One datapath for one case: the box of `topology.json`, a worker on memory ports.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    net::IpAddr,
    path::Path,
    sync::Arc,
};

use arc_swap::ArcSwap;
use dataplane::{
    clock::Now,
    director::{Director, Limits},
    memory::{MemoryFrame, MemoryIo},
    snapshot::{Services, Snapshot},
    stats::Stats,
    topology::{Hop, Interface, Mac, NextHop, Route, RouteKind, Routes, Topology},
    verdict::{Answer, Drop, Punt},
    worker::Worker,
};
use serde::Deserialize;

use super::{
    capture::Captured,
    case::{Case, Hole, Output, Step},
};

#[derive(Deserialize)]
struct TheBox {
    interfaces: Vec<Link>,
    local: Vec<IpAddr>,
    neighbours: Vec<Neighbour>,
    routes: Vec<Leg>,
}

#[derive(Deserialize)]
struct Link {
    name: String,
    mac: String,
    mtu: u16,
}

#[derive(Deserialize)]
struct Neighbour {
    port: u16,
    address: IpAddr,
    mac: String,
}

#[derive(Deserialize)]
struct Leg {
    to: String,
    port: u16,
    via: Option<IpAddr>,
    source: IpAddr,
}

/// A running case.
pub(crate) struct Lab {
    worker: Worker<MemoryFrame>,
    io: MemoryIo,
    stats: Arc<Stats>,
    now: Now,
    bound: HashMap<String, Vec<u8>>,
    arrived: Vec<Vec<u8>>,
    captured: Option<Captured>,
}

impl Lab {
    pub(crate) fn new(folder: &Path, case: &Case, captured: bool) -> Self {
        let services = Arc::new(services(folder, case));
        let topology = Arc::new(topology(folder, case, &services));
        let (resolve, _) = crossbeam_channel::bounded(16);
        let limits =
            Limits { connections_v4: 1024, connections_v6: 1024, servers: 64, ..Limits::default() };
        let director = Arc::new(Director::new(limits, resolve).expect("memory for the tables"));
        director.prepare(&services);
        let snapshot = Arc::new(ArcSwap::from_pointee(Snapshot::new(1, services, topology)));
        let stats = Arc::new(Stats::new(64));
        let mut worker = Worker::new((0, 1), director, snapshot, Arc::clone(&stats));
        Self {
            captured: captured.then(|| Captured::begin(&mut worker)),
            worker,
            io: MemoryIo::new(2, 256),
            stats,
            now: Now::at_seconds(1),
            bound: HashMap::new(),
            arrived: Vec::new(),
        }
    }

    /// Runs the case; the error tells the first difference.
    pub(crate) fn run(mut self, case: &Case) -> Result<(), String> {
        for (at, step) in case.steps.iter().enumerate() {
            self.step(step).map_err(|fault| format!("step {at}: {fault}"))?;
        }
        match self.io.outstanding() - self.worker.held() {
            0 => Ok(()),
            lost => Err(format!("{lost} frames are lost")),
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        if let Some(at) = step.at {
            self.now = Now { millis: (at * 1000.0) as u64 + 1000 };
        }
        let before = counters(&self.stats);
        if let Some(arrives) = &step.arrives {
            let mut frame = arrives.0.clone();
            for hole in &step.in_holes {
                let name = hole.name.as_ref().ok_or("an input hole needs a name")?;
                hole.fill(&mut frame, self.bound.get(name).ok_or("unbound name")?);
            }
            assert!(self.io.arrive(step.port, &frame), "pool empty");
            self.arrived.push(frame);
        }
        // A second breath lets held frames go that the first one made free.
        self.worker.breathe(&mut self.io, self.now);
        self.worker.breathe(&mut self.io, self.now);
        let mut sent = Vec::new();
        for output in &step.out {
            let (port, frame) = self.io.take_sent().ok_or("a frame is missing")?;
            self.compare(output, port, &frame)?;
            sent.push((port, frame));
        }
        if let Some((port, frame)) = self.io.take_sent() {
            return Err(format!("one frame too many leaves port {port}: {}", hex(&frame)));
        }
        while let Some((_, frame, reason)) = self.io.take_punted() {
            // Held frames of earlier steps are punted as they came, too.
            let as_it_came = self.arrived.contains(&frame);
            if step.punt.as_deref() != Some(reason.name()) || !as_it_came {
                return Err(format!("punted as {}: {}", reason.name(), hex(&frame)));
            }
        }
        let changed = difference(&before, &counters(&self.stats));
        if changed != step.counters {
            return Err(format!("counters {changed:?}, expected {:?}", step.counters));
        }
        match &self.captured {
            Some(captured) => captured.holds(&self.arrived, &sent, &changed),
            None => Ok(()),
        }
    }

    fn compare(&mut self, output: &Output, port: u16, frame: &[u8]) -> Result<(), String> {
        let mut expected = output.frame.0.clone();
        if frame.len() == expected.len() {
            for hole in &output.holes {
                let value = self.value(hole, frame)?;
                hole.fill(&mut expected, &value);
                even_zeros(&hole.checksums, &mut expected, frame);
            }
        }
        if port != output.port || frame != expected {
            return Err(format!(
                "port {port}, expected {}\n    out      {}\n    expected {}",
                output.port,
                hex(frame),
                hex(&expected)
            ));
        }
        Ok(())
    }

    /// What a hole holds: the bound value of its name, or what came out.
    fn value(&mut self, hole: &Hole, frame: &[u8]) -> Result<Vec<u8>, String> {
        if let Some(bound) = hole.name.as_ref().and_then(|name| self.bound.get(name)) {
            return Ok(bound.clone());
        }
        let value = hole.value(frame);
        let number = value.iter().fold(0, |n: u64, octet| n << 8 | u64::from(*octet));
        let within = hole.within.is_none_or(|[low, high]| (low..=high).contains(&number));
        if !within || hole.not == Some(number) {
            return Err(format!("{number} at {} is out of its limits", hole.at));
        }
        if let Some(name) = &hole.name {
            self.bound.insert(name.clone(), value.clone());
        }
        Ok(value)
    }
}

/// In one's complement 0x0000 and 0xffff are the same number.
fn even_zeros(checksums: &[usize], expected: &mut [u8], frame: &[u8]) {
    for at in checksums {
        let zero = |octets: &[u8]| matches!(octets, [0, 0] | [0xff, 0xff]);
        let range = *at..at + 2;
        if zero(&expected[range.clone()]) && zero(&frame[range.clone()]) {
            expected[range.clone()].copy_from_slice(&frame[range]);
        }
    }
}

fn services(folder: &Path, case: &Case) -> Services {
    let path = folder.join("configs").join(format!("{}.yaml", case.config));
    let text = if case.config.contains('\n') {
        case.config.clone()
    } else {
        fs::read_to_string(&path).expect("the configuration is there")
    };
    let model = match control::load::read(&path, &text, None) {
        Ok(model) => model,
        Err(faults) => panic!("{}: {faults}", case.name),
    };
    control::compile::compile(&model, &mut control::compile::Ids::default())
}

fn topology(folder: &Path, case: &Case, services: &Services) -> Topology {
    let text = fs::read_to_string(folder.join("topology.json")).expect("the box is there");
    let the_box: TheBox = serde_json::from_str(&text).expect("well formed");
    let mtu = |at: usize, link: &Link| case.topology.as_ref().map_or(link.mtu, |t| t.mtu[at]);
    let interfaces: Vec<Interface> = (the_box.interfaces.iter().enumerate())
        .map(|(at, link)| Interface {
            name: link.name.clone(),
            index: at as u32 + 1,
            mac: mac(&link.mac),
            mtu: mtu(at, link),
            up: true,
        })
        .collect();
    let mut topology = Topology { route_generation: 1, ..Topology::default() };
    for neighbour in &the_box.neighbours {
        let interface = &interfaces[usize::from(neighbour.port)];
        let id = topology.hops.len() as u16;
        topology.hop_of.insert((neighbour.port, neighbour.address), id);
        topology.hops.push(Hop {
            port: neighbour.port,
            mac: Some(mac(&neighbour.mac)),
            source: interface.mac,
            mtu: interface.mtu,
        });
    }
    for server in services.servers.iter().flatten().filter(|server| server.mac.is_some()) {
        // All servers of the tables are behind eth1.
        let id = topology.hops.len() as u16;
        topology.hop_of.insert((1, server.address), id);
        let (source, mtu) = (interfaces[1].mac, interfaces[1].mtu);
        topology.hops.push(Hop { port: 1, mac: server.mac, source, mtu });
    }
    let route = |leg: &Leg| {
        let (network, length) = leg.to.split_once('/').expect("a prefix");
        let next = NextHop { port: Some(leg.port), gateway: leg.via, weight: 1 };
        let route = Route { kind: RouteKind::Via(vec![next]), source: Some(leg.source), mtu: None };
        (network.parse::<IpAddr>().expect("an address"), length.parse().expect("a length"), route)
    };
    let (v6, v4): (Vec<_>, Vec<_>) =
        the_box.routes.iter().map(route).partition(|(network, ..)| network.is_ipv6());
    topology.routes_v4 = Routes::new(v4);
    topology.routes_v6 = Routes::new(v6);
    topology.local = the_box.local.into_iter().collect();
    topology.interfaces = interfaces;
    topology
}

fn mac(text: &str) -> Mac {
    let octets: Vec<u8> =
        text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("hex")).collect();
    Mac(octets.try_into().expect("six octets"))
}

fn counters(stats: &Stats) -> BTreeMap<String, u64> {
    let drops = Drop::ALL.iter().map(|r| (format!("drop.{}", r.name()), &stats.drops[*r as usize]));
    let punts = Punt::ALL.iter().map(|r| (format!("punt.{}", r.name()), &stats.punts[*r as usize]));
    let answers =
        Answer::ALL.iter().map(|r| (format!("answer.{}", r.name()), &stats.answers[*r as usize]));
    drops.chain(punts).chain(answers).map(|(name, counter)| (name, counter.value())).collect()
}

fn difference(
    before: &BTreeMap<String, u64>,
    after: &BTreeMap<String, u64>,
) -> BTreeMap<String, u64> {
    after
        .iter()
        .map(|(name, value)| (name.clone(), value - before[name]))
        .filter(|(_, change)| *change != 0)
        .collect()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
