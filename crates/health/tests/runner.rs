//! The runner, with a prober that has no network: what it asks, when, and what it tells.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use health::{
    check::{Check, Probe, Question, Require, Target, Timing, Via},
    event::{Event, Health},
    member::Member,
    outcome::{Bad, Good, Kind, Outcome},
    runner::{Prober, Runner},
};
use tokio::sync::mpsc::UnboundedReceiver;

/// Servers by the last number of their addresses; those in `down` refuse, those in `silent` hang.
#[derive(Default)]
struct Fake {
    asked: Mutex<HashMap<u8, usize>>,
    down: Mutex<Vec<u8>>,
}

impl Prober for Fake {
    fn ask(&self, question: Question) -> Pin<Box<dyn Future<Output = Outcome> + Send>> {
        let number = number(&question);
        *self.asked.lock().unwrap().entry(number).or_default() += 1;
        let down = self.down.lock().unwrap().contains(&number);
        Box::pin(async move {
            let verdict =
                if down { Err(Bad::new(Kind::Refused, "refused")) } else { Ok(Good::new("fine")) };
            Outcome { verdict, took: Duration::ZERO }
        })
    }
}

fn number(question: &Question) -> u8 {
    match question.target.address {
        std::net::IpAddr::V4(address) => address.octets()[3],
        std::net::IpAddr::V6(_) => 0,
    }
}

fn member(server: u32, number: u8) -> Member {
    let target = Target {
        address: [10, 0, 0, number].into(),
        port: 80,
        source: None,
        interface: None,
        via: Via::Direct,
    };
    let interval = Duration::from_millis(20);
    let timing = Timing {
        interval,
        retry: interval,
        spread: Duration::ZERO,
        rise: 2,
        fall: 3,
        ..Timing::default()
    };
    let question =
        Question { probe: Arc::new(Probe::Ping), target, timeout: Duration::from_millis(20) };
    let check = Check { name: "p".into(), question, timing };
    Member { server, checks: vec![check], require: Require::All, damping: None, known: None }
}

/// The next event of a server that has this health.
fn until(events: &mut UnboundedReceiver<Event>, server: u32, health: Health) -> Event {
    let next = async {
        loop {
            let event = events.recv().await.expect("the runner is there");
            if event.server == server && event.health == health {
                return event;
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime
        .block_on(async { tokio::time::timeout(Duration::from_secs(20), next).await })
        .expect("an event")
}

fn asked(fake: &Fake, number: u8) -> usize {
    fake.asked.lock().unwrap().get(&number).copied().unwrap_or(0)
}

#[test]
fn servers_come_and_go() {
    let fake = Arc::new(Fake::default());
    let (runner, mut events) = Runner::with(Arc::clone(&fake) as Arc<dyn Prober>).unwrap();
    runner.set(vec![member(1, 1), member(2, 2)]);
    until(&mut events, 1, Health::Waiting);
    until(&mut events, 2, Health::Up);
    fake.down.lock().unwrap().push(2);
    assert_eq!(until(&mut events, 2, Health::Down).why, "p: refused");
    fake.down.lock().unwrap().clear();
    until(&mut events, 2, Health::Up);
    // An equal list changes nothing; one without a server ends its probes.
    runner.set(vec![member(1, 1)]);
    std::thread::sleep(Duration::from_millis(60));
    let before = asked(&fake, 2);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(asked(&fake, 2), before);
    // It comes back as what it is now.
    runner.set(vec![member(1, 1), member(2, 2)]);
    until(&mut events, 2, Health::Up);
}

/// Two services with the same question: one probe, an event for each.
#[test]
fn equal_questions_are_asked_once() {
    let fake = Arc::new(Fake::default());
    let (runner, mut events) = Runner::with(Arc::clone(&fake) as Arc<dyn Prober>).unwrap();
    runner.set(vec![member(1, 7), member(2, 7), member(3, 8)]);
    for server in 1..=3 {
        until(&mut events, server, Health::Up);
    }
    let before = (asked(&fake, 7), asked(&fake, 8));
    std::thread::sleep(Duration::from_millis(400));
    let [shared, own] = [asked(&fake, 7) - before.0, asked(&fake, 8) - before.1];
    assert!(shared <= own + 3, "{shared} probes where another one has {own}");
}

/// Whoever reads late reads all of it, in order.
#[test]
fn no_event_is_lost_when_nobody_reads() {
    let fake = Arc::new(Fake::default());
    let (runner, mut events) = Runner::with(Arc::clone(&fake) as Arc<dyn Prober>).unwrap();
    runner.set(vec![member(1, 1)]);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(150));
        fake.down.lock().unwrap().push(1);
        std::thread::sleep(Duration::from_millis(250));
        fake.down.lock().unwrap().clear();
    }
    std::thread::sleep(Duration::from_millis(150));
    drop(runner);
    let mut seen = Vec::new();
    while let Ok(event) = events.try_recv() {
        seen.push(event.health.name());
    }
    assert_eq!(seen[..2], ["waiting", "up"]);
    assert!(seen[1..].windows(2).all(|pair| pair[0] != pair[1]), "{seen:?}");
    assert!(seen.len() >= 6, "{seen:?}");
}

#[test]
fn who_pauses_is_not_asked_and_keeps_its_health() {
    let fake = Arc::new(Fake::default());
    let (runner, mut events) = Runner::with(Arc::clone(&fake) as Arc<dyn Prober>).unwrap();
    runner.set(vec![member(1, 1)]);
    until(&mut events, 1, Health::Up);
    runner.pause(vec![1]);
    fake.down.lock().unwrap().push(1);
    std::thread::sleep(Duration::from_millis(100));
    let before = asked(&fake, 1);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(asked(&fake, 1), before);
    assert!(events.try_recv().is_err());
    runner.pause(vec![]);
    until(&mut events, 1, Health::Down);
}

/// Its checks were due while they paused; another service with the same ones does not wait for
/// the first one's VIP.
#[test]
fn who_asks_what_paused_is_answered() {
    let fake = Arc::new(Fake::default());
    let (runner, mut events) = Runner::with(Arc::clone(&fake) as Arc<dyn Prober>).unwrap();
    runner.set(vec![member(1, 1)]);
    until(&mut events, 1, Health::Up);
    runner.pause(vec![1]);
    std::thread::sleep(Duration::from_millis(100));
    runner.set(vec![member(1, 1), member(2, 1)]);
    until(&mut events, 2, Health::Up);
}
