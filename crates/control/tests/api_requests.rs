//! What the API says to requests, right ones and wrong ones, and what it tells of them.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use control::{
    api::{self, Endpoint, Served, Source, assemble},
    errand::{Desk, Errand},
    event::{Chronicle, Event, Kind, Subject},
    front::{Answer, Ask},
    report::Report,
};
use ipvsadm::Denial;
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// The API on a socket of the test's own, and a control that does what [`control`] says.
struct Stage {
    directory: PathBuf,
    chronicle: Arc<Chronicle>,
    told: std::sync::mpsc::Receiver<Event>,
    served: Option<Served>,
    control: Option<JoinHandle<()>>,
}

impl Stage {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("xlvs-requests-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let endpoint = Endpoint::bind(&directory.join("xlvs.sock")).unwrap();
        let chronicle = Arc::new(Chronicle::keeping(3));
        let (tell, told) = std::sync::mpsc::channel();
        let (desk, errands) = Desk::open();
        let source: Source = Arc::new(Report::default);
        let parts = [
            api::report(source),
            api::events(Arc::clone(&chronicle)),
            api::ipvsadm(desk.clone()),
            api::deny::deny(desk.clone()),
        ];
        let served = Some(endpoint.start(assemble(desk, parts)).unwrap());
        let control = Some(thread::spawn(move || control(errands, tell)));
        Self { directory, chronicle, told, served, control }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.directory.join("xlvs.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Status and body of the answer to `head`, such as `GET /v1/report` with more lines.
    fn ask(&self, head: &str, body: &str) -> (u16, Value) {
        let mut stream = self.connect();
        let (line, more) = head.split_once('\n').unwrap_or((head, ""));
        let more = more.lines().map(|line| format!("{line}\r\n")).collect::<String>();
        let length = body.len();
        write!(
            stream,
            "{line} HTTP/1.1\r\nHost: xlvs\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n"
        )
        .unwrap();
        // It may be refused before all of it has been read.
        let _ = stream.write_all(body.as_bytes());
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said).into_owned();
        let (head, body) = said.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{said:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::from(body)))
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(self.served.take());
        let ended = self.control.take().map(JoinHandle::join);
        let _ = fs::remove_dir_all(&self.directory);
        assert!(matches!(ended, Some(Ok(())) | None) || thread::panicking());
    }
}

/// Control's part: zeroing is done, changes are denied, the rest is not answered.
fn control(mut errands: mpsc::Receiver<Errand>, tell: std::sync::mpsc::Sender<Event>) {
    while let Some(errand) = errands.blocking_recv() {
        match errand {
            Errand::Tell(event) => tell.send(event).unwrap(),
            Errand::Ipvsadm(Ask::Zero(_), back) => {
                back.send(Answer::Done(Vec::new())).unwrap();
            }
            Errand::Ipvsadm(Ask::Change(_), back) => {
                back.send(Answer::Denied { at: 0, denial: Denial::NoSuchService }).unwrap();
            }
            Errand::Denials(back) => back.send(Vec::new()).unwrap(),
            _ => {}
        }
    }
}

const JSON: &str = "Content-Type: application/json";

#[test]
fn what_is_refused_has_one_shape_and_says_what_to_do() {
    let stage = Stage::new("refused");
    let large = format!("\"{}\"", "x".repeat(100_000));
    let deep = "[".repeat(100_000);
    let rows = [
        ("GET /v1/nothing", "", 404, "GET /v1/nothing: there is no such path"),
        ("GET /", "", 404, "/v1/openapi.json"),
        ("GET /%00", "", 404, "there is no such path"),
        ("DELETE /v1/report", "", 405, "not this method"),
        ("PATCH /v1/deny", "", 405, "not this method"),
        ("POST /v1/deny", "{}", 415, "Content-Type: application/json"),
        ("POST /v1/deny\nContent-Type: text/plain", "{}", 415, "Content-Type: application/json"),
        (&*format!("POST /v1/deny\n{JSON}"), "", 400, "EOF"),
        (&*format!("POST /v1/deny\n{JSON}"), "{\"source\"", 400, "column 9"),
        (&*format!("POST /v1/deny\n{JSON}"), "\u{0}", 400, "column 1"),
        (&*format!("POST /v1/deny\n{JSON}"), "{}", 422, "missing field `source`"),
        (&*format!("POST /v1/deny\n{JSON}"), "{\"sourse\": 1}", 422, "unknown field `sourse`"),
        (&*format!("POST /v1/deny\n{JSON}"), "{\"source\": 1}", 422, "source: invalid type"),
        (&*format!("POST /v1/deny\n{JSON}"), &*large, 413, "too large"),
        (&*format!("POST /v1/deny\n{JSON}"), &*deep, 413, "too large"),
        (&*format!("POST /v1/ipvsadm\n{JSON}"), &*deep, 400, "Failed to parse"),
        ("DELETE /v1/deny", "", 400, "source"),
        ("DELETE /v1/deny?sourse=192.0.2.1", "", 400, "unknown field `sourse`"),
        ("GET /v1/events?after=x", "", 400, "write after=NUMBER"),
        ("GET /v1/events\nAccept: text/event-stream\nLast-Event-ID: x", "", 400, "Last-Event-ID"),
    ];
    for (head, body, status, words) in rows {
        let case = format!("{head} {}", &body[..body.len().min(40)]);
        let (said, refusal) = stage.ask(head, body);
        assert_eq!(said, status, "{case}: {refusal}");
        assert_eq!(refusal["status"], status, "{case}: {refusal}");
        let message = refusal["message"].as_str().unwrap_or_else(|| panic!("{case}: {refusal}"));
        assert!(message.contains(words), "{case}: {message}");
    }
    assert_eq!(stage.ask("GET /v1/deny", "").0, 200, "it goes on");
}

