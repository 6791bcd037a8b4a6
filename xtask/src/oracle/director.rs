//! A kernel with IPVS as the director: it plays scenarios, step by step.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use oracle::ground::{Port, mac_text};
use oracle::order::Packet;
use oracle::packet::{frames, seen};
use oracle::recording::{Exit, command_lines, connection_lines, exit_lines, pick_lines};
use oracle::scenario::Mark;
use oracle::step::Deed;
use oracle::{Scenario, Step};

use super::ground;
use crate::failure::{Outcome, fail};
use crate::guest::{Guest, Initramfs, Kernel, Nic, Plan};

/// All there are; Debian's 6.1 has no twos.
const SCHEDULERS: &[&str] = &[
    "rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh", "twos",
];
const MODULES: &[&str] = &["ip_vs", "ip_vs_pe_sip", "nf_tables", "nft_dup_ipv4", "nft_dup_ipv6"];

/// An emulated kernel answers within milliseconds; the machine may be busy with others.
const PATIENCE: Duration = Duration::from_secs(20);

/// Packets on their way at once: fewer than a NIC's ring has room for.
const BATCH: usize = 64;

/// Takes IPVS out of the kernel, and sets what a scenario may have changed. Without programs
/// where the shell can do it: each takes tens of milliseconds to start.
const UNLOAD: &str = "home=$(echo /lib/modules/*/kernel/net/netfilter/ipvs)
ipvsadm -C 2>/dev/null
tries=0
while [ -e /sys/module/ip_vs ] && [ $tries -lt 50 ]; do
  # Not at once: services let go of their modules behind a grace period of RCU.
  [ $tries = 0 ] || sleep 0.1
  tries=$((tries+1))
  while read module rest; do
    case $module in ip_vs_*) rmmod $module 2>/dev/null ;; esac
  done </proc/modules
  rmmod ip_vs 2>/dev/null
done
for nic in eth0 eth1; do
  read mtu </sys/class/net/$nic/mtu
  [ $mtu = 1500 ] || ip link set $nic mtu 1500
done
";

/// Waits until what `/proc/net/ip_vs_stats` shows changes, which an estimator of 6.1 does every two
/// seconds and nobody else, and half a second more.
const SAMPLE: &str =
    "look() { now=; while read line; do now=\"$now$line\"; done </proc/net/ip_vs_stats; }
