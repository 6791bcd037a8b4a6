//! The NICs: what they do to frames before xlvs sees them, and who else is there.

use std::{io, path::Path};

use dataplane::topology::Interface;
use futures_util::TryStreamExt;
use hashbrown::HashMap;
use netlink_packet_route::link::{LinkAttribute, LinkXdp};
use rtnetlink::Handle;
use xsk::{
    WAIT_PORTS,
    link::{self, Feature},
};

use super::Finding;
use crate::{
    daemon::PINS,
    model::{Model, XdpMode},
    report,
};

/// Sockets that the XDP program's map holds (`sockets` in match.bpf.c).
const MOST_QUEUES: u32 = 256;

/// An interface of the file that is there.
#[derive(Clone, Debug)]
pub(super) struct Nic {
    name: String,
    up: bool,
    ethernet: bool,
    queues: u32,
    driver: String,
    /// The offloads that are on.
    features: Vec<Feature>,
    /// The id of the XDP program that is attached.
    program: Option<u32>,
    /// xlvs left it there, and will take it over.
    pinned: bool,
    /// A running xlvs serves the interface: the program is its.
    served: bool,
}

impl Nic {
    pub(super) fn read(
        interface: &Interface,
        programs: &HashMap<u32, u32>,
        served: &[report::Interface],
    ) -> Self {
        let name = interface.name.clone();
        let on = |feature: &Feature| link::feature(&name, *feature).unwrap_or(false);
        Self {
            up: interface.up,
            ethernet: link::mac(&name).is_ok(),
            queues: link::rx_queues(&name).unwrap_or(1),
            driver: link::driver(&name).unwrap_or_default(),
            features: Feature::ALL.into_iter().filter(on).collect(),
            program: programs.get(&interface.index).copied(),
            pinned: Path::new(PINS).join(&name).exists(),
            served: served.iter().any(|of_it| is_served(interface, of_it)),
            name,
        }
    }
}

/// `told` by an xlvs is this interface, with its program. Another network namespace has other MACs.
fn is_served(interface: &Interface, told: &report::Interface) -> bool {
    let same = told.name == interface.name && told.mac == interface.mac.to_string();
    same && told.xdp_mode.is_some()
}

/// The ids of attached XDP programs, by index of the interface.
pub(super) async fn programs(handle: &Handle) -> io::Result<HashMap<u32, u32>> {
    let mut links = std::pin::pin!(handle.link().get().execute());
    let mut programs = HashMap::new();
    while let Some(found) = links.try_next().await.map_err(io::Error::other)? {
        for attribute in &found.attributes {
            if let LinkAttribute::Xdp(facts) = attribute
                && let Some(id) = facts.iter().find_map(program_id)
            {
                programs.insert(found.header.index, id);
            }
        }
    }
    Ok(programs)
}

fn program_id(fact: &LinkXdp) -> Option<u32> {
    match fact {
        LinkXdp::ProgId(id)
        | LinkXdp::DrvProgId(id)
        | LinkXdp::SkbProgId(id)
        | LinkXdp::HwProgId(id) => Some(*id).filter(|id| *id != 0),
        _ => None,
    }
}

/// Judges each interface by itself and the queues together.
pub(super) fn judge(model: &Model, nics: &[Nic]) -> Vec<Finding> {
    let mut findings = queues(model, nics);
    for interface in &model.interfaces {
        let Some(nic) = nics.iter().find(|nic| nic.name == interface.name) else { continue };
        findings.extend(self::nic(nic));
        findings.extend(offloads(nic, interface.mode));
    }
    findings
}

