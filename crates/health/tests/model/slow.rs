//! Events of the runner when who listens to them is slow: all of them come, in order.

use std::{
    collections::HashMap,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use health::{
    check::{Initial, Question, Require, Timing},
    event::{Event, Health},
    member::Member,
    outcome::Outcome,
    runner::{Prober, Report, Runner},
};
use tokio::{
    sync::mpsc::UnboundedReceiver,
    time::{sleep, timeout},
};

use crate::{chance::Chance, reference::Server, story::Plan, subject};

/// Servers that are asked, and those of them that another service has, too.
const SERVERS: usize = 60;
const TWICE: usize = 20;

/// Whether an answer is good, and the weight that it gives.
type Answer = (bool, Option<u32>);
/// What is told of a server.
type Told = (Health, Option<u32>);

/// Servers that come and go at random; it remembers what they answered.
struct Flapping {
    chance: Mutex<Chance>,
    answered: Mutex<Vec<Vec<Answer>>>,
    /// Nobody answers any more.
    silent: AtomicBool,
}

impl Prober for Flapping {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        if self.silent.load(Ordering::Relaxed) {
            return Box::pin(std::future::pending());
        }
        let mut chance = self.chance.lock().unwrap();
        let weight = chance.of(5).then(|| chance.below(3) as u32);
        let answer = (chance.of(60), weight);
        self.answered.lock().unwrap()[place(&question)].push(answer);
        Box::pin(std::future::ready(subject::answer(answer.0, answer.1)))
    }
}

fn place(question: &Question) -> usize {
    match question.target.address {
        IpAddr::V4(address) => usize::from(address.octets()[3]),
        IpAddr::V6(address) => panic!("{address}"),
    }
}

/// A server; of those that are asked for two services the second one is harder to move.
fn plan(twin: bool) -> Plan {
    let (rise, fall) = if twin { (3, 2) } else { (1, 1) };
    let interval = Duration::from_millis(10);
    let timing =
        Timing { interval, retry: interval, rise, fall, spread: interval, initial: Initial::Wait };
    let checks = vec![timing];
    Plan { tier: 0, weight: 1, require: Require::All, damping: None, checks, known: None }
}

fn members() -> Vec<Member> {
    let own = (0..SERVERS).map(|place| subject::member(place, &plan(false), None));
    let twins = (0..TWICE).map(|place| Member {
        server: (SERVERS + place) as u32,
        ..subject::member(place, &plan(true), None)
    });
    own.chain(twins).collect()
}

/// What a server's events must be.
fn expected(server: u32, answered: &[Vec<Answer>]) -> Vec<Told> {
    let twin = server as usize >= SERVERS;
    let mut model = Server::new(&plan(twin), None, Duration::ZERO);
    let mut told = vec![model.told()];
    let answers = &answered[server as usize % SERVERS];
    told.extend(answers.iter().filter_map(|answer| model.hear(0, *answer, Duration::ZERO)));
    told
}

/// Hears nothing for a while, then one event a millisecond at most; when all is over, the rest.
async fn listen(
    runner: &Runner,
    flapping: &Flapping,
    events: &mut UnboundedReceiver<Event>,
) -> (Vec<Event>, Report) {
    sleep(Duration::from_millis(700)).await;
    let mut heard = Vec::new();
    for _ in 0..300 {
        heard.extend(events.try_recv().ok());
        sleep(Duration::from_millis(1)).await;
    }
    flapping.silent.store(true, Ordering::Relaxed);
    let silence = async {
        loop {
            let report = runner.report().await.expect("the runner is there");
            if report.in_flight == SERVERS {
                return report;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let report = timeout(Duration::from_secs(20), silence).await.expect("silence");
    let backlog = heard.len();
    while let Ok(event) = events.try_recv() {
        heard.push(event);
    }
    assert!(heard.len() > 2 * backlog, "{backlog} of {} were heard in time", heard.len());
    (heard, report)
}

#[tokio::test]
async fn every_event_comes_however_slow_who_listens_is() {
    let flapping = Arc::new(Flapping {
        chance: Mutex::new(Chance::new(1)),
        answered: Mutex::new(vec![Vec::new(); SERVERS]),
        silent: AtomicBool::new(false),
    });
    let prober = Arc::clone(&flapping) as Arc<dyn Prober>;
    let (runner, mut events) = Runner::with(prober).expect("a thread");
    runner.set(members());
    let (heard, report) = listen(&runner, &flapping, &mut events).await;
    drop(runner);
    let mut told: HashMap<u32, Vec<Told>> = HashMap::new();
    for Event { server, health, weight, .. } in heard {
        told.entry(server).or_default().push((health, weight));
    }
    let answered = flapping.answered.lock().unwrap();
    for server in 0..(SERVERS + TWICE) as u32 {
        assert_eq!(told[&server], expected(server, &answered), "server {server}");
        let last = told[&server].last().expect("one").0;
        assert_eq!(report.servers[&server].health, last, "server {server}");
    }
}
