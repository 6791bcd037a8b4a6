//! `scripts/realserver start --mode tun` on a kernel with tunnels: what leaves a director
//! in TUN mode is unpacked by tunl0, ip6tnl0 and sit0, and the server answers the client
//! itself, as the VIP.
use std::net::{IpAddr, Ipv4Addr};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use xtask::guest::{Guest, Initramfs, Nic, Plan, Release};
use xtask::shell;

use crate::packet::{Transport, with_word, word};
use crate::{PATIENCE, golden};

/// A forwarding: the family of the VIP and that of the outer header.
struct Forwarding {
    /// The golden cases are `<cases>_tcp_<family>` and `<cases>_udp_<family>`.
    cases: &'static str,
    family: &'static str,
    device: &'static str,
    /// More words for `realserver start`.
    words: &'static str,
}

const FORWARDINGS: [Forwarding; 5] = [
    Forwarding { cases: "tun", family: "v4", device: "tunl0", words: "" },
    Forwarding { cases: "tun", family: "v4", device: "tunl0", words: "--rp-filter 0" },
    Forwarding { cases: "tun", family: "v6", device: "ip6tnl0", words: "" },
    Forwarding { cases: "tun_mixed", family: "v4", device: "ip6tnl0", words: "--outer ipv6" },
    Forwarding { cases: "tun_mixed", family: "v6", device: "sit0", words: "--outer ipv4" },
];

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

#[test]
fn real_tunl0() {
    let root = Initramfs::default()
        .modules(&["ipip", "ip6_tunnel", "sit"])
        .programs(&["socat"])
        .file(&shell::repository().join("scripts/realserver"), "/root/realserver");
    let kernel = Release::Bookworm.kernel().unwrap();
    let plan = Plan { nics: vec![Nic::new(MAC)], ..Plan::default() };
    let mut guest = Guest::boot(&kernel, &root, &plan).unwrap();
    guest.run(SERVER).unwrap();
    let mut before = Settings::of(&mut guest);
    for forwarding in &FORWARDINGS {
        serve(&mut guest, forwarding);
        let after = Settings::of(&mut guest);
        let changes = after.changes_since(&before);
        assert!(changes.is_empty(), "{} {}: {changes:#?}", forwarding.device, forwarding.words);
        before = after;
    }
}

