//! Looks at what the director says of its servers, for all who wait for something there.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::failure::{Outcome, fail};

/// From one look to the next, besides what a look takes.
const PAUSE: Duration = Duration::from_millis(25);

/// How long anybody waits for anything.
const PATIENCE: Duration = Duration::from_secs(15);

/// The last look.
pub(super) struct Watch {
    socket: PathBuf,
    last: Mutex<Option<(Instant, Value)>>,
    changed: Condvar,
    over: AtomicBool,
}

/// What a service's first server is said to be.
pub(super) struct Said {
    pub(super) at: Instant,
    pub(super) state: String,
    /// Why, as of its last change.
    pub(super) why: String,
    /// The last answer, and how long it took.
    pub(super) last: String,
    pub(super) took: Duration,
}

impl Said {
    /// Whether these words are among the reasons.
    pub(super) fn tells(&self, words: &str) -> bool {
        self.why.contains(words) || self.last.contains(words)
    }
}

impl Watch {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self {
            socket,
            last: Mutex::default(),
            changed: Condvar::new(),
            over: AtomicBool::new(false),
        }
    }

    pub(super) fn until_up(&self, service: &str) -> Outcome<Said> {
        self.until(service, "up", |said| said.state == "up")
    }

    pub(super) fn until_down(&self, service: &str) -> Outcome<Said> {
        self.until(service, "down", |said| said.state == "down")
    }

    /// Looks until it is over.
    pub(super) fn run(&self) -> Outcome {
        while !self.over.load(Ordering::Relaxed) {
            let seen = self.look()?;
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
            self.changed.notify_all();
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Relaxed);
    }

    /// As `xlvs list --json` asks.
    fn look(&self) -> Outcome<(Instant, Value)> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream
            .write_all(b"GET /v1/services HTTP/1.1\r\nHost: xlvs\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let Some((_, body)) = answer.split_once("\r\n\r\n") else {
            return fail(format!("not an answer of the API: {answer}"));
        };
        Ok((Instant::now(), serde_json::from_str(body)?))
    }

    /// Waits until a service's server is as it should be: in words, and by what it is said to be.
    pub(super) fn until(
        &self,
        service: &str,
        wanted: &str,
        is_so: impl Fn(&Said) -> bool,
    ) -> Outcome<Said> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let said = last.as_ref().and_then(|(at, report)| said(*at, report, service));
            match said {
                Some(said) if is_so(&said) => return Ok(said),
                Some(Said { state, why, last, .. }) if Instant::now() > deadline => {
                    return fail(format!("{state}: {why}; last: {last}; not {wanted}"));
                }
                None if Instant::now() > deadline => return fail(format!("no {service}")),
                _ => {}
            }
            let waited = self.changed.wait_timeout(last, Duration::from_secs(1));
            last = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn said(at: Instant, services: &Value, name: &str) -> Option<Said> {
    let service = services.as_array()?.iter().find(|service| service["name"] == name)?;
    let health = &service["servers"][0]["health"];
    let (check, text) = (&health["checks"][0], |value: &Value| value.as_str().map(str::to_owned));
    Some(Said {
        at,
        state: text(&health["state"])?,
        why: text(&health["why"])?,
        last: text(&check["last"]).unwrap_or_default(),
        took: Duration::from_millis(check["took_ms"].as_u64().unwrap_or_default()),
    })
}
