//! The longest breath: full bursts on both ports, and beside them all that upkeep may do.

use std::{fs, io, sync::Arc};

use dataplane::{
    forward::Forward,
    kill::{Doomed, Kill},
    policy::Gone,
    stats::Counter,
    tcp::State,
    worker::BURST,
};

use super::stage::{STRANGERS_SERVER, Setting, Stage};
use crate::{Session, callgrind, report::Breath};

/// Breaths in a window.
const BREATHS: usize = 16;
/// Packets of one: a burst on each port.
const PACKETS: usize = 2 * BURST;
/// Where a worker's work is done.
const WITHIN: &str = "*Hands*::breathe*";
/// Connections that a breath's upkeep finds: more than it may end.
const BESIDE: usize = 512;

/// What a breath meets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Established,
    /// Each packet opens a connection.
    Opening,
    /// Each is refused: half-open limit.
    Limited,
    /// Each finds the table full.
    Full,
    /// Each goes without an entry.
    Stateless,
    /// Connections expire.
    Expiry,
    /// Each connection looks for its hop anew.
    Snapshot,
    /// Connections of a server that went are ended.
    Purge,
    /// An operator ends connections.
    Kill,
    /// A flood, and connections that expire.
    FloodAndExpiry,
}

const ALL: [(Kind, &str); 10] = [
    (Kind::Established, "established"),
    (Kind::Opening, "opening"),
    (Kind::Limited, "limited"),
    (Kind::Full, "full"),
    (Kind::Stateless, "stateless"),
    (Kind::Expiry, "expiry"),
    (Kind::Snapshot, "snapshot"),
    (Kind::Purge, "purge"),
    (Kind::Kill, "kill"),
    (Kind::FloodAndExpiry, "flood+expiry"),
];

pub(super) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for (kind, name) in ALL {
        let name = format!("breath {name}");
        if session.wants(&name) {
            let row = longest(session, kind, &name)?;
            session.report.add_breath(row);
        }
    }
    Ok(())
}

fn longest(session: &Session<'_>, kind: Kind, name: &str) -> io::Result<Breath> {
    let mut scene = Scene::new(kind)?;
    let windows = session.options.windows as usize;
    let mut times = Vec::with_capacity(windows * BREATHS);
    let (mut most, mut stolen) = ([0; 3], 0.0);
    for window in 0..=windows {
        for _ in 0..BREATHS {
            scene.prepare();
            let (before, steal) = (work(&scene.stage), steal_s(session.options.cpu));
            let took = scene.stage.breathe();
            // The first window only warms up.
            if window > 0 {
                times.push(took.as_nanos() as u64);
                stolen += steal_s(session.options.cpu) - steal;
            }
            let after = work(&scene.stage);
            for (most, (after, before)) in most.iter_mut().zip(after.iter().zip(before)) {
                *most = (after - before).max(*most);
            }
            scene.restore();
        }
    }
    times.sort_unstable();
    let instructions = match session.options.instructions {
        true => {
            let program = std::env::current_exe()?.display().to_string();
            let words = std::env::args().nth(1).filter(|word| word == "inprocess");
            let program: Vec<String> = std::iter::once(program).chain(words).collect();
            let counted = callgrind::in_window(&program, name, Some(WITHIN))?;
            Some((counted / BREATHS as f64).round())
        }
        false => None,
    };
    Ok(Breath {
        name: name.to_owned(),
        breaths: times.len(),
        longest_ns: times.last().copied().unwrap_or(0),
        p999_ns: times[(times.len() - 1) * 999 / 1000],
        stolen_s: stolen,
        packets: most[0],
        looks: most[1],
        ends: most[2],
        instructions,
    })
}

/// Packets, entries looked at, entries ended.
fn work(stage: &Stage) -> [u64; 3] {
    let stats = &stage.stats;
    [&stats.rx_packets, &stats.upkeep_looks, &stats.upkeep_ends].map(Counter::value)
}

/// What the host took from a CPU, in seconds (`proc(5)`, `/proc/stat`, the eighth column).
fn steal_s(cpu: usize) -> f64 {
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find(|line| line.starts_with(&format!("cpu{cpu} ")));
    let steal = line.and_then(|line| line.split_whitespace().nth(8)?.parse::<f64>().ok());
    steal.unwrap_or(0.0) / TICKS
}

struct Scene {
    kind: Kind,
    stage: Stage,
    routes: u32,
    removed: bool,
    kill: Option<Arc<Kill>>,
}

impl Scene {
    fn new(kind: Kind) -> io::Result<Self> {
        let setting =
            Setting { room: super::ESTABLISHED as usize + 2 * BESIDE, ..Setting::default() };
        let full = super::ESTABLISHED as usize;
        let setting = match kind {
            Kind::Purge | Kind::Kill => {
                Setting { room: full + BESIDE, in_front: BESIDE, ..setting }
            }
            Kind::Limited => Setting { limited: true, ..setting },
            Kind::Full => Setting { room: full, ..setting },
            Kind::Stateless => {
                let scheduler = sched::Kind::Mh;
                Setting { room: full, forward: Forward::Dr, scheduler, ..setting }
            }
            _ => setting,
        };
        let mut stage = Stage::new(&setting)?;
        stage.carousel.both = true;
        if kind == Kind::Purge {
            stage.publish(1, |services| {
                for service in services.services.iter_mut().flatten() {
                    service.policy.lifecycle.gone = Gone::Expire;
                }
            });
        }
        Ok(Self { kind, stage, routes: 1, removed: false, kill: None })
    }

    /// Sets up one breath that has all that it may have.
    fn prepare(&mut self) {
        let stage = &mut self.stage;
        match self.kind {
            Kind::Opening | Kind::Limited | Kind::Full | Kind::Stateless => stage.flood(PACKETS),
            Kind::FloodAndExpiry => {
                stage.insert(BESIDE, State::Close, 1);
                stage.now.millis += 3_000;
                stage.flood(PACKETS);
            }
            Kind::Expiry => {
                stage.insert(BESIDE, State::Close, 1);
                stage.now.millis += 3_000;
                stage.talk(PACKETS);
            }
            Kind::Established => stage.talk(PACKETS),
            Kind::Snapshot => {
                self.routes += 1;
                stage.publish(self.routes, |_| {});
                stage.talk(PACKETS);
            }
            Kind::Purge => {
                self.removed = !self.removed;
                let removed = self.removed;
                stage.insert(BESIDE, State::Established, 900);
                stage.publish(1, |services| {
                    let server = services.servers[STRANGERS_SERVER as usize].as_mut();
                    server.expect("it is there").removed = removed;
                });
                stage.now.millis += 1_000;
                stage.talk(PACKETS);
            }
            Kind::Kill => {
                // A second's allowance of resets.
                stage.now.millis += 1_000;
                stage.insert(BESIDE, State::Established, 900);
                let servers = (0..64).map(|id| id == STRANGERS_SERVER).collect();
                let doomed = Doomed { servers: Some(servers), ..Doomed::default() };
                let kill = Arc::new(Kill::new(doomed, 1));
                stage.worker.kill(Arc::clone(&kill));
                self.kill = Some(kill);
                stage.talk(PACKETS);
            }
        }
    }

    fn restore(&mut self) {
        self.stage.clear();
    }
}
