//! The generator of latencies: requests at a rate, whatever the answers do.
//!
//! Requests come at times drawn beforehand (Poisson: independent clients). Each is sent on the
//! connection that has been free longest; if none is, it waits, and its latency counts from its
//! time all the same, as that of a client would (no coordinated omission). A generator that waits
//! by timers of a millisecond, as oha does, sends bursts of 20 at 20,000 requests a second, whose
//! queue hides what is in between. This one waits by a timerfd.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::{
    buffer::spare_capacity,
    event::{Timespec, epoll},
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create,
        timerfd_settime,
    },
};
use serde::{Deserialize, Serialize};

use inprocess::random::Random;

/// Answers that come later than this after the last request do not count.
const GRACE: Duration = Duration::from_secs(2);
/// Connections and caches are warm after this; only then latencies count.
const WARM_UP: Duration = Duration::from_millis(500);
/// The timer's token; connections have theirs from 0 on.
const TIMER: u64 = u64::MAX;

/// What to ask.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Who is asked, by HTTP/1.1
    server: SocketAddr,
    /// Requests a second
    #[arg(long)]
    rate: f64,
    /// For how long, beside half a second to warm up
    #[arg(long)]
    seconds: f64,
    /// Connections, all open from the beginning
    #[arg(long)]
    connections: usize,
    /// Where its arrival times begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// What came of it; times in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Paced {
    /// Requests whose time came, and their answers; with those of the warm-up.
    pub(crate) asked: u64,
    pub(crate) answered: u64,
    /// From a request's time to the last octet of its answer.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) most: f64,
    /// 99 of 100 requests left no later than this after their time.
    pub(crate) late_p99: f64,
}

/// Asks, then prints a [`Paced`].
///
/// # Errors
/// No connection; a server that closes one or answers by something else than a page.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    let paced = Pacer::connect(options)?.run()?;
    println!("{}", serde_json::to_string(&paced)?);
    Ok(())
}

/// Times of requests: exponential gaps.
struct Arrivals {
    random: Random,
    rate: f64,
    next: Instant,
    end: Instant,
}

impl Arrivals {
    /// The time of the next request, if it has come.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        let due = self.next;
        if due > now || due >= self.end {
            return None;
        }
        const STEPS: u64 = 1 << 53;
        let chance = (self.random.below(STEPS) + 1) as f64 / STEPS as f64;
        self.next += Duration::from_secs_f64(-chance.ln() / self.rate);
        Some(due)
    }

    /// When the next one comes; none is left at the end.
    fn next(&self) -> Option<Instant> {
        (self.next < self.end).then_some(self.next)
    }
}

/// One connection; at most one request is under way on it.
struct Connection {
    stream: TcpStream,
    /// The request's time.
    due: Instant,
    /// Octets of the answer until now.
    received: usize,
}

struct Pacer {
    poll: OwnedFd,
    timer: OwnedFd,
    connections: Vec<Connection>,
    /// Those without a request, the longest free first.
    free: VecDeque<usize>,
    /// Times of requests that no connection is free for.
    waiting: VecDeque<Instant>,
    arrivals: Arrivals,
    /// When the timer goes off.
    armed: Option<Instant>,
    counted_from: Instant,
    request: Vec<u8>,
    /// Octets of an answer: all are alike.
    answer: usize,
    latency: Histogram<u64>,
    lateness: Histogram<u64>,
    asked: u64,
    answered: u64,
}

