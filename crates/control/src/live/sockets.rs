//! Ports that sockets of this box occupy: `/proc/net/{tcp,tcp6,udp,udp6}`
//! (Documentation/networking/proc_net_tcp.rst).

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use dataplane::forward::{Endpoint, Protocol};

/// `TCP_LISTEN` of include/net/tcp_states.h, as it is printed.
const LISTEN: &str = "0A";

/// Listening TCP sockets and all UDP sockets, in this thread's network namespace.
///
/// # Errors
/// A list is there and cannot be read. A family that the kernel does not have has none.
pub(super) fn bound() -> io::Result<Vec<SocketAddr>> {
    let mut bound = Vec::new();
    for (list, listening) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
        match fs::read_to_string(format!("/proc/thread-self/net/{list}")) {
            Ok(text) => bound.extend(parse(&text, listening)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    bound.sort_unstable();
    bound.dedup();
    Ok(bound)
}

/// The same, with their protocols.
///
/// # Errors
/// As [`bound`].
pub(super) fn endpoints() -> io::Result<Vec<Endpoint>> {
    let mut all = Vec::new();
    for (protocol, lists) in [(Protocol::Tcp, ["tcp", "tcp6"]), (Protocol::Udp, ["udp", "udp6"])] {
        for list in lists {
            match fs::read_to_string(format!("/proc/thread-self/net/{list}")) {
                Ok(text) => all.extend(parse(&text, protocol == Protocol::Tcp).map(|socket| {
                    Endpoint { protocol, address: socket.ip(), port: socket.port() }
                })),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

/// The local addresses of a list.
fn parse(text: &str, listening: bool) -> impl Iterator<Item = SocketAddr> {
    text.lines().skip(1).filter_map(move |line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next()?;
        let state = fields.nth(1)?;
        if listening && state != LISTEN { None } else { address(local) }
    })
}

/// `0100007F:0016`: words of the address as the machine reads them from network order, then
/// the port.
fn address(text: &str) -> Option<SocketAddr> {
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
    Some(SocketAddr::new(ip, port))
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

    #[test]
    #[cfg(target_endian = "little")]
    fn local_addresses_of_lists() {
        let cases: [(&str, bool, &[&str]); 4] = [
            (TCP, true, &["127.0.0.1:22"]),
            (TCP, false, &["127.0.0.1:22", "10.2.0.10:50000"]),
            (TCP6, true, &["[2001:db8::10]:443", "[::]:80"]),
            ("head\n garbage\n 0: 0100:1 x 0A\n", true, &[]),
        ];
        for (text, listening, expected) in cases {
            let found: Vec<String> = parse(text, listening).map(|s| s.to_string()).collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_socket_of_ours_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = bound().unwrap();
        assert!(bound.contains(&listener.local_addr().unwrap()));
        assert!(bound.contains(&udp.local_addr().unwrap()));
    }
}