/// Starts the real server's side, has it answer, and stops it.
fn serve(guest: &mut Guest, forwarding: &Forwarding) {
    let Forwarding { cases, family, device, words } = forwarding;
    let [tcp, udp] = ["tcp", "udp"].map(|protocol| {
        let steps = golden::case("tun", &format!("{cases}_{protocol}_{family}"));
        // Answers do not come by the director.
        assert!(steps.iter().all(|step| step.arrives.port == 0 && step.leaves.len() == 1));
        steps.into_iter().map(|step| step.leaves[0].octets.clone()).collect::<Vec<_>>()
    });
    let flow = Flow::inside(&tcp[0]);
    let vip = flow.vip;
    guest.run(&format!("sh /root/realserver start --mode tun {words} {vip}")).unwrap();
    guest.run("sh /root/realserver status").unwrap();
    if vip.is_ipv4() {
        answers_arp_for_itself_alone(guest, vip);
    }
    listen(guest, vip);
    let counted = received(guest, device);

    guest.wire(0).send(&tcp[0]).unwrap();
    let answer = flow.answer(guest, |answer| answer.flags == Some((true, true)));
    let isn = answer.sequence.unwrap();
    // Golden servers choose 5000; this one chose its own.
    for request in &tcp[1..3] {
        guest.wire(0).send(&acknowledging(request, isn.wrapping_sub(5000))).unwrap();
    }
    let page = flow.answer(guest, |answer| !answer.payload.is_empty());
    assert_eq!(String::from_utf8_lossy(&page.payload), format!("GET / HTTP/1.0 at {vip}\n"));

    // The client hangs up at once, so that no socket waits for it in the next round.
    guest.wire(0).send(&resetting(&tcp[3])).unwrap();

    guest.wire(0).send(&udp[0]).unwrap();
    let echo = Flow::inside(&udp[0]).answer(guest, |_| true);
    assert_eq!(echo.payload, b"question", "{device}");
    assert_eq!(
        received(guest, device),
        counted + 5,
        "{device} unpacked SYN, ACK, GET, RST and datagram"
    );
    guest.run("kill $(cat /run/listeners)").unwrap();
    guest.run("sh /root/realserver stop").unwrap();
    assert!(!guest.run("ip -o address").unwrap().contains(&vip.to_string()), "{vip} is gone");
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

fn received(guest: &mut Guest, device: &str) -> u64 {
    let path = format!("cat /sys/class/net/{device}/statistics/rx_packets");
    guest.run(&path).unwrap().trim().parse().unwrap()
}

/// Everything that the script may touch, line by line.
struct Settings {
    devices: Vec<String>,
    lines: Vec<String>,
}

impl Settings {
    fn of(guest: &mut Guest) -> Self {
        let mut lines = |command: &str| -> Vec<String> {
            guest.run(command).unwrap().lines().map(str::to_owned).collect()
        };
        let devices = lines("ls -1 /sys/class/net");
        let lines = lines(
            "ip -o address; ip -4 route show table all; ip -6 route show table all; ip -o -d link
            grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf || true",
        );
        Self { devices, lines }
    }

    /// The lines that are gone and those that are new. A device that came with a module
    /// meanwhile may stay, with what belongs to it, but not up.
    fn changes_since(&self, before: &Self) -> Vec<String> {
        let came = |name: &&String| !before.devices.contains(name);
        let newcomers: Vec<&String> = self.devices.iter().filter(came).collect();
        let is_harmless = |line: &String| {
            newcomers.iter().any(|name| line.contains(name.as_str())) && !line.contains(",UP")
        };
        let new = self.lines.iter().filter(|line| !before.lines.contains(line));
        let new = new.filter(|line| !is_harmless(line)).map(|line| format!("new: {line}"));
        let gone = before.lines.iter().filter(|line| !self.lines.contains(line));
        gone.map(|line| format!("gone: {line}")).chain(new).collect()
    }
}

/// A client and what it asked.
struct Flow {
    client: IpAddr,
    vip: IpAddr,
    ports: (u16, u16),
}

/// What came back from the VIP.
struct Answer {
    /// SYN and ACK; TCP alone has them.
    flags: Option<(bool, bool)>,
    sequence: Option<u32>,
    payload: Vec<u8>,
}

impl Flow {
    /// The flow of an encapsulated packet.
    fn inside(frame: &[u8]) -> Self {
        let packet = SlicedPacket::from_ip(&frame[inner(frame)..]).unwrap();
        let (client, vip) = addresses(&packet);
        Self { client, vip, ports: ports(&packet) }
    }

    /// The next frame of this flow's answers that is wanted: from the VIP itself to the
    /// client, by the server's own gateway.
    fn answer(&self, guest: &Guest, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let read = |frame: &[u8]| {
            let packet = SlicedPacket::from_ethernet(frame).ok()?;
            packet.net.as_ref()?;
            let ours = packet.transport.is_some()
                && addresses(&packet) == (self.vip, self.client)
                && ports(&packet) == (self.ports.1, self.ports.0);
            ours.then(|| Answer::from(&packet)).filter(&wanted)
        };
        let found = guest.wire(0).receive(PATIENCE, |frame| read(frame).is_some()).unwrap();
        let Some(frame) = found else {
            panic!("no answer of {} to {}\n{}", self.vip, self.client, guest.kernel_log())
        };
        assert_eq!(frame[..6], GATEWAY);
        read(&frame).unwrap()
    }
}

impl From<&SlicedPacket<'_>> for Answer {
    fn from(packet: &SlicedPacket<'_>) -> Self {
        match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => Self {
                flags: Some((tcp.syn(), tcp.ack())),
                sequence: Some(tcp.sequence_number()),
                payload: tcp.payload().to_vec(),
            },
            Some(TransportSlice::Udp(udp)) => {
                Self { flags: None, sequence: None, payload: udp.payload().to_vec() }
            }
            other => panic!("neither TCP nor UDP: {other:?}"),
        }
    }
}

fn addresses(packet: &SlicedPacket<'_>) -> (IpAddr, IpAddr) {
    match packet.net.as_ref() {
        Some(NetSlice::Ipv4(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        Some(NetSlice::Ipv6(ip)) => {
            (ip.header().source_addr().into(), ip.header().destination_addr().into())
        }
        other => panic!("no IP: {other:?}"),
    }
}

fn ports(packet: &SlicedPacket<'_>) -> (u16, u16) {
    match packet.transport.as_ref() {
        Some(TransportSlice::Tcp(tcp)) => (tcp.source_port(), tcp.destination_port()),
        Some(TransportSlice::Udp(udp)) => (udp.source_port(), udp.destination_port()),
        _ => (0, 0),
    }
}

/// Where the packet in the tunnel begins: behind Ethernet and a header without options.
fn inner(frame: &[u8]) -> usize {
    14 + if frame[14] >> 4 == 4 { 20 } else { 40 }
}

/// The same TCP segment, acknowledging `more` than it does.
fn acknowledging(frame: &[u8], more: u32) -> Vec<u8> {
    let tcp = Transport::behind(frame, inner(frame));
    let [high, low] = [8, 10].map(|at| u32::from(word(frame, tcp.begins + at)));
    let new = ((high << 16) | low).wrapping_add(more).to_be_bytes();
    let frame = with_word(frame, tcp, 8, u16::from_be_bytes([new[0], new[1]]));
    with_word(&frame, tcp, 10, u16::from_be_bytes([new[2], new[3]]))
}

/// The same TCP segment as a reset.
fn resetting(frame: &[u8]) -> Vec<u8> {
    const RST: u16 = 0x04;
    let tcp = Transport::behind(frame, inner(frame));
    with_word(frame, tcp, 12, (word(frame, tcp.begins + 12) & 0xf000) | RST)
}
