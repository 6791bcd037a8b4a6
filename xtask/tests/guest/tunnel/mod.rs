//! `scripts/realserver start --mode tun` on a kernel with tunnels: what leaves a director
//! in TUN mode is unpacked by the server's kernel, and the server answers the client itself,
//! as the VIP. Here is what all tunnels share; each has a file for its own.
mod flow;
mod gre;
mod gue;
mod ipip;
mod outer;
mod settings;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use xtask::guest::{Guest, Initramfs, Nic, Plan, Release};
use xtask::shell;

use crate::{PATIENCE, golden};
use flow::Flow;
use outer::{acknowledging, inner, resetting, spoilt};
use settings::Settings;

/// A forwarding: the tunnel, the family of the VIP and that of the outer header.
struct Forwarding {
    /// A file of golden cases.
    table: &'static str,
    /// The cases are `<cases>_tcp_<family>` and `<cases>_udp_<family>`, one round for each.
    cases: &'static [&'static str],
    family: &'static str,
    device: &'static str,
    /// More words for `realserver start`.
    words: &'static str,
    /// As `cases`, of a director whose tunnel is another one: the device counts an error.
    refused: &'static [&'static str],
}

/// The golden tables send to this MAC: of the router there, of the server's NIC here.
const MAC: &str = "02:00:00:00:02:fe";
/// The server's own gateway: the way to the client, past the director.
const GATEWAY: [u8; 6] = [2, 0, 0, 0, 3, 1];

const SERVER: &str = "
    # No address that comes by itself, some time later.
    ip link set eth0 addrgenmode none up
    until grep -q up /sys/class/net/eth0/operstate; do sleep 0.1; done
    ip address add 10.0.4.11/24 dev eth0
    ip address add fd00:4::11/64 dev eth0 nodad
    ip neigh add 10.0.4.1 lladdr 02:00:00:00:03:01 dev eth0 nud permanent
    ip neigh add fd00:4::1 lladdr 02:00:00:00:03:01 dev eth0 nud permanent
    ip route add default via 10.0.4.1
    ip -6 route add default via fd00:4::1
    # Debian's and others' default: strict.
    sysctl -q -w net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth0.rp_filter=1";

/// A server whose kernel has these modules at hand.
fn server(modules: &[&str]) -> Guest {
    let root = Initramfs::default()
        .modules(modules)
        .programs(&["socat"])
        .file(&shell::repository().join("scripts/realserver"), "/root/realserver");
    let kernel = Release::Bookworm.kernel().unwrap();
    let plan =
        Plan { nics: vec![Nic::new(MAC)], lifetime: Duration::from_secs(200), ..Plan::default() };
    let mut guest = Guest::boot(&kernel, &root, &plan).unwrap();
    guest.run(SERVER).unwrap();
    guest
}

/// Starts the real server's side, has it answer, and stops it: for each of them, and nothing
/// of it stays. Gives how many spoilt frames were sent.
fn serve(guest: &mut Guest, forwardings: &[Forwarding]) -> u64 {
    let mut spoilt = 0;
    let mut before = Settings::of(guest);
    for forwarding in forwardings {
        let Forwarding { device, words, .. } = forwarding;
        spoilt += forwarding.serve(guest);
        let after = Settings::of(guest);
        let changes = after.changes_since(&before);
        assert!(changes.is_empty(), "{device} {words}: {changes:#?}");
        before = after;
    }
    spoilt
}

impl Forwarding {
    fn serve(&self, guest: &mut Guest) -> u64 {
        let first = &self.frames(self.cases[0], "tcp")[0];
        let vip = Flow::inside(first).vip;
        guest.run(&format!("sh /root/realserver start --mode tun {} {vip}", self.words)).unwrap();
        guest.run("sh /root/realserver status").unwrap();
        if vip.is_ipv4() {
            answers_arp_for_itself_alone(guest, vip);
        }
        // What is outside the packet, its own header and TCP's: all of that in an MTU of 1500.
        let (version, own) = if vip.is_ipv4() { (4, 20) } else { (6, 40) };
        let advmss = format!("advmss {}", 1500 - (inner(first) - 14) - own - 20);
        let route = guest.run(&format!("ip -{version} route show default")).unwrap();
        assert!(route.contains(&advmss), "{route} has no {advmss}");
        listen(guest, vip);
        let errors = self.count(guest, "rx_errors");
        for cases in self.refused {
            guest.wire(0).send(&self.frames(cases, "tcp")[0]).unwrap();
        }
        let spoilt = self.cases.iter().map(|cases| self.round(guest, cases)).sum();
        let refused = self.count(guest, "rx_errors") - errors;
        assert_eq!(refused, self.refused.len() as u64, "errors of {}", self.device);
        guest.run("kill $(cat /run/listeners)").unwrap();
        let words = guest.run("sh /root/realserver stop").unwrap();
        assert_eq!(words, "realserver: stopped, settings as before\n", "{}", self.device);
        assert!(!guest.run("ip -o address").unwrap().contains(&vip.to_string()), "{vip} is gone");
        spoilt
    }