/// Whether every queue can have a worker, and every worker a queue.
fn queues(model: &Model, nics: &[Nic]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for nic in nics.iter().filter(|nic| nic.queues > MOST_QUEUES) {
        findings.push(Finding::error(
            &nic.name,
            format!("has {} receive queues, {MOST_QUEUES} can be served", nic.queues),
            format!("ethtool -L {} combined {MOST_QUEUES}", nic.name),
        ));
    }
    let Some(fewest) = nics.iter().min_by_key(|nic| nic.queues) else { return findings };
    let workers = model.workers.cores.as_ref().map_or(fewest.queues as usize, Vec::len).max(1);
    let most = nics.iter().map(|nic| nic.queues as usize).max().unwrap_or(0);
    // More workers than any interface has queues is a fault of the file, with its line.
    if workers > fewest.queues as usize && workers <= most {
        findings.push(Finding::error(
            &fewest.name,
            format!("has {} receive queues for {workers} workers", fewest.queues),
            format!("ethtool -L {} combined {workers}, or fewer workers.cores", fewest.name),
        ));
    }
    let busiest: usize = nics.iter().map(|nic| (nic.queues as usize).div_ceil(workers)).sum();
    if busiest > WAIT_PORTS {
        findings.push(Finding::error(
            "workers",
            format!("one of {workers} would serve {busiest} queues, {WAIT_PORTS} is the most"),
            "write more workers.cores, or take queues away with ethtool -L",
        ));
    }
    findings
}

fn nic(nic: &Nic) -> Vec<Finding> {
    let name = &nic.name;
    let mut findings = Vec::new();
    if !nic.ethernet {
        findings.push(Finding::error(
            name,
            "is not an Ethernet interface",
            "name the interface by which clients' packets come",
        ));
    }
    if !nic.up {
        findings.push(Finding::warning(
            name,
            "is down, or has no carrier",
            format!("ip link set dev {name} up, and look at its cable or peer"),
        ));
    }
    match nic.program {
        Some(_) if nic.served => findings.push(Finding::note(
            name,
            "is served by the xlvs that runs here",
            "xlvs diff tells what this file would change, xlvs apply changes it",
        )),
        Some(id) if nic.pinned => findings.push(Finding::note(
            name,
            format!("XDP program {id}, left by an earlier xlvs for when_down: drop, is attached"),
            "nothing is to be done: xlvs run takes it over",
        )),
        Some(id) => findings.push(Finding::error(
            name,
            format!("another XDP program is attached, id {id}; ip link show dev {name} shows it"),
            format!(
                "stop its owner (bpftool prog show id {id}; another xlvs?), or ip link set dev \
                 {name} xdp off"
            ),
        )),
        None => {}
    }
    findings
}