look
was=$now tries=0
while [ \"$now\" = \"$was\" ] && [ $tries -lt 5000 ]; do look; tries=$((tries+1)); done
sleep 0.5
[ \"$now\" != \"$was\" ]
";

/// The guest.
pub(super) struct Director {
    guest: Guest,
    /// Of the last scenario: setting them takes time.
    marks: Vec<Mark>,
    /// What the last scenario has had delivered to the director.
    local: Vec<String>,
    /// Whether the last scenario's ICMP errors may have taught the kernel an MTU.
    taught: bool,
    /// Number of the last fence.
    fence: u16,
}

impl Director {
    /// Boots it and lays its network.
    pub(super) fn boot(kernel: &Kernel, lifetime: Duration) -> Outcome<Self> {
        let mut modules: Vec<String> = MODULES.iter().map(|name| (*name).to_owned()).collect();
        for module in SCHEDULERS.iter().map(|name| format!("ip_vs_{name}")) {
            if kernel.offers(&module)? {
                modules.push(module);
            }
        }
        let root = Initramfs::default().modules(&modules).programs(&["ipvsadm", "nft", "ethtool"]);
        let nics = Port::ALL.map(|port| Nic::new(mac_text(port.mac()))).to_vec();
        let mut guest = Guest::boot(kernel, &root, &Plan { nics, lifetime, ..Plan::default() })?;
        guest.run(&ground::commands())?;
        Ok(Self { guest, marks: Vec::new(), local: Vec::new(), taught: false, fence: 0 })
    }

    /// What kernel and ipvsadm call themselves.
    pub(super) fn versions(&mut self) -> Outcome<(String, String)> {
        let kernel = self.guest.run("uname -r")?.trim().to_owned();
        let ipvsadm = self.guest.run("ipvsadm --version")?;
        Ok((kernel, ipvsadm.lines().next().unwrap_or_default().to_owned()))
    }

    /// Plays a scenario from an IPVS that has just been loaded, and gives each step's lines.
    pub(super) fn play(&mut self, scenario: &Scenario) -> Outcome<Vec<Vec<String>>> {
        self.reset(scenario)?;
        let mut lines = Vec::new();
        let mut rest = scenario.steps.as_slice();
        while !rest.is_empty() {
            let (done, left) = self.steps(rest).map_err(|why| {
                why.during(&format!("step {} ({})", lines.len() + 1, rest[0].text))
            })?;
            lines.extend(done);
            rest = left;
        }
        Ok(lines)
    }

    /// Does the next step, or the next few if they are commands: the guest's shell answers
    /// slowly.
    fn steps<'s>(&mut self, steps: &'s [Step]) -> Outcome<(Vec<Vec<String>>, &'s [Step])> {
        let (step, rest) = (&steps[0], &steps[1..]);
        let lines = match &step.deed {
            Deed::Ipvsadm { .. } | Deed::Connections | Deed::Sysctl { .. } => {
                return self.commands(steps);
            }
            Deed::Mtu { port, size } => {
                self.guest.run(&format!("ip link set {} mtu {size}", port.interface()))?;
                Vec::new()
            }
            Deed::Wait(seconds) => {
                sleep(Duration::from_secs((*seconds).into()));
                Vec::new()
            }
            Deed::Steady { seconds, rate, packet } => {
                self.steady(*seconds, *rate, packet)?;
                Vec::new()
            }
            Deed::Sample => {
                self.guest.run(SAMPLE)?;
                Vec::new()
            }
            Deed::Packet(packet) => self.packet(packet)?,
            Deed::Picks { packets, compact } => {
                let mut picks = Vec::new();
                for batch in packets.chunks(BATCH) {
                    picks.extend(self.picks(batch)?);
                }
                pick_lines(&picks, *compact)
            }
        };
        Ok((vec![lines], rest))
    }

    /// IPVS is unloaded and loaded: no service, connection or setting outlives it.
    fn reset(&mut self, scenario: &Scenario) -> Outcome {
        let mut script = UNLOAD.to_owned();
        // What modprobe would do, which takes ten times as long, but also unpacks.
        let wanted = SCHEDULERS.iter().filter(|name| names(scenario, name));
        for module in
            std::iter::once("ip_vs".to_owned()).chain(wanted.map(|name| format!("ip_vs_{name}")))
        {
            script += &format!("insmod $home/{module}.ko 2>/dev/null || modprobe {module}\n");
        }
        if std::mem::replace(&mut self.taught, has_errors(scenario)) {
            script += "ip route flush cache\nip -6 route flush cache\n";
        }
        for (name, value) in &scenario.sysctl {
            script += &sysctl(name, value);
        }
        if self.marks != scenario.marks {
            script += &ground::marks(&scenario.marks);
            self.marks.clone_from(&scenario.marks);
        }
        if self.local != scenario.local {
            script += &ground::delivered(&scenario.local);
            self.local.clone_from(&scenario.local);
        }
        self.guest.run(&script)?;
        // What the scenario before has left behind: errors about unanswered ARP, say.
        self.settled(Port::Front).map(drop)
    }

    /// All commands up to the next step that is none, in one go.
    fn commands<'s>(&mut self, steps: &'s [Step]) -> Outcome<(Vec<Vec<String>>, &'s [Step])> {
        let scripts: Vec<String> = steps.iter().map_while(|step| script(&step.deed)).collect();
        let (now, rest) = steps.split_at(scripts.len());
        let words = self.guest.run(&scripts.concat())?;
        let mut parts = words.split('\u{1}');
        let mut part = || parts.next().unwrap_or_default().to_owned();
        let mut all = Vec::new();
        for step in now {
            let (out, err, code) = (part(), part(), part());
            let Ok(code) = code.parse() else { return fail(format!("the guest said {words}")) };
            all.push(match step.deed {
                Deed::Connections if code == 0 => connection_lines(&out),
                _ => command_lines(code, &out, &err),
            });
        }
        Ok((all, rest))
    }

    fn packet(&mut self, packet: &Packet) -> Outcome<Vec<String>> {
        let frames = frames(packet);
        for frame in &frames {
            self.guest.wire(packet.port.number()).send(frame)?;
        }
        let exits = self.settled(packet.port)?;
        let arrived = frames.first().and_then(|frame| frame.get(14..)).unwrap_or_default();
        Ok(exit_lines(&exits, arrived))
    }

    /// Lets a packet in, again and again, by the clock.
    fn steady(&mut self, seconds: u32, rate: u32, packet: &Packet) -> Outcome {
        let (frames, begun) = (frames(packet), Instant::now());
        for number in 0..seconds * rate {
            let due = begun + Duration::from_secs(1) * number / rate;
            sleep(due.saturating_duration_since(Instant::now()));
            for frame in &frames {
                self.guest.wire(packet.port.number()).send(frame)?;
            }
            if (number + 1).is_multiple_of(rate) {
                // What leaves must not fill the cable.
                self.settled(packet.port)?;
            }
        }
        let end = begun + Duration::from_secs(seconds.into());
        sleep(end.saturating_duration_since(Instant::now()));
        Ok(())
    }

    /// Where each of these packets goes; nothing else is on its way.
    fn picks(&mut self, packets: &[Packet]) -> Outcome<Vec<String>> {
        let Some(port) = packets.first().map(|packet| packet.port) else {
            return Ok(Vec::new());
        };
        for packet in packets {
            for frame in frames(packet) {
                self.guest.wire(port.number()).send(&frame)?;
            }
        }
        let mut picks: HashMap<SocketAddr, String> = HashMap::new();
        for exit in self.settled(port)? {
            if let Some(client) = exit.client() {
                picks.insert(client, exit.pick());
            }
        }
        let pick = |packet: &Packet| picks.remove(&packet.from).unwrap_or_else(|| "-".to_owned());
        let all = packets.iter().map(pick).collect();
        match picks.keys().next() {
            None => Ok(all),
            Some(stranger) => fail(format!("a frame of {stranger} left, who had sent none")),
        }
    }

    /// Everything that leaves because of what went in at `port`. A ping to the director at the
    /// same port is answered after all that came before; a ping at the other port is answered
    /// after all that had to leave there.
    fn settled(&mut self, port: Port) -> Outcome<Vec<Exit>> {
        let mut exits = self.until_fence(port)?;
        let other = if port == Port::Front { Port::Back } else { Port::Front };
        exits.extend(self.until_fence(other)?);
        Ok(exits)
    }

    fn until_fence(&mut self, port: Port) -> Outcome<Vec<Exit>> {
        self.fence = self.fence.wrapping_add(1);
        let (from, to) = match port {
            Port::Front => ("192.0.2.1", Port::Front.address4()),
            Port::Back => ("10.2.0.254", Port::Back.address4()),
        };
        // The number stands where an ICMP error has its MTU.
        let ping = Packet::parse(&format!("icmp 8/0 {from} > {to} mtu={}", self.fence))
            .map_err(|why| why.to_string())?;
        let wire = self.guest.wire(port.number());
        for frame in frames(&ping) {
            wire.send(&frame)?;
        }
        let mut exits = Vec::new();
        loop {
            let Some(frame) = wire.receive(PATIENCE, is_ours)? else {
                return fail(format!("the director does not answer a ping to {to}"));
            };
            if frame[14..].get(20) == Some(&0)
                && frame.get(40..42) == Some(&self.fence.to_be_bytes())
                && frame.get(23) == Some(&1)
            {
                return Ok(exits);
            }
            exits.push(Exit { port, frame });
        }
    }
}

