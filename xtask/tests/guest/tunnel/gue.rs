//! GUE: a UDP port before the devices of IP in IP. One server takes packets with a checksum
//! and without, over IPv6 too: the kernel opens its GUE sockets for checksums of 0
//! (`net/ipv6/ip6_udp_tunnel.c`, `udp_sock_create6`; `fou.c` does not ask for them).
use xtask::guest::Guest;

use super::{Forwarding, serve, server};

const SAME: &[&str] = &["tun_gue", "tun_gue_csum"];
const MIXED: &[&str] = &["tun_gue_mixed", "tun_gue_csum_mixed"];

#[test]
fn real_gue() {
    let gue = |cases, family, device, words| Forwarding {
        table: "tunnels",
        cases,
        family,
        device,
        words,
        refused: &[],
    };
    let forwardings = [
        gue(SAME, "v4", "tunl0", "--tunnel gue"),
        gue(SAME, "v6", "ip6tnl0", "--tunnel gue:6080"),
        gue(MIXED, "v4", "ip6tnl0", "--tunnel gue --outer ipv6"),
        gue(MIXED, "v6", "sit0", "--tunnel gue --outer ipv4"),
    ];
    let mut guest = server(&["fou", "ipip", "ip6_tunnel", "sit"]);
    let wrong = wrong_checksums(&mut guest);
    let spoilt = serve(&mut guest, &forwardings);
    assert_eq!(wrong_checksums(&mut guest), wrong + spoilt);
    tells_what_is_missing(&mut guest);
}

/// Datagrams that UDP dropped for their checksum, over IPv4 and IPv6.
fn wrong_checksums(guest: &mut Guest) -> u64 {
    // The second line of UDP's has the numbers to the names of the first.
    let snmp = guest.run("grep ^Udp: /proc/net/snmp; cat /proc/net/snmp6").unwrap();
    let mut lines = snmp.lines().map(str::split_whitespace);
    let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
    let v4 = names.zip(numbers).find(|(name, _)| *name == "InCsumErrors").unwrap().1;
    let v6 =
        lines.find_map(|mut line| (line.next()? == "Udp6InCsumErrors").then(|| line.next())?);
    [v4, v6.unwrap()].iter().map(|number| number.parse::<u64>().unwrap()).sum()
}

/// `status` sees a port that somebody closed, and `stop` goes on without it.
fn tells_what_is_missing(guest: &mut Guest) {
    guest.run("sh /root/realserver start --mode tun --tunnel gue:6081 203.0.113.10").unwrap();
    let status = guest.run("sh /root/realserver status").unwrap();
    assert!(status.contains("started, mode tun, tunnel gue"), "{status}");
    assert!(status.contains("GUE: UDP port 6081 over IPv4"), "{status}");
    guest.run("ip fou del port 6081").unwrap();
    let status = guest.run("sh /root/realserver status").unwrap_err().to_string();
    assert!(status.contains("exit 1") && status.contains("6081 over IPv4 is MISSING"), "{status}");
    let words = guest.run("sh /root/realserver stop").unwrap();
    assert!(words.contains("GUE port 6081 was closed"), "{words}");
}
