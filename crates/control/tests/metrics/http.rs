//! The answers over TCP: content types, gzip, what is refused, and how much of it at a time.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use control::{
    api::{Exporter, metrics},
    metrics::{Bound, ListenError, Listeners},
};
use tokio::{runtime::Handle, sync::oneshot};

use crate::report::report;

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A runtime in a thread of its own, until it is dropped.
struct Serving {
    handle: Handle,
    listeners: Option<Listeners>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Serving {
    fn on(addresses: &[SocketAddr]) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || drop(runtime.block_on(stopped)));
        let exporter = Exporter {
            source: Arc::new(report),
            collector: Arc::default(),
            node_ipvs: Arc::new(false.into()),
        };
        let bound = Bound::bind(addresses).unwrap();
        let listeners = {
            let _within = handle.enter();
            Listeners::new(metrics(exporter).into(), bound)
        };
        Self { handle, listeners: Some(listeners), stop: Some(stop), thread: Some(thread) }
    }

    fn follow(&mut self, addresses: &[SocketAddr]) -> Result<(), ListenError> {
        let _within = self.handle.enter();
        self.listeners.as_mut().unwrap().follow(addresses)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.listeners = None;
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Head and body of the answer to a request.
fn exchange(to: SocketAddr, request: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_lowercase();
    (head, answer[end + 4..].to_vec())
}

fn get(to: SocketAddr, path: &str, headers: &str) -> (String, Vec<u8>) {
    exchange(to, &format!("GET {path} HTTP/1.1\r\nHost: xlvs\r\n{headers}\r\n"))
}

#[test]
fn scrapers_get_what_they_ask_for() {
    let address = free();
    let _serving = Serving::on(&[address]);
    let text = "content-type: text/plain; version=0.0.4; charset=utf-8";
    let open = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    let rows = [
        ("/metrics", "", "200 ok", text),
        ("/metrics", "Accept: application/openmetrics-text;version=1.0.0\r\n", "200 ok", open),
        ("/metrics", "Accept: text/html\r\n", "200 ok", text),
        ("/metrics", "Accept-Encoding: gzip\r\n", "200 ok", "content-encoding: gzip"),
        ("/metrics?collect=services", "", "200 ok", text),
        ("/metrics?collect=sevices", "", "400 bad request", "text/plain"),
        ("/v1/report", "", "404 not found", ""),
        ("/", "", "404 not found", ""),
    ];
    for (path, headers, status, said) in rows {
        let (head, _) = get(address, path, headers);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{path}: {head}");
        assert!(head.contains(said), "{path} {headers}: {head}");
    }
    let (head, _) =
        exchange(address, "POST /metrics HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\n\r\n");
    assert!(head.starts_with("http/1.1 405"), "{head}");
    let (_, page) = get(address, "/metrics", "");
    let (_, zipped) = get(address, "/metrics", "Accept-Encoding: gzip\r\n");
    let mut unzipped = Vec::new();
    flate2::read::GzDecoder::new(&zipped[..]).read_to_end(&mut unzipped).unwrap();
    assert!(unzipped == page && zipped.len() < page.len() / 4, "{} {}", zipped.len(), page.len());
}

/// Who connects and says nothing takes one of 16 places, for five seconds.
#[test]
fn silent_scrapers_take_no_more_than_their_places() {
    let address = free();
    let _serving = Serving::on(&[address]);
    let silent: Vec<TcpStream> = (0..16).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut refused = TcpStream::connect(address).unwrap();
    refused.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Nothing, or a reset: the end in either case.
    assert_eq!(refused.read(&mut [0; 8]).unwrap_or(0), 0);
    for mut stream in silent {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("its time is over");
    }
    let (head, _) = get(address, "/metrics", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
}

#[test]
fn addresses_come_and_go_and_one_that_is_taken_changes_nothing() {
    let [first, second] = [free(), free()];
    let mut serving = Serving::on(&[first]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken_at = taken.local_addr().unwrap();
    let error = serving.follow(&[second, taken_at]).unwrap_err();
    assert!(error.to_string().contains(&format!("cannot listen on {taken_at}")), "{error}");
    assert!(get(first, "/metrics", "").0.starts_with("http/1.1 200"));
    assert!(TcpStream::connect(second).is_err());
    serving.follow(&[second]).unwrap();
    assert!(get(second, "/metrics", "").0.starts_with("http/1.1 200"));
    drop(serving);
    assert!(TcpStream::connect(first).is_err() && TcpStream::connect(second).is_err());
}