/// Whether ICMP comes in during the scenario.
fn has_errors(scenario: &Scenario) -> bool {
    scenario.steps.iter().any(|step| step.text.starts_with("icmp "))
}

/// Whether a service of the scenario has this scheduler. One that comes later is loaded by
/// the kernel.
fn names(scenario: &Scenario, scheduler: &str) -> bool {
    let option = format!("-s {scheduler}");
    scenario.steps.iter().any(|step| {
        let mut lines = step.text.lines();
        lines.any(|line| line.ends_with(&option) || line.contains(&format!("{option} ")))
    })
}

/// IPv4 or IPv6 to a neighbour; a kernel also looks for routers and joins groups.
fn is_ours(frame: &[u8]) -> bool {
    let kind = frame.get(12..14);
    let ip = kind == Some(&[8, 0]) || kind == Some(&[0x86, 0xdd]);
    let discovery = seen(frame.get(14..).unwrap_or_default()).is_none_or(|seen| {
        seen.protocol == 58 && frame.get(54).is_some_and(|kind| (130..=143).contains(kind))
    });
    ip && frame[0] & 1 == 0 && !discovery
}

/// A command that prints its output, its errors and its exit code, each followed by an octet
/// that no text has. `None` for what is no command.
fn script(deed: &Deed) -> Option<String> {
    let command = match deed {
        Deed::Ipvsadm { arguments, input: None } => format!("ipvsadm {arguments} </dev/null"),
        Deed::Ipvsadm { arguments, input: Some(input) } => {
            format!("printf '%s' '{}' | ipvsadm {arguments}", input.replace('\'', "'\\''"))
        }
        Deed::Connections => "ipvsadm -Lnc".to_owned(),
        Deed::Sysctl { name, value } => sysctl(name, value).trim_end().to_owned(),
        _ => return None,
    };
    Some(format!(
        "{{ {command}; }} 2>/tmp/err\ncode=$?\nprintf '\\001'\n[ -s /tmp/err ] && cat /tmp/err\nprintf '\\001%d\\001' $code\n"
    ))
}

fn sysctl(name: &str, value: &str) -> String {
    format!("sysctl -q -w net.ipv4.vs.{name}='{value}'\n")
}
