//! Mark rules and mark services.

use crate::{check, marked, nat};

#[test]
fn marks() {
    let one = "{mark: 10, destination: 203.0.113.10/32}";
    let bits = "{mark: 0x10, mask: 0xf0, destination: 203.0.113.0/24}, {mark: 2, mask: 0xf, destination: 0.0.0.0/0, source: 10.0.0.0/8, protocol: sctp, ports: 2905-2910, interface: eth0}";
    let many = vec![one; 257].join(", ");
    let rows = [
        (marked(one, "mark: 10 | forward: dr | servers: [{address: 10.0.2.11}]"), &[][..]),
        (marked(bits, "mark: 0x12 | forward: dr"), &[]),
        (
            marked(one, "mark: 11 | forward: dr"),
            &[
                "6: services[0].mark: no rule gives an IPv4 packet the mark 11; add one under marks:, like {mark: 11, destination: 203.0.113.10/32}",
            ],
        ),
        (
            marked(one, "mark: 10 | family: ipv6 | forward: dr"),
            &[
                "6: services[0].mark: no rule gives an IPv6 packet the mark 10; add one under marks:, like {mark: 10, destination: \"2001:db8::10/128\"}",
            ],
        ),
        (
            marked(one, "mark: 10 | listen: 203.0.113.10:80/tcp | forward: dr"),
            &[
                "7: services[0].listen: listen and mark in one service; keep one of the two, or write two services",
            ],
        ),
        (
            marked(one, "mark: 0 | forward: dr | family: inet"),
            &[
                "6: services[0].mark: mark 0 is that of packets without a mark; write a number from 1 to 4294967295",
                "8: services[0].family: \"inet\": not a word that is known here; write ipv4 or ipv6",
            ],
        ),
        (
            marked(one, "mark: ten | forward: dr"),
            &[
                "6: services[0].mark: \"ten\": not a mark; write a number of 32 bits, like 10 or 0xa",
            ],
        ),
        (
            nat("family: ipv4"),
            &[
                "7: services[0].family: family without mark: what the service listens on has one; remove it",
            ],
        ),
        (
            marked(
                one,
                "mark: 10 | forward: dr | servers: [{address: \"10.0.2.11:80\"}, {address: \"fd00::1\"}, {address: 203.0.113.10}]",
            ),
            &[
                "8: services[0].servers[0].address: port 80 with forward: dr, which keeps the port, the client's; leave the port out, or use nat or fullnat",
                "8: services[0].servers[1].address: fd00::1 is IPv6 but the service takes mark 10; write a server with IPv4, or one service for each family; only tun can mix them",
                "8: services[0].servers[2].address: 203.0.113.10 is a VIP: packets would come back to the director; write the server's own address",
            ],
        ),
        (
            marked(
                "{mark: 1, destination: 203.0.113.10/24}, {mark: 0x100, mask: 0xff, destination: \"2001:db8::/32\", source: 10.0.0.0/8, protocol: icmp, ports: [], interface: eth9}, {}",
                "mark: 1 | forward: dr",
            ),
            &[
                "3: marks[0].destination: \"203.0.113.10/24\": has bits set beyond the first 24; write 203.0.113.0/24, or a longer prefix",
                "3: marks[1].mark: 0x100 has bits that the mask 0xff has not; write a mask with these bits, or leave it out",
                "3: marks[1].source: 10.0.0.0/8 and the destination 2001:db8::/32 are of different families; write one rule for each family",
                "3: marks[1].protocol: \"icmp\": not a word that is known here; write tcp, udp or sctp",
                "3: marks[1].ports: an empty list would do nothing; write ports, or remove the key",
                "3: marks[1].interface: \"eth9\" is not one of interfaces:; add it there, or write one that is",
                "3: marks[2]: mark is missing; write mark: 10",
                "3: marks[2]: destination is missing; write destination: 203.0.113.10/32",
                "6: services[0].mark: no rule gives an IPv4 packet the mark 1; add one under marks:, like {mark: 1, destination: 203.0.113.10/32}",
            ],
        ),
        (
            marked(&many, "mark: 10 | forward: dr"),
            &[
                "3: marks[256].mark: more than 256 rules up to here, counting each range of ports; join some of them by wider prefixes or ranges",
            ],
        ),
    ];
    check(&rows);
}
