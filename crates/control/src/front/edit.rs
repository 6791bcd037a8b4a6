//! One command of ipvsadm, done to the model. The refusals are the kernel's (`ip_vs_ctl.c`,
//! `do_ip_vs_set_ctl` and `ip_vs_genl_set_cmd`); the model is then as it was.

use std::net::IpAddr;

use dataplane::{
    forward::{self, Forward, Tunnel},
    policy::{OnJoin, Persistence, Policy, Timeouts},
};
use ipvsadm::{
    Checksum, Command, Denial, Protocol, SchedulerFlag, ServerRef, ServerSpec, ServiceRef,
    ServiceSpec,
};
use sched::{Kind, Plan};

use crate::{
    compile::ServerKey,
    file,
    model::{AdminState, Health, Model, Server, Service},
    registry::Room,
};

/// Does a command that changes services, servers or timeouts.
///
/// # Errors
/// What the kernel would refuse, what needs the configuration file, and what changes nothing
/// that a director has.
pub fn edit(model: &mut Model, command: &Command) -> Result<(), Denial> {
    match command {
        Command::AddService(spec) => add_service(model, spec),
        Command::EditService(spec) => edit_service(model, spec),
        Command::DeleteService(service) => {
            let at = position(model, service).ok_or(Denial::NoSuchService)?;
            model.services.remove(at);
            Ok(())
        }
        Command::Flush => {
            model.services.clear();
            Ok(())
        }
        Command::AddServer(service, spec) => add_server(model, service, spec),
        Command::EditServer(service, spec) => {
            let (service, at) = find_server(model, service, spec.server())?;
            let old = &service.servers[at];
            let (name, mac, edition) = (old.name.clone(), old.mac, old.edition + 1);
            let (tier, state, checks) = (old.tier, old.state, old.checks.clone());
            let new = server(spec, service)?;
            service.servers[at] = Server { name, mac, edition, tier, state, checks, ..new };
            local_addresses(model)
        }
        Command::DeleteServer(service, server) => {
            let (service, at) = find_server(model, service, *server)?;
            service.servers.remove(at);
            Ok(())
        }
        Command::Timeouts(timeouts) => {
            set_timeouts(model, *timeouts);
            Ok(())
        }
        // It changes counts, not the model.
        Command::Zero(None) => Ok(()),
        Command::Zero(Some(service)) => {
            position(model, service).map(drop).ok_or(Denial::NoSuchService)
        }
        Command::StartDaemon(_) => Err(Denial::Other(NO_SYNC.to_owned())),
        Command::StopDaemon(..) => Err(Denial::NoDaemon),
        Command::List(_)
        | Command::Save { .. }
        | Command::Restore { .. }
        | Command::Help
        | Command::Version => Err(Denial::Invalid),
    }
}

/// What a director can do about `--start-daemon`.
const NO_SYNC: &str = "xlvs has no connection synchronization daemon: \
     connections are not copied to other directors";

/// Several commands, or none of them, as far as there is room.
///
/// # Errors
/// The first refusal, with the number of its command from 0; the model is as it was.
pub fn edit_all(
    model: &mut Model,
    commands: &[Command],
    mut room: Room,
) -> Result<(), (usize, Denial)> {
    let mut changed = model.clone();
    for (at, command) in commands.iter().enumerate() {
        let done = edit(&mut changed, command).and_then(|()| take_room(&mut room, command));
        done.map_err(|denial| (at, denial))?;
    }
    *model = changed;
    Ok(())
}

/// What the command added, if anything, needs a place within `limits:`.
fn take_room(room: &mut Room, command: &Command) -> Result<(), Denial> {
    let fits = match command {
        Command::AddService(spec) => room.take_service(key(&spec.service)),
        Command::AddServer(service, spec) => room.take_server(ServerKey {
            service: key(service),
            address: spec.address,
            port: spec.port,
        }),
        _ => true,
    };
    if fits { Ok(()) } else { Err(Denial::NoMemory) }
}

