//! What a connection takes: computed from what is mapped, and seen in the process's own size.

use std::{fs, io};

use dataplane::{
    forward::{Forward, Protocol, V4, V6},
    table::{Connection, Keys, Secret, Table, TableConfig, TemplateRef},
};

use crate::{
    Session,
    flows::{BenchFamily, PORT, nth, tuple},
    report::Memory,
};

/// Connections: the daemon's default for IPv4. By default there are a quarter as many templates.
const CONNECTIONS: usize = 1_000_000;

pub(super) fn run(session: &mut Session<'_>) -> io::Result<()> {
    for (name, row) in [("memory v4", of::<V4> as fn() -> _), ("memory v6", of::<V6>)] {
        if session.wants(name) {
            session.report.add_memory(row()?);
        }
    }
    Ok(())
}

fn of<A: BenchFamily>() -> io::Result<Memory> {
    let config = |capacity| TableConfig { capacity, secret: Secret::random() };
    let before = resident();
    let table = Table::<A>::new(config(CONNECTIONS))?;
    // Both keys of each: NAT.
    for flow in 0..CONNECTIONS as u64 {
        let key = tuple::<A>(Protocol::Tcp, flow);
        let connection = Connection {
            client: key.src,
            cport: key.sport,
            vip: A::VIP,
            vport: PORT,
            server: nth(A::SERVER, flow % 10),
            rport: 8080,
            local: key.src,
            lport: key.sport,
            protocol: Protocol::Tcp,
            forward: Forward::Nat,
            server_id: 0,
            flags: 0,
            keys: Keys::Both,
            template: TemplateRef::NONE,
        };
        table.insert(&connection, 1, 900, 1).map_err(io::Error::other)?;
    }
    let grown = resident().saturating_sub(before);
    let templates = Table::<A>::new(config(CONNECTIONS / 4))?.bytes();
    let each = |octets: usize| octets as f64 / CONNECTIONS as f64;
    Ok(Memory {
        family: if A::IPV6 { "ipv6" } else { "ipv4" }.to_owned(),
        connections: CONNECTIONS,
        table: each(table.bytes()),
        with_templates: each(table.bytes() + templates),
        resident: each(grown),
    })
}

/// The process's resident set, in octets (`proc(5)`, `VmRSS`); huge pages of the pool are not in
/// it, but in `HugetlbPages`.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or(0)
    };
    (kib("VmRSS:") + kib("HugetlbPages:")) * 1024
}