#[test]
fn what_is_changed_is_told_and_what_only_reads_or_is_refused_is_not() {
    let stage = Stage::new("audit");
    let tcp = json!({"endpoint": {"protocol": "tcp", "address": "203.0.113.10", "port": 80}});
    let delete = json!({"change": [{"delete_service": tcp}]});
    let zero = json!({"zero": tcp});
    let rows = [
        ("GET /v1/deny", Value::Null, 200, None),
        ("POST /v1/deny", json!({"source": 1}), 422, None),
        ("POST /v1/ipvsadm", delete, 200, None),
        ("POST /v1/ipvsadm", zero, 200, Some("ipvsadm -Z -t 203.0.113.10:80")),
        ("POST /v1/ipvsadm", json!({"zero": null}), 200, Some("ipvsadm -Z")),
    ];
    let who = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
    for (head, body, status, told) in rows {
        let (said, answer) = stage.ask(&format!("{head}\n{JSON}"), &body.to_string());
        assert_eq!(said, status, "{head} {body}: {answer}");
        // What must not be told would come before the next that must.
        let Some(told) = told else { continue };
        let event = stage.told.recv_timeout(Duration::from_secs(10)).expect("it is told");
        assert_eq!(event.to_string(), format!("audit {who}: {told}"), "{head} {body}");
        assert_eq!(event.name(), "audit.done");
    }
}

/// Number, kind and data of the events of a stream, until there are so many.
fn sent(stream: UnixStream, many: usize) -> Vec<[String; 3]> {
    let mut events = Vec::new();
    let mut event: [String; 3] = Default::default();
    for line in BufReader::new(stream).lines() {
        let line = line.unwrap();
        let place = ["id: ", "event: ", "data: "].iter().position(|name| line.starts_with(name));
        if let (Some(place), Some((_, value))) = (place, line.split_once(": ")) {
            event[place] = value.to_owned();
        } else if line.is_empty() && !event[2].is_empty() {
            events.push(std::mem::take(&mut event));
            if events.len() == many {
                break;
            }
        }
    }
    events
}

#[test]
fn events_are_sent_with_their_numbers_and_who_comes_back_misses_none() {
    let stage = Stage::new("sent");
    let happen = || {
        let mut event = Event::new(Kind::Director, Subject::default(), "starting", "forwarding");
        stage.chronicle.write(&mut event);
    };
    (0..5).for_each(|_| happen());
    // Three are kept: what was had, what comes.
    let rows: [(&str, &[(&str, &str)]); 4] = [
        ("", &[("2", "gap"), ("3", "director"), ("4", "director"), ("5", "director")]),
        ("Last-Event-ID: 4\r\n", &[("5", "director"), ("6", "director")]),
        ("Last-Event-ID: 6\r\n", &[("7", "director")]),
        // Of a daemon before this one.
        (
            "Last-Event-ID: 900\r\n",
            &[("4", "gap"), ("5", "director"), ("6", "director"), ("7", "director")],
        ),
    ];
    for (had, expected) in rows {
        let mut stream = stage.connect();
        let head = "GET /v1/events HTTP/1.1\r\nHost: xlvs\r\nAccept: text/event-stream\r\n";
        write!(stream, "{head}{had}\r\n").unwrap();
        // The last one may be yet to come.
        let last = expected.iter().map(|(id, _)| id.parse::<u64>().unwrap()).max().unwrap();
        while *stage.chronicle.bell().borrow() < last {
            happen();
        }
        let seen = sent(stream, expected.len());
        let seen: Vec<_> = seen.iter().map(|[id, event, _]| (&**id, &**event)).collect();
        assert_eq!(seen, expected, "{had}");
    }
}
