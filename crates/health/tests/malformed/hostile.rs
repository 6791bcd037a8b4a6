//! Servers that never end: each probe against one, with its deadline and its memory.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use health::{
    check::{
        Body, Dns, Exec, File, Http, HttpVersion, Probe, Question, Target, Tcp, Tls, Udp, Via,
    },
    outcome::Bad,
    probe::{self, Net},
};

const DEADLINE: Duration = Duration::from_millis(400);
/// What a busy machine adds to it.
const GRACE: Duration = Duration::from_secs(4);
/// What a page's body may take here.
const BODY: usize = 64 * 1024;
/// Octets of memory that a probe may have at once: 64 KiB of headers or of an answer, and what
/// growing a buffer takes; the body; HTTP/2's windows; TLS.
const MEMORY: u64 = 1 << 20;
/// The library of HTTP/2 keeps all that comes before the response, and takes many times the room
/// of it: what is read of a server at most may be of this kind.
const INFORMS: u64 = 10 << 20;

/// A page that has `ok` in it.
fn page(version: HttpVersion, tls: Option<Tls>) -> Probe {
    Probe::Http(Http {
        method: "GET".into(),
        path: "/".into(),
        host: None,
        version,
        headers: vec![],
        status: vec![200..=299],
        body: Body::Contains("ok".into()),
        body_limit: BODY,
        tls,
    })
}

fn dns() -> Probe {
    let (name, kind) = ("www.example".into(), "A".into());
    Probe::Dns(Dns { name, kind, rcode: vec![], answer: Some("192.0.2.7".into()) })
}

/// Asks, and sees that it failed, in time, within its memory.
fn fails(name: &str, port: u16, probe: Probe) -> Bad {
    let (address, via) = ([127, 0, 0, 1].into(), Via::Direct);
    let target = Target { address, port, source: None, interface: None, via };
    let question = Question { probe: Arc::new(probe), target, timeout: DEADLINE };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().expect("a runtime");
    let begun = Instant::now();
    let mut outcome = None;
    let info = allocation_counter::measure(|| {
        outcome = Some(runtime.block_on(probe::ask(&Net::default(), &question)));
    });
    assert!(begun.elapsed() < DEADLINE + GRACE, "{name}: {:?}", begun.elapsed());
    let memory = if name == "http2 informs" { INFORMS } else { MEMORY };
    assert!(info.bytes_max <= memory, "{name}: {} octets", info.bytes_max);
    let bad = outcome.expect("an outcome").verdict.expect_err(name);
    println!("{name}: {} octets, {:?}: {}", info.bytes_max, begun.elapsed(), bad.text);
    assert!(!bad.text.chars().any(char::is_control), "{name}: {:?}", bad.text);
    bad
}

/// Hears what is asked, if anything is; says the first words, and then the same again and again as fast as it is heard, or an octet of
/// it now and then, until the other one has gone.
fn endless(first: &[u8], again: &[u8], drips: bool) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (first, again) = (first.to_vec(), again.to_vec());
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody");
        let _ = stream.set_nodelay(true);
        let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
        let _ = stream.read(&mut [0; 2048]);
        let _ = stream.write_all(&first);
        while going_on(&mut stream, &again, drips) {}
    });
    port
}

fn going_on(stream: &mut TcpStream, again: &[u8], drips: bool) -> bool {
    if !drips {
        return stream.write_all(&again.repeat(1 + 16_384 / again.len())).is_ok();
    }
    again.iter().all(|octet| {
        thread::sleep(Duration::from_millis(20));
        stream.write_all(&[*octet]).is_ok()
    })
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = (body.len() as u32).to_be_bytes()[1..].to_vec();
    octets.extend([kind, flags, 0, 0, 0, stream]);
    octets.extend(body);
    octets
}

/// A record of TLS 1.2 or 1.3 (RFC 8446 section 5.1).
fn record(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut octets = vec![kind, 3, 3];
    octets.extend((body.len() as u16).to_be_bytes());
    octets.extend(body);
    octets
}