fn offloads(nic: &Nic, mode: XdpMode) -> Vec<Finding> {
    let name = &nic.name;
    let on = |feature| nic.features.contains(&feature);
    let mut findings = Vec::new();
    if on(Feature::Lro) {
        findings.push(Finding::warning(
            name,
            "LRO is on: it merges packets into some that no frame holds, and most drivers refuse \
             native XDP beside it",
            format!("ethtool -K {name} lro off"),
        ));
    }
    if on(Feature::Gro) && mode == XdpMode::Generic {
        findings.push(Finding::note(
            name,
            "GRO is on, and merges packets before generic XDP sees them",
            "nothing is to be done: xlvs run switches it off",
        ));
    }
    if on(Feature::RxVlan) {
        findings.push(Finding::note(
            name,
            "VLAN tags are stripped by hardware: a tagged packet would look like an untagged one",
            "nothing is to be done: xlvs run switches it off",
        ));
    }
    if nic.driver == "veth" {
        findings.push(Finding::note(
            name,
            "is a veth: while its peer leaves checksums to the NIC, packets come with wrong ones",
            "ethtool -K PEER tx off, where the peer is",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use dataplane::topology::Mac;

    use super::{super::Severity, *};
    use crate::load::read;

    fn nic_of(name: &str, queues: u32) -> Nic {
        Nic {
            name: name.to_owned(),
            up: true,
            ethernet: true,
            queues,
            driver: "ixgbe".to_owned(),
            features: Vec::new(),
            program: None,
            pinned: false,
            served: false,
        }
    }

    fn model(mode: &str, cores: &str) -> Model {
        let text = format!(
            "version: 1\ninterfaces: [{{name: eth0, mode: {mode}}}, eth1]\n{cores}services: []\n"
        );
        read("x.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn one_fact_gives_one_finding() {
        let plain = || nic_of("eth0", 1);
        type Row<'a> = (&'a str, Nic, Option<(Severity, &'a str)>);
        let cases: [Row<'_>; 11] = [
            ("auto", plain(), None),
            ("auto", Nic { up: false, ..plain() }, Some((Severity::Warning, "is down"))),
            ("auto", Nic { ethernet: false, ..plain() }, Some((Severity::Error, "Ethernet"))),
            ("auto", Nic { program: Some(7), ..plain() }, Some((Severity::Error, "id 7"))),
            (
                "auto",
                Nic { program: Some(7), pinned: true, ..plain() },
                Some((Severity::Note, "earlier xlvs")),
            ),
            (
                "auto",
                Nic { program: Some(7), served: true, ..plain() },
                Some((Severity::Note, "runs here")),
            ),
            (
                "auto",
                Nic { features: vec![Feature::Lro], ..plain() },
                Some((Severity::Warning, "LRO")),
            ),
            (
                "auto",
                Nic { features: vec![Feature::RxVlan], ..plain() },
                Some((Severity::Note, "VLAN")),
            ),
            ("auto", Nic { features: vec![Feature::Gro, Feature::TxChecksum], ..plain() }, None),
            (
                "generic",
                Nic { features: vec![Feature::Gro], ..plain() },
                Some((Severity::Note, "GRO")),
            ),
            ("auto", Nic { driver: "veth".to_owned(), ..plain() }, Some((Severity::Note, "veth"))),
        ];
        for (mode, nic, expected) in cases {
            let findings = judge(&model(mode, ""), std::slice::from_ref(&nic));
            assert_eq!(findings.len(), usize::from(expected.is_some()), "{nic:?}: {findings:?}");
            for (finding, (severity, part)) in findings.iter().zip(expected) {
                assert_eq!((finding.severity, finding.subject.as_str()), (severity, "eth0"));
                assert!(finding.sentence.contains(part), "{finding}");
            }
        }
    }

    #[test]
    fn an_interface_is_served_if_all_of_it_is_the_same() {
        let here = Interface {
            name: "eth0".to_owned(),
            index: 2,
            mac: Mac([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
        };
        for (name, mac, attached, expected) in [
            ("eth0", "02:00:00:00:00:01", true, true),
            ("eth0", "02:00:00:00:00:01", false, false),
            ("eth0", "02:00:00:00:00:02", true, false),
            ("eth1", "02:00:00:00:00:01", true, false),
        ] {
            let told = report::Interface {
                name: name.to_owned(),
                index: 2,
                mac: mac.to_owned(),
                mtu: 1500,
                up: true,
                queues: 1,
                xdp_mode: attached.then_some(report::XdpMode::Native),
                zero_copy: false,
                fallback: None,
                taken: 0,
                passed: 0,
                oversize: 0,
                no_socket: 0,
            };
            assert_eq!(is_served(&here, &told), expected, "{name} {mac} {attached}");
        }
    }

    #[test]
    fn queues_and_workers_fit() {
        let two = "workers: {cores: [0, 1]}\n";
        // (workers, queues of eth0 and eth1, the error)
        let cases: [(&str, [u32; 2], Option<&str>); 8] = [
            ("", [1, 1], None),
            ("", [2, 4], None),
            (two, [4, 4], None),
            (two, [1, 2], Some("1 receive queues for 2 workers")),
            (two, [1, 1], None),
            ("", [300, 300], Some("300 receive queues")),
            ("", [1, 63], Some("would serve 64 queues")),
            (two, [63, 62], None),
        ];
        for (cores, [first, second], expected) in cases {
            let nics = [nic_of("eth0", first), nic_of("eth1", second)];
            let findings = queues(&model("auto", cores), &nics);
            assert!(findings.iter().all(Finding::is_error));
            let sentence = findings.first().map(|finding| finding.sentence.as_str());
            assert_eq!(sentence.is_some(), expected.is_some(), "{first} {second}: {findings:?}");
            assert!(sentence.unwrap_or("").contains(expected.unwrap_or("")), "{findings:?}");
        }
    }
}
