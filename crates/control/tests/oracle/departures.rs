//! Where xlvs does not do what the kernel does, in `compat: lvs` too, and why. A scenario that is
//! named here must differ, so that the list stays true.

/// Why this scenario may differ from its recording.
pub(crate) fn why(scenario: &str) -> Option<&'static str> {
    let rows = DEPARTURES.iter();
    rows.flat_map(|(why, names)| names.iter().map(move |name| (*name, *why)))
        .find(|(name, _)| *name == scenario)
        .map(|(_, why)| why)
}

const DEPARTURES: [(&str, &[&str]); 14] = [
    (
        "the kernel's IPVS lowers the TTL before it answers that a packet is too big, and quotes \
         it so; we quote what arrived (RFC 792)",
        &["mtu_of_the_way", "mtu_of_a_tunnel", "mtu_ipv6", "nat_icmp_send", "nat_icmp_send_ipv6"],
    ),
    (
        "two VIPs, one server, one client port: the kernel crosses the answers, we move the second \
         connection's source port",
        &["two_vips_one_server"],
    ),
    (
        "the kernel reassembles datagrams and fragments them again; we forward each fragment by \
         the first one's decision, in the order of arrival",
        &["udp_dr", "udp_nat", "tcp_tun"],
    ),
    (
        "in DR and TUN the kernel drops ICMP errors with a wrong checksum; we pass them on as they \
         are: nothing in them is ours to change, and the server checks",
        &["client_side_dr_and_tun"],
    ),
    (
        "the kernel's first errors about a tunnel tell its clients the interface's MTU; ours tell \
         the path's at once",
        &["tunnel_errors"],
    ),
    (
        "a wrong SCTP checksum stays wrong through NAT; the kernel makes it right",
        &["sctp_nat_checksums"],
    ),
    ("thresholds are saved; the kernel's tool loses them", &["save_and_restore"]),
    (
        "an IPv4 mask that is written as a number is refused; ipvsadm reads 24 as 0.0.0.24",
        &["what_is_refused"],
    ),
    (
        "templates that are not followed any more end at once; the kernel keeps them as port 65535 \
         until their time is over",
        &["expire_quiescent_template", "deleted_server"],
    ),
    (
        "what is not forwarded is not counted as forwarded, nor our own ICMP as a server's packet",
        &["what_is_not_forwarded"],
    ),
    (
        "lblc and lblcr forget a removed server; the kernel's memory holds it until it comes back",
        &[
            "lblc_10", "lblc_17", "lblc_34", "lblc_37", "lblc_38", "lblc_39", "lblc_42", "lblc_48",
            "lblcr_05", "lblcr_47",
        ],
    ),
    ("there is no persistence engine for SIP", &["everything"]),
    (
        "rules are restored all or none, and the refusal names the line; ipvsadm leaves half of them",
        &["restore_stops_at_a_fault"],
    ),
    (
        "no difference: more than the 8 s of the scenario had passed where it was recorded",
        &["close_expires"],
    ),
];
