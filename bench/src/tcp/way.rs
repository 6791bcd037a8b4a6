//! The ways from the client to the servers, and who is in the box in each of them.

use std::{fs, io, path::Path};

use control::{api::fetch, report::Report};
use dataplane::forward::Forward;
use serde::Serialize;

use super::{
    BOX,
    ground::{Ground, LOCAL, SERVERS, VIP},
};
use crate::{process::Process, rig::forwarder::Forwarder};

/// How packets get to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// By cables past the box.
    Direct,
    /// The box's kernel forwards and changes no address; a route with two next hops balances.
    Forward,
    /// xlvs.
    Nat,
    /// xlvs; answers by the cables past the box.
    Dr,
    /// xlvs.
    Fullnat,
    /// HAProxy in TCP mode.
    Haproxy,
    /// nginx with a stream block.
    Nginx,
}

impl Way {
    /// As it is named on the command line.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Forward => "forward",
            Self::Nat => "nat",
            Self::Dr => "dr",
            Self::Fullnat => "fullnat",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
        }
    }
}

/// Who forwards, running.
pub(super) enum Middle {
    /// The kernel, or nobody.
    Kernel,
    Xlvs(Forwarder),
    Proxy(Process),
}

impl Middle {
    /// Starts who forwards and waits until pages come through.
    ///
    /// # Errors
    /// It does not start, or no page comes.
    pub(super) fn start(ground: &Ground, way: Way, xlvs: Option<&Path>) -> io::Result<Self> {
        let middle = match way {
            Way::Direct | Way::Forward => Self::Kernel,
            Way::Nat => Self::xlvs(ground, xlvs, Forward::Nat)?,
            Way::Dr => Self::xlvs(ground, xlvs, Forward::Dr)?,
            Way::Fullnat => Self::xlvs(ground, xlvs, Forward::FullNat)?,
            Way::Haproxy => Self::haproxy(ground)?,
            Way::Nginx => Self::Proxy(ground.nginx("box", BOX, &stream())?),
        };
        ground.wait_for_page()?;
        Ok(middle)
    }

    fn xlvs(ground: &Ground, xlvs: Option<&Path>, mode: Forward) -> io::Result<Self> {
        let forwarder = Forwarder::xlvs(ground, xlvs, &yaml(mode))?;
        forwarder.bind_control(BOX)?;
        Ok(Self::Xlvs(forwarder))
    }

    fn haproxy(ground: &Ground) -> io::Result<Self> {
        let file = ground.home("box")?.join("haproxy.cfg");
        fs::write(&file, haproxy())?;
        let file = file.to_string_lossy();
        let mut process = ground.start("box", BOX, &["haproxy", "-db", "-q", "-f", &file])?;
        ground.wait_for_port("box", &mut process)?;
        Ok(Self::Proxy(process))
    }

    /// Seconds of work until now, if it can tell: the breaths in which xlvs's worker moved
    /// packets (it polls in others), the CPU time of a proxy.
    ///
    /// # Errors
    /// It has ended.
    pub(super) fn work(&self) -> io::Result<Option<f64>> {
        match self {
            Self::Kernel => Ok(None),
            Self::Proxy(process) => process.cpu_seconds().map(Some),
            Self::Xlvs(forwarder) => {
                let report = fetch(&forwarder.socket(), "/v1/report").map_err(io::Error::other)?;
                let report: Report = serde_json::from_slice(&report)?;
                let nanos: u64 = report.workers.iter().map(|worker| worker.busy_ns).sum();
                Ok(Some(nanos as f64 / 1e9))
            }
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// An XDP program stays behind.
    pub(super) fn end(self, ground: &Ground) -> io::Result<()> {
        match self {
            Self::Kernel => Ok(()),
            Self::Proxy(mut process) => process.end(),
            Self::Xlvs(forwarder) => forwarder.end(ground),
        }
    }
}

fn yaml(mode: Forward) -> String {
    let (pool, use_pool) = match mode {
        Forward::FullNat => {
            let addresses = LOCAL.join(", ");
            let pool = format!(
                "local_addresses: {{bench: {{addresses: [{addresses}], ports: 10000-32767}}}}\n"
            );
            (pool, "    local_addresses: bench\n")
        }
        _ => (String::new(), ""),
    };
    let servers = SERVERS.map(|server| format!("{{address: {server}}}")).join(", ");
    format!(
        "version: 1\n\
         interfaces: [in, out1, out2]\n\
         workers: {{cores: [{BOX}]}}\n\
         {pool}\
         services:\n  \
           - name: web\n    \
             listen: {VIP}:80/tcp\n    \
             forward: {}\n    \
             scheduler: rr\n\
         {use_pool}    \
             servers: [{servers}]\n",
        mode.name(),
    )
}

/// One thread, round robin, no log.
fn haproxy() -> String {
    let servers = SERVERS.iter().zip(1..);
    let servers: String =
        servers.map(|(server, n)| format!("  server s{n} {server}:80\n")).collect();
    format!(
        "global\n  nbthread 1\n  maxconn 8192\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n\
         listen web\n  bind {VIP}:80 backlog 4096\n  balance roundrobin\n{servers}"
    )
}

fn stream() -> String {
    let servers = SERVERS.map(|server| format!("server {server}:80;")).join(" ");
    format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         stream {{\n  upstream web {{ {servers} }}\n  \
         server {{ listen {VIP}:80 backlog=4096; proxy_pass web; }}\n}}\n"
    )
}