/// What is said: a name, the probe, the first words, what never ends.
type Row = (&'static str, Probe, Vec<u8>, Vec<u8>);

fn pages() -> Vec<Row> {
    let one = || page(HttpVersion::Http11, None);
    let ok = b"HTTP/1.1 200 OK\r\n".to_vec();
    let chunked = [&ok[..], b"Transfer-Encoding: chunked\r\n\r\n"].concat();
    let long = [&ok[..], b"Content-Length: 999999999999\r\n\r\n"].concat();
    let continues = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    vec![
        ("http status", one(), vec![], b"a".to_vec()),
        ("http headers", one(), ok.clone(), b"X: y\r\n".to_vec()),
        ("http one header", one(), [&ok[..], b"X: "].concat(), b"y".to_vec()),
        ("http body", one(), [&ok[..], b"\r\n"].concat(), b"a".to_vec()),
        ("http long body", one(), long, b"a".to_vec()),
        ("http small chunks", one(), chunked.clone(), b"1\r\na\r\n".to_vec()),
        ("http chunk size", one(), chunked.clone(), b"0".to_vec()),
        ("http chunk extension", one(), [&chunked[..], b"1;"].concat(), b"a".to_vec()),
        ("http trailers", one(), [&chunked[..], b"0\r\n"].concat(), b"X: y\r\n".to_vec()),
        ("http continues", one(), vec![], continues),
        (
            "http 1.0 body",
            page(HttpVersion::Http10, None),
            b"HTTP/1.0 200 OK\r\n\r\n".to_vec(),
            b"a".to_vec(),
        ),
    ]
}

/// HTTP/2: frame types 0 data, 1 headers, 4 settings, 6 ping, 8 window update, 9 continuation.
fn pages_of_http2() -> Vec<Row> {
    let two = || page(HttpVersion::Http2, None);
    let settings = frame(4, 0, 0, &[]);
    // `:status: 200` is entry 8 of HPACK's table; a literal header `x: y`; one with a new name.
    let (status, small) = (b"\x88", b"\x00\x01x\x01y");
    let response = [&settings[..], &frame(1, 4, 1, status)].concat();
    let opened = [&settings[..], &frame(1, 0, 1, status)].concat();
    vec![
        ("http2 pings", two(), settings.clone(), frame(6, 0, 0, &[7; 8])),
        ("http2 settings", two(), vec![], settings.clone()),
        ("http2 data", two(), response.clone(), frame(0, 0, 1, &[b'a'; 1024])),
        ("http2 empty data", two(), response.clone(), frame(0, 0, 1, &[])),
        ("http2 continuations", two(), opened, frame(9, 0, 1, &small.repeat(200))),
        ("http2 informs", two(), settings.clone(), frame(1, 4, 1, b"\x08\x03100")),
        ("http2 windows", two(), settings.clone(), frame(8, 0, 0, &[0, 0, 0, 1])),
        ("http2 unknown", two(), settings, frame(200, 0, 0, &[0; 100])),
        ("http2 noise", two(), vec![], b"a".to_vec()),
    ]
}

fn others() -> Vec<Row> {
    let tls = || Probe::Tls(Tls::default());
    let https = page(HttpVersion::Http11, Some(Tls::default()));
    let expect = Probe::Tcp(Tcp { send: vec![], expect: b"ok".to_vec() });
    let (smtp, redis) = (|| Probe::Smtp { helo: "a".into() }, || Probe::Redis { password: None });
    let postgres = || Probe::Postgres { user: "a".into(), database: None };
    vec![
        ("tcp", expect, vec![], b"a".to_vec()),
        ("tls noise", tls(), vec![], b"a".to_vec()),
        // A handshake message of 16 MiB; alerts that mean nothing; records of nothing.
        ("tls message", tls(), vec![], record(22, &[2, 0xff, 0xff, 0xff])),
        ("tls warnings", tls(), vec![], record(21, &[1, 90])),
        ("tls nothing", tls(), vec![], record(22, &[])),
        ("https message", https, vec![], record(22, &[2, 0xff, 0xff, 0xff])),
        ("smtp lines", smtp(), vec![], b"220-a\r\n".to_vec()),
        ("smtp line", smtp(), b"220 ".to_vec(), b"a".to_vec()),
        ("redis line", redis(), b"+".to_vec(), b"a".to_vec()),
        ("redis lines", redis(), vec![], b"\r\n".to_vec()),
        ("mysql noise", Probe::Mysql, vec![], b"a".to_vec()),
        ("mysql greeting", Probe::Mysql, b"\0\x10\0\0".to_vec(), b"a".to_vec()),
        ("postgres noise", postgres(), vec![], b"a".to_vec()),
        ("postgres error", postgres(), b"E\0\0\x3f\xff".to_vec(), b"a".to_vec()),
    ]
}

/// As fast as it is heard.
#[test]
fn floods_end_and_take_little_memory() {
    for (name, probe, first, again) in [pages(), pages_of_http2(), others()].concat() {
        fails(name, endless(&first, &again, false), probe);
    }
}

/// An octet every 20 ms: nothing is wrong with it, it only never ends.
#[test]
fn drips_end_at_the_deadline() {
    let waiting: Vec<_> = [pages(), others()]
        .concat()
        .into_iter()
        .map(|(name, probe, first, again)| {
            thread::spawn(move || fails(name, endless(&first, &again, true), probe))
        })
        .collect();
    for ended in waiting {
        ended.join().expect("it failed in time");
    }
}

/// Answers to every datagram with more of them than anybody wants, until it is silent.
fn datagrams(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let own = socket.try_clone().expect("a socket");
    thread::spawn(move || {
        let mut question = [0; 2048];
        while let Ok((length, from)) = own.recv_from(&mut question) {
            let answer = answer(&question[..length]);
            let begun = Instant::now();
            while begun.elapsed() < DEADLINE * 2 {
                if own.send_to(&answer, from).is_err() {
                    return;
                }
            }
        }
    });
    socket
}

#[test]
fn floods_of_datagrams() {
    let port = |socket: &UdpSocket| socket.local_addr().expect("an address").port();
    let large = datagrams(|_| vec![b'a'; 60_000]);
    let expect = Some(vec![Some(b'b')]);
    fails("udp", port(&large), Probe::Udp(Udp { send: vec![], expect }));
    // Not to this question: it goes on waiting.
    let others = datagrams(|question| {
        let mut answer = question.to_vec();
        answer[0] ^= 1;
        answer[2] |= 0x80;
        answer.resize(60_000, 0);
        answer
    });
    fails("dns of others", port(&others), dns());
    // Cut, and by TCP there is more than can be.
    let (cut, listener) = loop {
        let cut = datagrams(|question| {
            let mut answer = question.to_vec();
            (answer[2], answer[3]) = (0x83, 0x80);
            answer
        });
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port(&cut))) {
            break (cut, listener);
        }
    };
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody");
        while going_on(&mut stream, b"\xff", false) {}
    });
    fails("dns by tcp", port(&cut), dns());
}

/// What this box itself has to say.
#[test]
fn programs_and_files_without_end() {
    let argv = ["yes", "no"].map(str::to_owned).to_vec();
    fails("exec", 0, Probe::Exec(Exec { argv, user: "nobody".into(), weight: false }));
    fails("file", 0, Probe::File(File { path: "/dev/zero".into(), word: None, weight: false }));
}
