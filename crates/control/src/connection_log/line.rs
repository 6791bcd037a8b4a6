//! A line of the log.

use std::{
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use dataplane::{
    clock::{Clock, Now},
    connection_log::{Entry, Event},
    snapshot::Services,
    state::State,
    tcp,
};
use jiff::Timestamp;
use serde::Serialize;

/// A connection's begin or end.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The state in which it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    /// Begin and end of a connection have the same, until a restart.
    id: String,
    service: &'a str,
    protocol: &'static str,
    client: SocketAddr,
    vip: SocketAddr,
    /// What the server sees instead of the client.
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<SocketAddr>,
    server: SocketAddr,
    forward: &'static str,
}

/// The workers' clock and the box's, at one moment.
#[derive(Clone, Copy)]
pub(super) struct Times {
    now: Now,
    wall: SystemTime,
}

impl Times {
    pub(super) fn now(clock: &Clock) -> Self {
        Self { now: clock.tick(), wall: SystemTime::now() }
    }

    fn wall(self, at: Now) -> SystemTime {
        self.wall - Duration::from_millis(self.now.millis.saturating_sub(at.millis))
    }
}

pub(super) fn entry(text: &mut Vec<u8>, entry: &Entry, services: &Services, times: Times) {
    let link = &entry.link;
    let service = entry.service.and_then(|id| services.services.get(id as usize)?.as_ref());
    let (event, reason, state) = match entry.event {
        Event::Begin => ("begin", None, None),
        Event::End(end, state) => ("end", Some(end.name()), Some(state_name(state))),
    };
    let family = if link.client.0.is_ipv4() { 4 } else { 6 };
    let line = Line {
        time: when(times.wall(entry.at)),
        event,
        reason,
        state,
        id: format!("{family}-{}-{}", entry.place.id, entry.place.generation),
        service: service.map_or("", |service| &service.name),
        protocol: link.protocol.name(),
        client: link.client.into(),
        vip: link.vip.into(),
        local: (link.local != link.client).then(|| link.local.into()),
        server: link.server.into(),
        forward: link.forward.name(),
    };
    write(text, &line);
}

fn state_name(number: u8) -> &'static str {
    match State::from_number(number) {
        Some(state) => state.name(),
        None if number == tcp::RESETTING => "RESETTING",
        None => "NONE",
    }
}

/// The log itself begins or ends.
pub(super) fn mark(event: &'static str, at: SystemTime) -> Vec<u8> {
    #[derive(Serialize)]
    struct Mark {
        time: String,
        event: &'static str,
    }
    let mut text = Vec::new();
    write(&mut text, &Mark { time: when(at), event });
    text
}

/// So many lines are missing before this one.
pub(super) fn lost(reason: &'static str, count: u64, at: SystemTime) -> Vec<u8> {
    #[derive(Serialize)]
    struct Lost {
        time: String,
        event: &'static str,
        reason: &'static str,
        count: u64,
    }
    let mut text = Vec::new();
    write(&mut text, &Lost { time: when(at), event: "lost", reason, count });
    text
}

fn write(text: &mut Vec<u8>, line: &impl Serialize) {
    // Nothing in it refuses to be JSON.
    let _ = serde_json::to_writer(&mut *text, line);
    text.push(b'\n');
}

fn when(time: SystemTime) -> String {
    Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.3}"))
}