    /// A connection and a datagram. Gives how many spoilt frames were sent.
    fn round(&self, guest: &mut Guest, cases: &str) -> u64 {
        let (tcp, udp) = (self.frames(cases, "tcp"), self.frames(cases, "udp"));
        let flow = Flow::inside(&tcp[0]);
        let unpacked = self.count(guest, "rx_packets");
        let mut spoilt = 0;

        spoilt += send(guest, &tcp[0]);
        let answer = flow.answer(guest, |answer| answer.flags == Some((true, true)));
        let isn = answer.sequence.unwrap();
        // Golden servers choose 5000; this one chose its own.
        for request in &tcp[1..3] {
            spoilt += send(guest, &acknowledging(request, isn.wrapping_sub(5000)));
        }
        let page = flow.answer(guest, |answer| !answer.payload.is_empty());
        let expected = format!("GET / HTTP/1.0 at {}\n", flow.vip);
        assert_eq!(String::from_utf8_lossy(&page.payload), expected, "{cases}");
        // The client hangs up at once, so that no socket waits for it in the next round.
        spoilt += send(guest, &resetting(&tcp[3]));

        spoilt += send(guest, &udp[0]);
        let echo = Flow::inside(&udp[0]).answer(guest, |_| true);
        assert_eq!(echo.payload, b"question", "{cases}");
        assert_eq!(
            self.count(guest, "rx_packets"),
            unpacked + 5,
            "{cases}: {} unpacked SYN, ACK, GET, RST and datagram, and nothing spoilt",
            self.device
        );
        let has_checksum = cases.contains("csum");
        assert_eq!(spoilt, if has_checksum { 5 } else { 0 }, "{cases}");
        spoilt
    }

    /// What leaves the director in a case.
    fn frames(&self, cases: &str, protocol: &str) -> Vec<Vec<u8>> {
        let steps = golden::case(self.table, &format!("{cases}_{protocol}_{}", self.family));
        // Answers do not come by the director.
        assert!(steps.iter().all(|step| step.arrives.port == 0 && step.leaves.len() == 1));
        steps.into_iter().map(|step| step.leaves[0].octets.clone()).collect()
    }

    fn count(&self, guest: &mut Guest, of: &str) -> u64 {
        let path = format!("cat /sys/class/net/{}/statistics/{of}", self.device);
        guest.run(&path).unwrap().trim().parse().unwrap()
    }
}

/// Sends a frame; if it has an outer checksum, then first a twin in which that is wrong.
/// Gives how many twins there were.
fn send(guest: &Guest, frame: &[u8]) -> u64 {
    let twin = spoilt(frame);
    for frame in twin.iter().map(Vec::as_slice).chain([frame]) {
        guest.wire(0).send(frame).unwrap();
    }
    u64::from(twin.is_some())
}

/// Asks who has the VIP, and then who has the server's own address: to that there is an
/// answer, so the other one would have been seen before it.
fn answers_arp_for_itself_alone(guest: &Guest, vip: IpAddr) {
    const OWN: Ipv4Addr = Ipv4Addr::new(10, 0, 4, 11);
    let IpAddr::V4(vip) = vip else { return };
    for target in [vip, OWN] {
        // RFC 826: Ethernet and IPv4, a request of 10.0.4.1 to everybody.
        let mut request = vec![0xff; 6];
        request.extend(GATEWAY);
        request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        request.extend(GATEWAY);
        request.extend([10, 0, 4, 1, 0, 0, 0, 0, 0, 0]);
        request.extend(target.octets());
        guest.wire(0).send(&request).unwrap();
    }
    let is_reply = |frame: &[u8]| frame[12..14] == [8, 6] && frame[21] == 2;
    let reply = guest.wire(0).receive(PATIENCE, is_reply).unwrap().unwrap();
    assert_eq!(reply[28..32], OWN.octets(), "the server answers ARP for {vip}");
}

/// Listens at the VIP's port 80 (one line in, one line out) and 53 (echo).
fn listen(guest: &mut Guest, vip: IpAddr) {
    let (family, bound) =
        if vip.is_ipv4() { ("4", vip.to_string()) } else { ("6", format!("[{vip}]")) };
    let page = format!("read -r line; echo \"$(echo $line | tr -d '\\r') at {vip}\"");
    guest
        .run(&format!(
            "cat >/run/page <<'END'\n{page}\nEND
            socat TCP{family}-LISTEN:80,bind={bound},reuseaddr,fork EXEC:'sh /run/page' >/run/tcp.log 2>&1 &
            echo $! >/run/listeners
            socat UDP{family}-RECVFROM:53,bind={bound},fork EXEC:cat >/run/udp.log 2>&1 &
            echo $! >>/run/listeners
            until [ $(cat /proc/net/tcp* | grep -c ':0050 ') -gt 0 ]; do sleep 0.1; done
            until [ $(cat /proc/net/udp* | grep -c ':0035 ') -gt 0 ]; do sleep 0.1; done"
        ))
        .unwrap();
}
