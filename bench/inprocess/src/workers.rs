//! Two workers at once: on one table, and on a table each. A machine's CPUs may share a memory
//! pipeline, so two workers are compared with two, not with one.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use dataplane::{
    clock::Now,
    director::Family,
    forward::{Forward, Protocol, Tuple, V4},
    wire::tcp,
    worker::{BURST, Worker},
};

use crate::{
    Session,
    carousel::{Carousel, ChunkFrame, FRAMES},
    director,
    flows::{Template, tuple},
    machine,
    measure::Figures,
    random::Random,
};

const CONNECTIONS: u64 = 64_000;
const NOW: Now = Now::at_seconds(1);

/// Which packets a worker gets.
const KINDS: [&str; 2] = [
    // Both ways of its own connections.
    "own",
    // The client's packets of its connections, and the answers of the other one's.
    "crossed",
];
/// Which tables there are.
const TABLES: [&str; 2] = ["separate", "shared"];

pub(crate) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for kind in KINDS {
        let names = TABLES.map(|tables| format!("workers {kind} {tables} nat v4 tcp 64k"));
        if !names.iter().any(|name| session.wants(name)) {
            continue;
        }
        if session.cpus < 2 {
            println!("{}: needs two CPUs, left out", names[0]);
            continue;
        }
        let figures = both(session, kind == "crossed")?;
        for (name, figures) in names.iter().zip(figures) {
            session.report.add(name, figures);
        }
    }
    Ok(())
}

/// What a worker works with: its frames, and the tuples of its packets.
struct Side {
    worker: Worker<ChunkFrame>,
    tuples: Vec<Tuple<V4>>,
}

/// Nanoseconds a packet of a worker, with separate tables and with a shared one; windows of the
/// two alternate.
fn both(session: &Session<'_>, crossed: bool) -> io::Result<[Figures; 2]> {
    let mut sides = [Vec::new(), Vec::new()];
    for number in 0..2 {
        // The same connections, in a table of its own: as many as it gets packets of.
        let (director, mut workers) = director::with_workers::<V4>(Forward::Nat, TABLE, 1)?;
        let of = if crossed { 1 - number } else { number };
        for number in [number, of] {
            open(&mut workers[0], number);
        }
        let table = V4::table(&director);
        sides[number as usize].push(Side::new(workers.remove(0), number, answers(table, of)));
    }
    let (director, mut workers) = director::with_workers::<V4>(Forward::Nat, TABLE, 2)?;
    for (worker, number) in workers.iter_mut().zip(0..) {
        open(worker, number);
    }
    let table = V4::table(&director);
    for (worker, number) in workers.into_iter().zip(0..) {
        let of = if crossed { 1 - number } else { number };
        sides[number as usize].push(Side::new(worker, number, answers(table, of)));
    }
    let windows = session.options.windows as usize;
    let gate = Gate::default();
    let [first, second] = sides;
    let times = thread::scope(|scope| {
        let other = scope.spawn(|| turns(second, windows, 1, &gate));
        let own = turns(first, windows, 0, &gate);
        [own, other.join().expect("no panic")]
    });
    // Whose turn it was last decides where the time went; both count.
    let mean = |at: usize| {
        let [first, second] = [&times[0][at], &times[1][at]];
        let windows = first.iter().zip(second);
        let windows = windows.map(|(one, two)| (*one + *two).as_nanos() as f64 / 2.0);
        Figures::of(windows.map(|nanos| (nanos / FRAMES as f64 * 10.0).round() / 10.0).collect())
    };
    Ok([mean(0), mean(1)])
}

/// Room for all connections.
const TABLE: usize = 2 * CONNECTIONS as usize;

/// The flows of a worker.
fn flows(number: u64) -> impl Iterator<Item = u64> + Clone {
    (0..CONNECTIONS / 2).map(move |flow| 2 * flow + number)
}

/// Opens the connections of worker `number`.
fn open(worker: &mut Worker<ChunkFrame>, number: u64) {
    let mut carousel = Carousel::new();
    for flags in [tcp::SYN, tcp::ACK] {
        let template = Template::<V4>::new(Protocol::Tcp, flags);
        let mut flows = flows(number).cycle();
        for _ in 0..(CONNECTIONS / 2).div_ceil(FRAMES as u64) {
            carousel.fill(|room| template.write(flows.next().unwrap_or(0), room));
            breathe(worker, &mut carousel);
        }
    }
}

impl Side {
    /// The client's packets of worker `number`'s connections, and these answers.
    fn new(worker: Worker<ChunkFrame>, number: u64, answers: Vec<Tuple<V4>>) -> Self {
        let mut tuples: Vec<_> = flows(number).map(|flow| tuple(Protocol::Tcp, flow)).collect();
        tuples.extend(answers);
        Self { worker, tuples }
    }
}

/// What the servers say on the connections of a worker.
fn answers(table: &dataplane::table::Table<V4>, number: u64) -> Vec<Tuple<V4>> {
    let answer = |flow| table.find(&tuple(Protocol::Tcp, flow))?.connection.reverse_key();
    let answers: Vec<_> = flows(number).filter_map(answer).collect();
    assert_eq!(answers.len() as u64, CONNECTIONS / 2, "all connections are open");
    answers
}

/// A thread's windows: those with separate tables, those with a shared one.
fn turns(mut sides: Vec<Side>, windows: usize, number: usize, gate: &Gate) -> [Vec<Duration>; 2] {
    machine::pin(number);
    let mut carousel = Carousel::new();
    let template = Template::<V4>::new(Protocol::Tcp, tcp::ACK);
    let mut random = Random(3 + number as u64);
    let mut times = [Vec::new(), Vec::new()];
    // The first window of each only warms up.
    for window in 0..=windows {
        for at in if window % 2 == 0 { [0, 1] } else { [1, 0] } {
            let Side { worker, tuples } = &mut sides[at];
            carousel.fill(|room| {
                let tuple = tuples[random.below(tuples.len() as u64) as usize];
                template.write_as(tuple, room)
            });
            gate.meet();
            let start = Instant::now();
            breathe(worker, &mut carousel);
            if window > 0 {
                times[at].push(start.elapsed());
            }
            // Whoever is ready first must not fill frames beside the other's window.
            gate.meet();
        }
    }
    assert_eq!(carousel.dropped, 0, "every packet leaves");
    times
}

fn breathe(worker: &mut Worker<ChunkFrame>, carousel: &mut Carousel) {
    for _ in 0..FRAMES / BURST {
        worker.breathe(carousel, NOW);
    }
}

/// Where two threads meet without sleeping: a window is shorter than it takes to wake one.
#[derive(Default)]
struct Gate(AtomicUsize);

impl Gate {
    fn meet(&self) {
        let arrived = self.0.fetch_add(1, Ordering::AcqRel);
        let wanted = (arrived / 2 + 1) * 2;
        while self.0.load(Ordering::Acquire) < wanted {
            std::hint::spin_loop();
        }
    }
}
