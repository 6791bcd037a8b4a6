//! Endpoints and ports.

use std::{
    net::{IpAddr, Ipv6Addr},
    ops::RangeInclusive,
};

use dataplane::forward::{Endpoint, Protocol};

use super::{Wrong, address};

/// `ADDRESS:PORT/PROTOCOL`: one element of `listen:`. Port 0 means every port.
pub(in super::super) fn listen(text: &str) -> Result<Endpoint, Wrong> {
    let (endpoint, protocol) = match text.rsplit_once('/') {
        Some((endpoint, protocol)) => (endpoint, Some(protocol)),
        None => (text, None),
    };
    let (ip, port) = split_port(endpoint);
    let address = address(ip).map_err(|wrong| match wrong.sentence.as_str() {
        "not an IP address" => Wrong::new(
            wrong.sentence,
            "write it like 203.0.113.10:80/tcp or \"[2001:db8::10]:80/tcp\"",
        ),
        _ => wrong,
    })?;
    let shown = if address.is_ipv4() { address.to_string() } else { format!("[{address}]") };
    let Some(port) = port else {
        let quote = if address.is_ipv6() { ", in quotes" } else { "" };
        return Err(Wrong::new("no port", format!("write it like {shown}:80/tcp{quote}")));
    };
    let protocol = match protocol {
        Some("tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some("sctp") => Protocol::Sctp,
        None => {
            let remedy = format!("add /tcp, /udp or /sctp: {shown}:{port}/tcp");
            return Err(Wrong::new("no protocol", remedy));
        }
        Some(_) => {
            return Err(Wrong::new("the protocol is not supported", "write /tcp, /udp or /sctp"));
        }
    };
    Ok(Endpoint { protocol, address, port: port_number(port)? })
}

/// `ADDRESS` or `ADDRESS:PORT`: where a real server is.
pub(in super::super) fn server(text: &str) -> Result<(IpAddr, Option<u16>), Wrong> {
    if let Some((endpoint, "tcp" | "udp" | "sctp")) = text.rsplit_once('/') {
        return Err(Wrong::new(
            "a server takes the protocol of its service",
            format!("write {endpoint}"),
        ));
    }
    let (ip, port) = split_port(text);
    let address = address(ip).map_err(|wrong| match wrong.sentence.as_str() {
        "not an IP address" => Wrong::new(
            wrong.sentence,
            "write it like 10.0.2.11:80 or \"[fd00:2::11]:80\"; names are not looked up",
        ),
        _ => wrong,
    })?;
    match port.map(port_number).transpose()? {
        Some(0) => Err(Wrong::new("port 0", "leave :0 out to keep the client's port")),
        port => Ok((address, port)),
    }
}

/// Splits off what follows the last colon, but leaves an IPv6 address whole, in brackets or not.
fn split_port(text: &str) -> (&str, Option<&str>) {
    if text.ends_with(']') || text.parse::<Ipv6Addr>().is_ok() {
        return (text, None);
    }
    text.rsplit_once(':').map_or((text, None), |(ip, port)| (ip, Some(port)))
}

fn port_number(text: &str) -> Result<u16, Wrong> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits);
    number.ok_or_else(|| Wrong::new("the port is wrong", "write a number from 1 to 65535"))
}

/// `LOW-HIGH`: ports.
pub(in super::super) fn ports(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    let bounds = text.split_once('-').map(|(low, high)| (port_number(low), port_number(high)));
    match bounds {
        Some((Ok(low), Ok(high))) if 0 < low && low <= high => Ok(low..=high),
        _ => Err(Wrong::new("not a range of ports", "write it like 10000-32767, lower end first")),
    }
}

/// `PORT` or `LOW-HIGH`.
pub(in super::super) fn port_or_ports(text: &str) -> Result<RangeInclusive<u16>, Wrong> {
    if text.contains('-') {
        return ports(text);
    }
    match port_number(text)? {
        0 => Err(Wrong::new("port 0", "write a number from 1 to 65535")),
        port => Ok(port..=port),
    }
}