impl Pacer {
    fn connect(options: &Options) -> io::Result<Self> {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", options.server).into_bytes();
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK)?;
        epoll::add(&poll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN)?;
        let (mut connections, mut answer) = (Vec::new(), 0);
        for token in 0..options.connections {
            let mut stream = TcpStream::connect(options.server)?;
            stream.set_nodelay(true)?;
            stream.write_all(&request)?;
            answer = read_answer(&mut stream)?;
            stream.set_nonblocking(true)?;
            let token = epoll::EventData::new_u64(token as u64);
            epoll::add(&poll, &stream, token, epoll::EventFlags::IN)?;
            connections.push(Connection { stream, due: Instant::now(), received: 0 });
        }
        let start = Instant::now();
        let counted_from = start + WARM_UP;
        let arrivals = Arrivals {
            random: Random(options.seed),
            rate: options.rate,
            next: start,
            end: counted_from + Duration::from_secs_f64(options.seconds),
        };
        Ok(Self {
            poll,
            timer,
            free: (0..connections.len()).collect(),
            connections,
            waiting: VecDeque::new(),
            arrivals,
            armed: None,
            counted_from,
            request,
            answer,
            latency: histogram(),
            lateness: histogram(),
            asked: 0,
            answered: 0,
        })
    }

    fn run(mut self) -> io::Result<Paced> {
        let mut events = Vec::with_capacity(256);
        let last = self.arrivals.end + GRACE;
        while self.answered < self.asked || self.arrivals.next().is_some() {
            let now = Instant::now();
            if now > last {
                break;
            }
            while let Some(due) = self.arrivals.due(now) {
                self.asked += 1;
                self.waiting.push_back(due);
            }
            self.send()?;
            self.arm()?;
            events.clear();
            let patience = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            epoll::wait(&self.poll, spare_capacity(&mut events), Some(&patience))?;
            for event in &events {
                let token = event.data.u64();
                if token != TIMER {
                    self.receive(token as usize)?;
                }
            }
        }
        let micros =
            |histogram: &Histogram<u64>, part| histogram.value_at_quantile(part) as f64 / 1e3;
        Ok(Paced {
            asked: self.asked,
            answered: self.answered,
            p50: micros(&self.latency, 0.5),
            p99: micros(&self.latency, 0.99),
            p999: micros(&self.latency, 0.999),
            most: micros(&self.latency, 1.0),
            late_p99: micros(&self.lateness, 0.99),
        })
    }

    /// Sends what waits, as far as connections are free.
    fn send(&mut self) -> io::Result<()> {
        while let (Some(due), Some(token)) = (self.waiting.front(), self.free.front()) {
            let connection = &mut self.connections[*token];
            // It is shorter than any socket's buffer, which is empty.
            connection.stream.write_all(&self.request)?;
            connection.due = *due;
            if *due >= self.counted_from {
                note(&mut self.lateness, due.elapsed());
            }
            self.waiting.pop_front();
            self.free.pop_front();
        }
        Ok(())
    }

    /// Has the timer go off at the next request's time, if it could be sent then.
    fn arm(&mut self) -> io::Result<()> {
        let next = self.arrivals.next().filter(|_| !self.free.is_empty());
        if next == self.armed {
            return Ok(());
        }
        self.armed = next;
        // Zero disarms it.
        let wait = next.map_or(Duration::ZERO, |next| {
            next.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1))
        });
        let spec = |wait: Duration| Timespec {
            tv_sec: wait.as_secs() as i64,
            tv_nsec: wait.subsec_nanos().into(),
        };
        let times = Itimerspec { it_interval: spec(Duration::ZERO), it_value: spec(wait) };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &times)?;
        Ok(())
    }

    fn receive(&mut self, token: usize) -> io::Result<()> {
        let connection = &mut self.connections[token];
        let mut room = [0; 4096];
        let read = match connection.stream.read(&mut room) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            outcome => outcome?,
        };
        if read == 0 || (connection.received == 0 && !room.starts_with(b"HTTP/1.1 200")) {
            return Err(io::Error::other("a connection ended, or the answer is no page"));
        }
        connection.received += read;
        if connection.received >= self.answer {
            connection.received = 0;
            self.answered += 1;
            if connection.due >= self.counted_from {
                note(&mut self.latency, connection.due.elapsed());
            }
            self.free.push_back(token);
        }
        Ok(())
    }
}

/// Up to a minute, by three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("sound bounds")
}

fn note(histogram: &mut Histogram<u64>, time: Duration) {
    histogram.saturating_record(time.as_nanos() as u64);
}

/// Reads one answer and tells its octets.
fn read_answer(stream: &mut TcpStream) -> io::Result<usize> {
    let (mut answer, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut room)?;
        answer.extend_from_slice(&room[..read]);
        match length(&answer) {
            Some(length) if answer.len() >= length => return Ok(length),
            _ if read == 0 => return Err(io::Error::other("the server has no page")),
            _ => {}
        }
    }
}

/// The octets of an answer with its head, once that is there.
fn length(answer: &[u8]) -> Option<usize> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let body = head.lines().find_map(|line| line.strip_prefix("content-length:"))?;
    Some(end + body.trim().parse::<usize>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_as_long_as_it_says() {
        let page = b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc";
        let table: [(&[u8], Option<usize>); 3] = [
            (page, Some(page.len())),
            (&page[..page.len() - 1], Some(page.len())),
            (&page[..40], None),
        ];
        for (answer, expected) in table {
            assert_eq!(length(answer), expected, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn arrivals_keep_their_rate_whoever_looks_late() {
        let start = Instant::now();
        let end = start + Duration::from_secs(10);
        let mut arrivals = Arrivals { random: Random(7), rate: 1000.0, next: start, end };
        let times: Vec<Instant> = std::iter::from_fn(|| arrivals.due(end)).collect();
        // Five standard deviations of a Poisson count.
        assert!((9500..10_500).contains(&times.len()), "{}", times.len());
        assert!(times.is_sorted() && times.iter().all(|time| *time < end));
        assert_eq!(arrivals.next(), None);
    }

    /// A server that stops for a while: requests of that time count from their own times.
    #[test]
    fn a_stall_is_in_the_latencies_of_all_who_waited() -> io::Result<()> {
        const STALL: Duration = Duration::from_millis(400);
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let server = listener.local_addr()?;
        std::thread::spawn(move || -> io::Result<()> {
            let (mut stream, _) = listener.accept()?;
            let (mut room, mut asked, mut stalled) = ([0; 1024], 0, false);
            let page = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            loop {
                if stream.read(&mut room)? == 0 {
                    return Ok(());
                }
                asked += 1;
                // The warm-up is over by then.
                if asked > 700 && !stalled {
                    std::thread::sleep(STALL);
                    stalled = true;
                }
                stream.write_all(page)?;
            }
        });
        let options = Options { server, rate: 1000.0, seconds: 1.0, connections: 1, seed: 3 };
        let paced = Pacer::connect(&options)?.run()?;
        assert_eq!(paced.asked, paced.answered);
        // One request in flight saw the stall; some 400 came meanwhile and waited half of it
        // on average. A generator that waits for answers would tell of a single one.
        assert!(paced.p99 > 300_000.0 && paced.most >= 400_000.0, "{paced:?}");
        Ok(())
    }
}
