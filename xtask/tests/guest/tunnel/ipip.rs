//! IP in IP: the devices tunl0, ip6tnl0 and sit0.
use super::{Forwarding, serve, server};

#[test]
fn real_tunl0() {
    let ipip = |cases, family, device, words| Forwarding {
        table: "tun",
        cases,
        family,
        device,
        words,
        refused: &[],
    };
    let forwardings = [
        ipip(&["tun"], "v4", "tunl0", ""),
        ipip(&["tun"], "v4", "tunl0", "--rp-filter 0"),
        ipip(&["tun"], "v6", "ip6tnl0", ""),
        ipip(&["tun_mixed"], "v4", "ip6tnl0", "--outer ipv6"),
        ipip(&["tun_mixed"], "v6", "sit0", "--outer ipv4"),
    ];
    serve(&mut server(&["ipip", "ip6_tunnel", "sit"]), &forwardings);
}
