//! Idle times in real time: real connections leave `ipvsadm -Lnc` when their time is over, and
//! the column `expire` counts the seconds until then.
use std::thread;
use std::time::{Duration, Instant};

use xtask::lab::{Director, ask_from};

use crate::front::{Front, Row, empty, place};
use crate::tcp::{hold, knock, reset};
use crate::{CLIENT, server, stage};

const TIMEOUTS: &str = "timeouts: {udp: 3s, tcp_close: 2s, tcp_time_wait: 3s, tcp_syn_recv: 4s}\n";

/// A connection that is watched.
struct Watched {
    state: &'static str,
    /// Its client and VIP begin and end so.
    client: String,
    vip: String,
    /// Its idle time in seconds.
    timeout: f64,
    /// Its last packet was between these two.
    last_packet: [Instant; 2],
    /// Where it was listed: asked and answered at these times, with its `expire`.
    seen: Vec<([Instant; 2], u64)>,
    /// The first listing without it.
    gone: Option<[Instant; 2]>,
}

impl Watched {
    /// One whose packets `traffic` makes.
    fn new(state: &'static str, vip: String, timeout: u64, traffic: impl FnOnce()) -> Self {
        let begun = Instant::now();
        traffic();
        let last_packet = [begun, Instant::now()];
        let (client, timeout) = (place(CLIENT[0], 0), timeout as f64);
        let client = client.trim_end_matches('0').to_owned();
        Self { state, client, vip, timeout, last_packet, seen: Vec::new(), gone: None }
    }

    fn of_port(mut self, port: u16) -> Self {
        self.client = place(CLIENT[0], port);
        self
    }

    fn is(&self, row: &Row) -> bool {
        row.state == self.state && row.client.starts_with(&self.client) && row.vip == self.vip
    }

    /// What a listing says of it.
    fn note(&mut self, at: [Instant; 2], rows: &[Row]) {
        match rows.iter().find(|row| self.is(row)) {
            Some(row) => {
                assert!(self.gone.is_none(), "it came back: {row:?}");
                self.seen.push((at, row.expires));
            }
            None if self.gone.is_none() => self.gone = Some(at),
            None => {}
        }
    }

    /// The least and the most seconds between its last packet and a listing.
    fn idle(&self, [asked, answered]: [Instant; 2]) -> [f64; 2] {
        let [begun, ended] = self.last_packet;
        let since = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64();
        [since(ended, asked), since(begun, answered)]
    }

    fn judge(&self) {
        let name = format!("{} {}", self.state, self.vip);
        assert!(!self.seen.is_empty(), "{name} was never listed");
        for (at, expires) in &self.seen {
            let [least, most] = self.idle(*at);
            // Whole seconds of the last packet and of now, so one more or less; 0 while the
            // sweep, a pass a second, has not come to it.
            let left = |idle: f64| (self.timeout - idle).max(0.0);
            let range = left(most) - 1.0..=left(least) + 1.0;
            assert!(range.contains(&(*expires as f64)), "{name}: {expires} is not in {range:?}");
            // At most two seconds late, and one for the time that a listing takes here.
            assert!(least < self.timeout + 3.0, "{name}: there {least:.1} s after its last packet");
        }
        let [_, most] = self.idle(self.gone.unwrap());
        assert!(most >= self.timeout, "{name}: gone {most:.1} s after its last packet");
        let counts: Vec<u64> = self.seen.iter().map(|(_, expires)| *expires).collect();
        assert!(counts.is_sorted_by(|a, b| a >= b), "{name}: {counts:?}");
        assert!(counts.last() < counts.first(), "{name}: {counts:?}");
    }
}

#[test]
fn connections_end_when_their_time_is_over_and_not_before() {
    let lab = stage("nat", 2);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, TIMEOUTS)).unwrap();
    let vip = lab.topology().vips[0];
    let (own, silent) = (server(&lab, 1, 0), server(&lab, 3, 0));
    for (service, server) in [("-t", own), ("-u", own)] {
        let port = if service == "-t" { 80 } else { 53 };
        front.run(&format!("ipvsadm -A {service} {}", place(vip, port)));
        front.add_server(service, vip, port, server);
    }
    // This server hears the client and cannot answer.
    front.run(&format!("ipvsadm -A -t {vip}:81"));
    front.run(&format!("ipvsadm -a -t {vip}:81 -r {silent}:80 -m"));
    lab.host("server3").run(&format!("ip route add blackhole {}/32", CLIENT[0])).unwrap();

    let ask = |port| ask_from(&lab.host("client"), &lab, &[vip, "53"], [1, 32, 64], Some(port));
    // What was opened before `--set` keeps its time.
    let old = hold(&lab, vip, 80, 1, "old");
    let [web, dns, mute] = [80, 53, 81].map(|port| place(vip, port));
    let mut watched =
        vec![Watched::new("UDP", dns.clone(), 3, || drop(ask(40_001).unwrap())).of_port(40_001)];
    front.run("ipvsadm --set 100 0 5");
    let timeouts = front.run("ipvsadm -L --timeout");
    assert_eq!(timeouts, "Timeout (tcp tcpfin udp): 100 120 5\n");
    let new = hold(&lab, vip, 80, 1, "new");
    let rows = front.connections();
    let mut established: Vec<u64> =
        rows.iter().filter(|row| row.state == "ESTABLISHED").map(|row| row.expires).collect();
    established.sort_unstable();
    assert!(matches!(established[..], [90..=100, 880..=900]), "{rows:?}");

    watched.extend([
        Watched::new("UDP", dns, 5, || drop(ask(40_002).unwrap())).of_port(40_002),
        Watched::new("CLOSE", web.clone(), 2, || reset(&lab, vip, 80)),
        Watched::new("TIME_WAIT", web, 3, || drop(lab.client().fetch(vip, 1).unwrap())),
        Watched::new("SYN_RECV", mute, 4, || knock(&lab, vip, 81)),
    ]);
    let deadline = Instant::now() + Duration::from_secs(12);
    while watched.iter().any(|one| one.gone.is_none()) {
        let asked = Instant::now();
        let rows = front.connections();
        assert!(asked < deadline, "still there: {rows:?}");
        for one in &mut watched {
            one.note([asked, Instant::now()], &rows);
        }
        thread::sleep(Duration::from_millis(200));
    }
    watched.iter().for_each(Watched::judge);
    // These two have time left.
    assert_eq!(front.connections().len(), 2);
    drop((old, new));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
