//! GRE: a device of the script's own. With checksums it takes nothing without, and without
//! them nothing with (`net/ipv4/ip_tunnel.c`, `ip_tunnel_rcv`; `net/ipv6/ip6_tunnel.c`,
//! `__ip6_tnl_rcv`).
use super::{Forwarding, serve, server};

/// The cases without checksum and with, by whether the outer family is the VIP's own.
const SAME: [&[&str]; 2] = [&["tun_gre"], &["tun_gre_csum"]];
const MIXED: [&[&str]; 2] = [&["tun_gre_mixed"], &["tun_gre_csum_mixed"]];

#[test]
fn real_gre() {
    let gre = |[plain, checked]: [&'static [&'static str]; 2], family, device, words| {
        let forwarding = |cases, refused, words| Forwarding {
            table: "tunnels",
            cases,
            family,
            device,
            words,
            refused,
        };
        let [for_plain, for_checked]: [&str; 2] = words;
        [forwarding(plain, checked, for_plain), forwarding(checked, plain, for_checked)]
    };
    let forwardings = [
        gre(SAME, "v4", "xlvs-gre", ["--tunnel gre", "--tunnel gre:checksum"]),
        gre(SAME, "v6", "xlvs-gre6", ["--tunnel gre", "--tunnel gre:checksum"]),
        gre(
            MIXED,
            "v4",
            "xlvs-gre6",
            ["--tunnel gre --outer ipv6", "--tunnel gre:checksum --outer ipv6"],
        ),
        gre(
            MIXED,
            "v6",
            "xlvs-gre",
            ["--tunnel gre --outer ipv4", "--tunnel gre:checksum --outer ipv4"],
        ),
    ];
    serve(&mut server(&["ip_gre", "ip6_gre"]), forwardings.as_flattened());
}
