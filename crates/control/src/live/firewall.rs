//! Netfilter rules about a VIP: what xlvs takes never comes to them.

use std::{
    io::{self, Read},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use dataplane::forward::ServiceKey;

use super::Finding;
use crate::{
    model::Model,
    netfilter::{
        self, Ruleset,
        warnings::{NAMED, Served, idle},
    },
};

/// How long nft may take: a large ruleset is not worth a late start.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much as is read of a ruleset, in octets.
const LONGEST: u64 = 16 << 20;

/// The rules of this network namespace; none where nft is missing, fails, or takes too long.
///
/// In nft's own language and not as JSON, which leaves out what iptables-nft's extensions ask
/// for, and which nobody would want to read in a warning.
pub(super) fn read() -> Ruleset {
    let text = list();
    let read = text.and_then(|text| netfilter::read(&text).map_err(io::Error::other));
    read.unwrap_or_else(|error| {
        log::debug!("netfilter's rules are not looked at: nft list ruleset: {error}");
        Ruleset::default()
    })
}

fn list() -> io::Result<String> {
    let mut child = Command::new("nft")
        .args(["list", "ruleset"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.take(LONGEST).read_to_string(&mut text).map(|_| text)
    });
    if !ends_in_time(&mut child)? {
        child.kill()?;
        child.wait()?;
        return Err(io::ErrorKind::TimedOut.into());
    }
    reader.join().map_err(|_| io::Error::other("its output could not be read"))?
}

fn ends_in_time(child: &mut Child) -> io::Result<bool> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > PATIENCE {
            return Ok(false);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(true)
}

pub(super) fn judge(model: &Model, ruleset: &Ruleset) -> Vec<Finding> {
    let idle = idle(ruleset, &served(model));
    let named = idle.iter().take(NAMED).map(|rule| {
        let sentence = format!("the rule does not see what xlvs takes: {}", rule.text);
        Finding::warning(&format!("netfilter {}", rule.chain), sentence, rule.remedy)
    });
    let rest = idle.len().saturating_sub(NAMED);
    let more = (rest > 0).then(|| {
        let sentence = format!("{rest} more rules do not see what xlvs takes");
        Finding::warning("netfilter", sentence, "see nft list ruleset")
    });
    named.chain(more).collect()
}

/// What clients connect to: services, and what mark rules name.
fn served(model: &Model) -> Vec<Served> {
    let services = model.services.iter().filter_map(|service| match &service.key {
        ServiceKey::Endpoint(endpoint) => {
            let ports =
                if endpoint.port == 0 { 0..=u16::MAX } else { endpoint.port..=endpoint.port };
            Some(Served { address: endpoint.address, protocol: endpoint.protocol, ports })
        }
        ServiceKey::Mark { .. } => None,
    });
    services.chain(netfilter::warnings::of_marks(&model.marks)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load;

    const LVS: &str = include_str!("../../tests/netfilter/lvs.nft");
    const IPTABLES: &str = include_str!("../../tests/netfilter/iptables.nft");

    fn model(listen: &str) -> Model {
        let text = format!(
            "version: 1\ninterfaces: [eth0]\nservices:\n  - {{name: web, listen: \"{listen}\", \
             forward: nat, scheduler: rr, servers: [{{address: 10.0.0.1:80}}]}}\n"
        );
        load::read("x.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"))
    }

    /// The words that each finding has, in order.
    fn expect(listen: &str, rules: &str, expected: &[[&str; 3]]) {
        let findings = judge(&model(listen), &netfilter::read(rules).unwrap());
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), expected.len(), "{listen}: {found:#?}");
        for (line, words) in found.iter().zip(expected) {
            assert!(words.iter().all(|word| line.contains(word)), "{listen}: {line}: {words:?}");
        }
    }

    #[test]
    fn rules_about_a_service() {
        let lvs = "netfilter inet lvs";
        let marks = "xlvs import iptables";
        expect(
            "203.0.113.10:80/tcp",
            LVS,
            &[
                [lvs, "tcp dport { 80, 443, 8000-8099 } meta mark", marks],
                [lvs, "203.0.113.10 tcp dport 80 drop", "access: deny"],
                [lvs, "limit rate 10/second accept", "access: new_connections"],
            ],
        );
        // By its port, and by a network.
        expect("203.0.113.99:443/tcp", LVS, &[[lvs, "192.0.2.0/24 reject", "access: deny"]]);
        expect("203.0.113.98:53/udp", LVS, &[[lvs, "203.0.113.0/24 udp dport 53", marks]]);
        expect("203.0.113.98:22/tcp", LVS, &[]);
        expect("192.0.2.99:8765/tcp", LVS, &[]);
        // In a chain that is called for the address.
        expect("203.0.113.13:80/tcp", LVS, &[[lvs, "web", "tcp dport 80 meta mark set"]]);
        expect("203.0.113.13:3868/tcp", IPTABLES, &[]);
        expect(
            "203.0.113.10:80/tcp",
            IPTABLES,
            &[
                ["netfilter ip mangle PREROUTING", "meta mark set 0xa", marks],
                ["netfilter ip filter INPUT", "203.0.113.10 tcp dport 80", "access: deny"],
            ],
        );
    }

    #[test]
    fn many_rules_are_named_in_part() {
        let drop = |port| format!("ip daddr 203.0.113.10 tcp dport {{ 80, {port} }} drop\n");
        let drop: String = (1..=NAMED + 5).map(drop).collect();
        let rules = format!(
            "table ip t {{\nchain c {{\ntype filter hook input priority 0; policy accept;\n{drop}}}\n}}\n"
        );
        let findings = judge(&model("203.0.113.10:80/tcp"), &netfilter::read(&rules).unwrap());
        assert_eq!(findings.len(), NAMED + 1);
        assert!(findings[NAMED].sentence.starts_with("5 more rules"));
    }
}
