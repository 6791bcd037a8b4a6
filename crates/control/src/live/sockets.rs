//! Ports that sockets of this box occupy: `/proc/net/{tcp,tcp6,udp,udp6}`
//! (Documentation/networking/proc_net_tcp.rst) and `/proc/net/sctp/eps` (net/sctp/proc.c).

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use dataplane::forward::{Endpoint, Protocol};

/// `TCP_LISTEN` of include/net/tcp_states.h, as it is printed.
const LISTEN: &str = "0A";

/// Listening TCP sockets and all UDP and SCTP sockets, in this thread's network namespace.
///
/// # Errors
/// A list is there and cannot be read. A family that the kernel does not have has none.
pub(super) fn bound() -> io::Result<Vec<Endpoint>> {
    let mut bound = Vec::new();
    let lists = [
        ("tcp", Protocol::Tcp),
        ("tcp6", Protocol::Tcp),
        ("udp", Protocol::Udp),
        ("udp6", Protocol::Udp),
        ("sctp/eps", Protocol::Sctp),
    ];
    for (list, protocol) in lists {
        match fs::read_to_string(format!("/proc/thread-self/net/{list}")) {
            Ok(text) if protocol == Protocol::Sctp => bound.extend(sctp(&text)),
            Ok(text) => bound.extend(parse(&text, protocol)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    bound.sort_unstable();
    bound.dedup();
    Ok(bound)
}

/// The local addresses of a list of TCP or UDP.
fn parse(text: &str, protocol: Protocol) -> impl Iterator<Item = Endpoint> {
    text.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        if protocol == Protocol::Tcp && state != LISTEN {
            return None;
        }
        let (address, port) = address(local)?;
        Some(Endpoint { protocol, address, port })
    })
}

/// The local addresses of SCTP's list: the port is the sixth field, the addresses follow the
/// eighth.
fn sctp(text: &str) -> Vec<Endpoint> {
    let mut bound = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split_whitespace().skip(5);
        let Some(port) = fields.next().and_then(|port| port.parse().ok()) else { continue };
        let addresses = fields.skip(2).filter_map(|address| address.parse().ok());
        bound.extend(addresses.map(|address| Endpoint { protocol: Protocol::Sctp, address, port }));
    }
    bound
}

/// `0100007F:0016`: words of the address as the machine reads them from network order, then
/// the port.
fn address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(8 * at..8 * at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let ip: IpAddr = match address.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let octets = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).into()
        }
        _ => return None,
    };
    Some((ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Lines as a little-endian kernel prints them.
    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0A00020A:C350 0B00020A:0050 01 00000000:00000000 00:00000000 00000000     0        0 2
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st
   0: B80D0120000000000000000010000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000
   1: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000
";

    // The format string of sctp_eps_seq_show, filled in.
    const SCTP: &str = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS
ffff8881 ffff8882 2   10  31   2905      0 12345 10.2.0.10 2001:0db8:0000:0000:0000:0000:0000:0010 
garbage
";

    #[test]
    #[cfg(target_endian = "little")]
    fn local_addresses_of_lists() {
        let cases: [(&str, Protocol, &[&str]); 4] = [
            (TCP, Protocol::Tcp, &["127.0.0.1:22/tcp"]),
            (TCP, Protocol::Udp, &["127.0.0.1:22/udp", "10.2.0.10:50000/udp"]),
            (TCP6, Protocol::Tcp, &["[2001:db8::10]:443/tcp", "[::]:80/tcp"]),
            ("head\n garbage\n 0: 0100:1 x 0A\n", Protocol::Tcp, &[]),
        ];
        for (text, protocol, expected) in cases {
            let found: Vec<String> = parse(text, protocol).map(|s| s.to_string()).collect();
            assert_eq!(found, expected);
        }
        let found: Vec<String> = sctp(SCTP).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.2.0.10:2905/sctp", "[2001:db8::10]:2905/sctp"]);
    }

    #[test]
    fn a_socket_of_ours_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = bound().unwrap();
        for (protocol, local) in [
            (Protocol::Tcp, listener.local_addr().unwrap()),
            (Protocol::Udp, udp.local_addr().unwrap()),
        ] {
            let socket = Endpoint { protocol, address: local.ip(), port: local.port() };
            assert!(bound.contains(&socket), "{socket}");
        }
    }
}