/// The key of a service in the datapath's words.
pub fn key(service: &ServiceRef) -> forward::ServiceKey {
    match *service {
        ServiceRef::Endpoint { protocol, address, port } => {
            let protocol = match protocol {
                Protocol::Tcp => forward::Protocol::Tcp,
                Protocol::Udp => forward::Protocol::Udp,
                Protocol::Sctp => forward::Protocol::Sctp,
            };
            forward::Endpoint { protocol, address, port }.into()
        }
        ServiceRef::Mark { mark, ipv6 } => forward::ServiceKey::Mark { mark, ipv6 },
    }
}

fn position(model: &Model, service: &ServiceRef) -> Option<usize> {
    let key = key(service);
    model.services.iter().position(|known| known.key == key)
}

fn add_service(model: &mut Model, spec: &ServiceSpec) -> Result<(), Denial> {
    if position(model, &spec.service).is_some() {
        return Err(Denial::ServiceExists);
    }
    let key = key(&spec.service);
    let mut policy = Policy {
        timeouts: model.timeouts.clone(),
        lifecycle: model.lifecycle,
        ..Policy::default()
    };
    take_options(model, &mut policy, None, spec)?;
    model.services.push(Service {
        name: key.to_string(),
        key,
        forward: Forward::Dr,
        policy,
        on_join: None,
        timeouts: file::Timeouts::default(),
        servers: Vec::new(),
        health: Health::default(),
    });
    Ok(())
}

/// What ipvsadm does not know of stays: it is the file's.
fn edit_service(model: &mut Model, spec: &ServiceSpec) -> Result<(), Denial> {
    let at = position(model, &spec.service).ok_or(Denial::NoSuchService)?;
    let mut policy = model.services[at].policy.clone();
    take_options(model, &mut policy, model.services[at].on_join, spec)?;
    model.services[at].policy = policy;
    Ok(())
}

fn take_options(
    model: &Model,
    policy: &mut Policy,
    on_join: Option<OnJoin>,
    spec: &ServiceSpec,
) -> Result<(), Denial> {
    let kind = Kind::from_name(&spec.scheduler).ok_or(Denial::SchedulerNotFound)?;
    if spec.pe.is_some() {
        return Err(Denial::SchedulerNotFound);
    }
    let flag = |names: [SchedulerFlag; 2]| spec.flags.iter().any(|flag| names.contains(flag));
    // What ipvsadm has no words for stays as it is in the file.
    let same = policy.scheduler.kind == kind;
    policy.scheduler = Plan {
        port: flag([SchedulerFlag::ShPort, SchedulerFlag::MhPort]),
        fallback: flag([SchedulerFlag::ShFallback, SchedulerFlag::MhFallback]),
        ..if same { policy.scheduler } else { model.plan(kind) }
    };
    policy.persistence =
        spec.persistent.map(|timeout| Persistence { timeout, prefix: spec.netmask });
    policy.one_packet = spec.one_packet;
    policy.on_join = model.joining(on_join, kind);
    Ok(())
}

fn find_server<'m>(
    model: &'m mut Model,
    service: &ServiceRef,
    server: ServerRef,
) -> Result<(&'m mut Service, usize), Denial> {
    let at = position(model, service).ok_or(Denial::ServiceNotDefined)?;
    let service = &mut model.services[at];
    let is = |known: &Server| (known.address, known.port) == (server.address, server.port);
    match service.servers.iter().position(is) {
        Some(at) => Ok((service, at)),
        None => Err(Denial::NoSuchDestination),
    }
}

fn add_server(model: &mut Model, service: &ServiceRef, spec: &ServerSpec) -> Result<(), Denial> {
    match find_server(model, service, spec.server()) {
        Ok(_) => return Err(Denial::DestinationExists),
        Err(Denial::NoSuchDestination) => {}
        Err(denial) => return Err(denial),
    }
    let at = position(model, service).ok_or(Denial::ServiceNotDefined)?;
    let server = server(spec, &model.services[at])?;
    model.services[at].servers.push(server);
    local_addresses(model).inspect_err(|_| {
        model.services[at].servers.pop();
    })
}

