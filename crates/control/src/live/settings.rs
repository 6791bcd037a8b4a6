//! Settings of the kernel that explain what an operator may see.

use std::fs;

use dataplane::forward::Forward;

use super::Finding;
use crate::model::Model;

/// Octets of a connection in its table, index included: the goal that the tables keep.
const OCTETS_IPV4: u64 = 96;
const OCTETS_IPV6: u64 = 160;

/// Octets of a huge page.
const HUGE_PAGE: u64 = 2 << 20;

/// What was read; `None` where there is no such setting.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// `net.ipv4.ip_forward`
    ip_forward: Option<u64>,
    /// The effective `rp_filter` of each served interface.
    rp_filter: Vec<(String, u64)>,
    /// Free pages of 2 MiB.
    huge_pages: Option<u64>,
}

impl Settings {
    pub(super) fn read(model: &Model) -> Self {
        let conf = |name: &str| number(&format!("/proc/sys/net/ipv4/conf/{name}/rp_filter"));
        let names = model.interfaces.iter().map(|interface| &interface.name);
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            ip_forward: number("/proc/sys/net/ipv4/ip_forward"),
            // The kernel takes the greater one (Documentation/networking/ip-sysctl.rst).
            rp_filter: names
                .filter_map(|name| Some((name.clone(), conf(name)?.max(conf("all")?))))
                .collect(),
            huge_pages: free_huge_pages(&meminfo),
        }
    }
}

fn number(path: &str) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn free_huge_pages(meminfo: &str) -> Option<u64> {
    let value = |name: &str| {
        let mut lines = meminfo.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| *key == name)?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    let of_two_mib = value("Hugepagesize")? * 1024 == HUGE_PAGE;
    if of_two_mib { value("HugePages_Free") } else { Some(0) }
}

pub(super) fn judge(model: &Model, settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    let nat = model.services.iter().flat_map(|service| &service.servers);
    if nat.into_iter().any(|server| server.forward == Forward::Nat)
        && settings.ip_forward == Some(0)
    {
        findings.push(Finding::note(
            "net.ipv4.ip_forward",
            "is 0: services do not need it, but NAT servers reach nothing else through this box",
            "sysctl net.ipv4.ip_forward=1, if the servers are to use it as their gateway",
        ));
    }
    for (name, value) in settings.rp_filter.iter().filter(|_| model.interfaces.len() > 1) {
        if *value == 1 {
            findings.push(Finding::note(
                name,
                "the kernel's reverse-path filter is strict: what xlvs leaves to it is lost where \
                 the way back is another interface",
                format!("sysctl net.ipv4.conf.{name}.rp_filter=2, where paths are asymmetric"),
            ));
        }
    }
    let limits = &model.limits;
    let octets = OCTETS_IPV4 * u64::from(limits.connections)
        + OCTETS_IPV6 * u64::from(limits.connections_ipv6);
    let wanted = octets.div_ceil(HUGE_PAGE);
    if let Some(free) = settings.huge_pages.filter(|free| *free < wanted) {
        findings.push(Finding::note(
            "huge pages",
            format!("{free} are free, the connection tables would take about {wanted}: ordinary pages will do, each lookup takes a little longer"),
            format!("sysctl vm.nr_hugepages={wanted}"),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::read;

    fn model(forward: &str, interfaces: &str) -> Model {
        let text = format!(
            "version: 1\ninterfaces: [{interfaces}]\nlimits: {{connections: 1000000}}\nservices:\n  \
             - {{name: a, listen: \"192.0.2.1:80/tcp\", forward: {forward}, scheduler: rr, \
             servers: [{{address: \"10.0.0.1\"}}]}}\n"
        );
        read("x.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn settings_are_noted_where_they_matter() {
        let strict = |name: &str| vec![(name.to_owned(), 1)];
        let cases: [(&str, &str, Settings, &[&str]); 7] = [
            (
                "nat",
                "eth0",
                Settings { ip_forward: Some(0), ..Settings::default() },
                &["net.ipv4.ip_forward"],
            ),
            ("nat", "eth0", Settings { ip_forward: Some(1), ..Settings::default() }, &[]),
            ("dr", "eth0", Settings { ip_forward: Some(0), ..Settings::default() }, &[]),
            (
                "dr",
                "eth0, eth1",
                Settings { rp_filter: strict("eth1"), ..Settings::default() },
                &["eth1"],
            ),
            ("dr", "eth0", Settings { rp_filter: strict("eth0"), ..Settings::default() }, &[]),
            (
                "dr",
                "eth0",
                Settings { huge_pages: Some(0), ..Settings::default() },
                &["huge pages"],
            ),
            ("dr", "eth0", Settings { huge_pages: Some(100), ..Settings::default() }, &[]),
        ];
        for (forward, interfaces, settings, expected) in cases {
            let findings = judge(&model(forward, interfaces), &settings);
            let subjects: Vec<&str> = findings.iter().map(|f| f.subject.as_str()).collect();
            assert_eq!(subjects, expected, "{forward} {settings:?}");
            assert!(findings.iter().all(|f| f.severity == super::super::Severity::Note));
        }
    }

    #[test]
    fn huge_pages_of_another_size_do_not_count() {
        let text = |size: u32| format!("HugePages_Free:       7\nHugepagesize:    {size} kB\n");
        assert_eq!(free_huge_pages(&text(2048)), Some(7));
        assert_eq!(free_huge_pages(&text(1_048_576)), Some(0));
        assert_eq!(free_huge_pages("MemFree: 1 kB\n"), None);
    }
}
