//! Netfilter rules about a VIP: what xlvs takes never comes to them.

use std::{
    io::{self, Read},
    process::{Child, Command, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use dataplane::forward::ServiceKey;

use super::Finding;
use crate::{
    model::Model,
    netfilter::{
        self, Ruleset,
        warnings::{self, Idle, NAMED, Served},
    },
};

/// How long the programs may take: a large ruleset is not worth a late start.
const PATIENCE: Duration = Duration::from_secs(2);

/// As much as is read of a ruleset, in octets.
const LONGEST: u64 = 16 << 20;

/// What lists rules. nft does so in its own language and not as JSON, which leaves out what
/// iptables-nft's extensions ask for, and which nobody would want to read in a warning. It does
/// not know the tables of iptables-legacy; those programs are there where somebody uses them.
const LISTS: [&[&str]; 3] =
    [&["nft", "list", "ruleset"], &["iptables-legacy-save"], &["ip6tables-legacy-save"]];

/// The rules of this network namespace, or why there is no knowing.
pub(super) type Seen = Result<Vec<Ruleset>, String>;

/// Asks all of [`LISTS`] at once. Rules that one of them tells are worth more than the silence of
/// another: it is an error only if nft cannot be asked and nothing else was found.
pub(super) fn read() -> Seen {
    let end = Instant::now() + PATIENCE;
    let children: Vec<_> = LISTS.iter().map(|words| start(words)).collect();
    let mut texts = children.into_iter().map(|child| finish(child?, end));
    let nft = texts.next().unwrap_or_else(|| Err(io::ErrorKind::NotFound.into()));
    let legacy: Vec<Ruleset> = texts.flatten().filter_map(|text| rules(&text).ok()).collect();
    let has_rules = |ruleset: &Ruleset| ruleset.chains.iter().any(|chain| !chain.rules.is_empty());
    match nft.and_then(|text| rules(&text)) {
        Ok(ruleset) => Ok(std::iter::once(ruleset).chain(legacy).collect()),
        Err(_) if legacy.iter().any(has_rules) => Ok(legacy),
        Err(error) => Err(format!("nft list ruleset: {error}")),
    }
}

/// No text is no rule.
fn rules(text: &str) -> io::Result<Ruleset> {
    if text.lines().all(|line| line.trim().is_empty() || line.starts_with('#')) {
        return Ok(Ruleset::default());
    }
    netfilter::read(text).map_err(io::Error::other)
}

/// A program that lists rules, and who reads it.
struct Running {
    child: Child,
    reader: JoinHandle<io::Result<String>>,
}

fn start(words: &[&str]) -> io::Result<Running> {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let out = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
    let reader = thread::spawn(move || {
        let mut text = String::new();
        out.take(LONGEST).read_to_string(&mut text).map(|_| text)
    });
    Ok(Running { child, reader })
}

fn finish(Running { mut child, reader }: Running, end: Instant) -> io::Result<String> {
    let Some(status) = ends_in_time(&mut child, end)? else {
        child.kill()?;
        child.wait()?;
        return Err(io::ErrorKind::TimedOut.into());
    };
    if !status.success() {
        return Err(io::Error::other(format!("it failed ({status})")));
    }
    reader.join().map_err(|_| io::Error::other("its output could not be read"))?
}

fn ends_in_time(child: &mut Child, end: Instant) -> io::Result<Option<ExitStatus>> {
    loop {
        let status = child.try_wait()?;
        if status.is_some() || Instant::now() > end {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Which rules will not act on what is `served`.
pub(super) fn judge(served: &[Served], seen: &Seen) -> Vec<Finding> {
    let rulesets = match seen {
        Ok(rulesets) => rulesets,
        Err(why) => {
            let sentence = format!("rules that will not act cannot be looked for: {why}");
            let remedy = "install nftables and grant CAP_NET_ADMIN, or see to it that no rule \
                          names a VIP: none of them sees what xlvs takes";
            return vec![Finding::warning("netfilter", sentence, remedy)];
        }
    };
    let mut idle: Vec<Idle> = Vec::new();
    for found in rulesets.iter().flat_map(|ruleset| warnings::idle(ruleset, served)) {
        if !idle.contains(&found) {
            idle.push(found);
        }
    }
    let named = idle.iter().take(NAMED).map(|rule| {
        let sentence = format!("the rule does not see what xlvs takes: {}", rule.text);
        Finding::warning(&format!("netfilter {}", rule.chain), sentence, rule.remedy)
    });
    let rest = idle.len().saturating_sub(NAMED);
    let more = (rest > 0).then(|| {
        let sentence = format!("{rest} more rules do not see what xlvs takes");
        Finding::warning("netfilter", sentence, "see nft list ruleset, iptables-legacy-save")
    });
    named.chain(more).collect()
}

/// What clients connect to: services, and what mark rules name.
pub(super) fn of_model(model: &Model) -> Vec<Served> {
    let keys = model.services.iter().map(|service| &service.key);
    of_services(keys).chain(warnings::of_marks(&model.marks)).collect()
}

/// What services take by themselves: a mark's are those of its rules.
pub(super) fn of_services<'a>(
    keys: impl Iterator<Item = &'a ServiceKey>,
) -> impl Iterator<Item = Served> {
    keys.filter_map(ServiceKey::endpoint).map(|endpoint| {
        let ports = if endpoint.port == 0 { 0..=u16::MAX } else { endpoint.port..=endpoint.port };
        Served { address: endpoint.address, protocol: endpoint.protocol, ports }
    })
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
        let findings = judge(&of_model(&model(listen)), &Ok(vec![netfilter::read(rules).unwrap()]));
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
        let findings = judge(
            &of_model(&model("203.0.113.10:80/tcp")),
            &Ok(vec![netfilter::read(&rules).unwrap()]),
        );
        assert_eq!(findings.len(), NAMED + 1);
        assert!(findings[NAMED].sentence.starts_with("5 more rules"));
    }

    /// Tables of iptables-legacy stand beside those that nft tells.
    #[test]
    fn several_rulesets_are_looked_at() {
        const LEGACY: &str = "# Generated by iptables-save v1.8.9\n*filter\n:INPUT ACCEPT [0:0]\n\
            -A INPUT -d 203.0.113.10/32 -p tcp -m tcp --dport 80 -j DROP\nCOMMIT\n";
        let served = of_model(&model("203.0.113.10:80/tcp"));
        let seen = ["", LEGACY, LEGACY, "# nothing\n"].map(|text| rules(text).unwrap());
        let findings = judge(&served, &Ok(seen.to_vec()));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].subject, "netfilter ip filter INPUT");
        assert!(judge(&served, &Ok(Vec::new())).is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let findings = judge(&[], &Err("nft list ruleset: entity not found".to_owned()));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].to_string().starts_with("warning: netfilter: rules that will not act"));
        assert!(start(&["/nonexistent/nft"]).is_err());
        let running = start(&["false"]).unwrap();
        let error = finish(running, Instant::now() + PATIENCE).unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
        let running = start(&["sleep", "60"]).unwrap();
        let error = finish(running, Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