fn server(spec: &ServerSpec, service: &Service) -> Result<Server, Denial> {
    let (forward, tunnel) = match spec.forward {
        ipvsadm::Forward::Nat => (Forward::Nat, Tunnel::Ipip),
        ipvsadm::Forward::Dr => (Forward::Dr, Tunnel::Ipip),
        ipvsadm::Forward::FullNat => (Forward::FullNat, Tunnel::Ipip),
        ipvsadm::Forward::Tun(tunnel) => (Forward::Tun, self::tunnel(tunnel)?),
    };
    if spec.lower > spec.upper {
        return Err(Denial::OutOfRange);
    }
    let fits = spec.address.is_ipv6() == service.key.is_ipv6() || forward == Forward::Tun;
    if !fits || !is_unicast(spec.address) {
        return Err(Denial::Invalid);
    }
    Ok(Server {
        name: None,
        address: spec.address,
        port: spec.port,
        weight: spec.weight,
        forward,
        tunnel,
        remote_checksum: matches!(
            spec.forward,
            ipvsadm::Forward::Tun(ipvsadm::Tunnel::Gue { checksum: Checksum::Remote, .. })
        ),
        upper: spec.upper,
        lower: spec.lower,
        mac: None,
        edition: 0,
        tier: 0,
        state: AdminState::Ready,
        checks: Vec::new(),
    })
}

/// As the kernel has it (`ip_vs_new_dest`: `inet_addr_type`, `ipv6_addr_type`). That it refuses
/// the broadcast addresses of the box's own networks, too, takes its routes to know.
const fn is_unicast(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_broadcast() && !ip.is_multicast(),
        IpAddr::V6(ip) => {
            !ip.is_unspecified()
                && !ip.is_multicast()
                && !ip.is_unicast_link_local()
                && ip.to_ipv4_mapped().is_none()
        }
    }
}

fn tunnel(tunnel: ipvsadm::Tunnel) -> Result<Tunnel, Denial> {
    let full = |checksum| matches!(checksum, Checksum::Full | Checksum::Remote);
    match tunnel {
        ipvsadm::Tunnel::Ipip => Ok(Tunnel::Ipip),
        ipvsadm::Tunnel::Gue { port: 0, .. } => Err(Denial::Invalid),
        ipvsadm::Tunnel::Gue { port, checksum } => {
            Ok(Tunnel::Gue { port, checksum: full(checksum) })
        }
        ipvsadm::Tunnel::Gre { checksum } => Ok(Tunnel::Gre { checksum: full(checksum) }),
    }
}

/// FullNAT servers that came by a command take their sources from all of `local_addresses:`.
fn local_addresses(model: &mut Model) -> Result<(), Denial> {
    for service in &mut model.services {
        let full = service.servers.iter().any(|server| server.forward == Forward::FullNat);
        if !full || !service.policy.local_addresses.is_empty() {
            continue;
        }
        let of_family = |local: &&dataplane::policy::LocalAddress| {
            local.address.is_ipv6() == service.key.is_ipv6()
        };
        let all: Vec<_> = model.local_addresses.iter().filter(of_family).cloned().collect();
        if all.is_empty() {
            let text = "FullNat needs local_addresses: in the configuration file";
            return Err(Denial::Other(text.to_owned()));
        }
        service.policy.local_addresses = all;
    }
    Ok(())
}

/// `--set`: 0 leaves one as it is; a service keeps those that the file writes for it.
fn set_timeouts(model: &mut Model, new: ipvsadm::Timeouts) {
    use dataplane::tcp::State;
    let Timeouts { tcp, udp, .. } = &mut model.timeouts;
    let set = |place: &mut u32, seconds: u32| {
        if seconds > 0 {
            *place = seconds.min(Timeouts::MOST);
        }
    };
    set(&mut tcp[State::Established as usize], new.tcp);
    set(&mut tcp[State::FinWait as usize], new.tcpfin);
    set(udp, new.udp);
    for service in &mut model.services {
        service.policy.timeouts = service.timeouts.over(&model.timeouts);
    }
}
