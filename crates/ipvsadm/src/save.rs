//! The text of `-S`: rules that `-R` reads.

use std::fmt::Write;

use crate::command::{
    Checksum, Command, Forward, Protocol, ServerSpec, ServiceRef, ServiceSpec, Tunnel,
};
use crate::listing::{Listing, flags, mask, resolver, sorted_servers, sorted_services};
use crate::names::{self, NoNames, Resolver};

/// The rules that make a director's table again: sorted, counters left out.
///
/// Without `numeric`, names stand where there are any; reading those back needs the same names,
/// and ipvsadm reads no names of IPv6 hosts. Thresholds are written, unlike in ipvsadm, which
/// reads them but does not write them.
pub fn text(listing: &Listing, numeric: bool, names: &dyn Resolver) -> String {
    let names = resolver(numeric, names);
    let mut text = String::new();
    for service in sorted_services(listing) {
        let key = key(&service.spec.service, names);
        service_rule(&mut text, "-A", &key, &service.spec);
        for server in sorted_servers(service) {
            let protocol = service.spec.service.protocol();
            server_rule(&mut text, "-a", &key, protocol, &server.spec, names);
        }
    }
    text
}

/// The words of a command that changes something, without names: `-D -t 203.0.113.10:80`. What
/// changes nothing has none.
pub fn words(command: &Command) -> Option<String> {
    let mut text = String::new();
    let key = |service| key(service, &NoNames);
    match command {
        Command::AddService(spec) => service_rule(&mut text, "-A", &key(&spec.service), spec),
        Command::EditService(spec) => service_rule(&mut text, "-E", &key(&spec.service), spec),
        Command::DeleteService(service) => text = format!("-D {}", key(service)),
        Command::Flush => text = "-C".to_owned(),
        Command::AddServer(service, spec) => {
            server_rule(&mut text, "-a", &key(service), service.protocol(), spec, &NoNames);
        }
        Command::EditServer(service, spec) => {
            server_rule(&mut text, "-e", &key(service), service.protocol(), spec, &NoNames);
        }
        Command::DeleteServer(service, server) => {
            let (address, port) = (server.address, server.port);
            let server = names::endpoint(address, port, service.protocol(), &NoNames);
            text = format!("-d {} -r {server}", key(service));
        }
        Command::Zero(None) => text = "-Z".to_owned(),
        Command::Zero(Some(service)) => text = format!("-Z {}", key(service)),
        Command::Timeouts(new) => {
            text = format!("--set {} {} {}", new.tcp, new.tcpfin, new.udp);
        }
        _ => return None,
    }
    Some(text.trim_end().to_owned())
}

fn key(service: &ServiceRef, names: &dyn Resolver) -> String {
    match *service {
        ServiceRef::Mark { mark, ipv6: false } => format!("-f {mark}"),
        ServiceRef::Mark { mark, ipv6: true } => format!("-f {mark} -6"),
        ServiceRef::Endpoint { protocol, address, port } => {
            let endpoint = names::endpoint(address, port, Some(protocol), names);
            format!("{} {endpoint}", protocol.option())
        }
    }
}

/// Writing to a String cannot fail: results are dropped here and below.
fn service_rule(text: &mut String, verb: &str, key: &str, spec: &ServiceSpec) {
    let _ = write!(text, "{verb} {key} -s {}", spec.scheduler);
    if let Some(timeout) = spec.persistent {
        let _ = write!(text, " -p {timeout}");
        if let Some(mask) = mask(spec) {
            let _ = write!(text, " -M {mask}");
        }
    }
    if let Some(engine) = &spec.pe {
        let _ = write!(text, " --pe {engine}");
    }
    if spec.one_packet {
        text.push_str(" -o");
    }
    let flags: Vec<_> = flags(spec).map(|flag| flag.name()).collect();
    if !flags.is_empty() {
        let _ = write!(text, " -b {}", flags.join(","));
    }
    text.push('\n');
}

fn server_rule(
    text: &mut String,
    verb: &str,
    key: &str,
    protocol: Option<Protocol>,
    spec: &ServerSpec,
    names: &dyn Resolver,
) {
    let endpoint = names::endpoint(spec.address, spec.port, protocol, names);
    let method = match spec.forward {
        Forward::Nat => "-m",
        Forward::Dr => "-g",
        Forward::Tun(_) => "-i",
        Forward::FullNat => "--fullnat",
    };
    let _ = write!(text, "{verb} {key} -r {endpoint} {method} -w {}", spec.weight);
    if spec.upper != 0 {
        let _ = write!(text, " -x {}", spec.upper);
    }
    if spec.lower != 0 {
        let _ = write!(text, " -y {}", spec.lower);
    }
    if let Forward::Tun(tunnel) = spec.forward {
        text.push_str(&tunnel_options(tunnel));
    }
    text.push('\n');
}

fn tunnel_options(tunnel: Tunnel) -> String {
    let checksum = |checksum| match checksum {
        Checksum::None => "--tun-nocsum",
        Checksum::Full => "--tun-csum",
        Checksum::Remote => "--tun-remcsum",
    };
    match tunnel {
        Tunnel::Ipip => " --tun-type ipip".to_owned(),
        Tunnel::Gre { checksum: c } => format!(" --tun-type gre {}", checksum(c)),
        Tunnel::Gue { port, checksum: c } => {
            format!(" --tun-type gue --tun-port {port} {}", checksum(c))
        }
    }
}
