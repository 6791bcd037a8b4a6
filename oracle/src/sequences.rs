//! Sequences for schedulers: servers that come and go, weights that change, connections that
//! open and close, by chance and always the same.
use serde::Deserialize;

use crate::Chance;

/// What a file says of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sequences {
    /// The scheduler's name.
    scheduler: String,
    /// Its flags, as `-b` takes them.
    #[serde(default)]
    flags: Option<String>,
    /// How many scenarios.
    count: u64,
    /// Each one's chance begins with this and its number.
    seed: u64,
    /// Steps of each, beside those that set it up.
    orders: u64,
    /// Whether destinations vary: the service is then mark 64, and the scenario marks what goes
    /// to 10.64.0.0/14.
    #[serde(default)]
    destinations: bool,
    /// Whether every 25th waits for closed connections to go.
    #[serde(default)]
    waits: bool,
}

/// One scenario as it grows.
struct Sequence<'a> {
    plan: &'a Sequences,
    chance: Chance,
    /// Numbers of the servers that are there.
    servers: Vec<u64>,
    clients: u64,
    /// Whether connections are closed so that they go at once.
    waits: bool,
    steps: Vec<String>,
}

const SERVERS: std::ops::RangeInclusive<u64> = 11..=19;

impl Sequences {
    /// Suffixes of names, and steps.
    pub(crate) fn spell_out(&self) -> Vec<(String, Vec<String>)> {
        (1..=self.count).map(|number| (format!("_{number:02}"), self.sequence(number))).collect()
    }

    fn sequence(&self, number: u64) -> Vec<String> {
        let mut sequence = Sequence {
            plan: self,
            chance: Chance::new((self.seed << 32) | number),
            servers: Vec::new(),
            clients: 0,
            waits: self.waits && number.is_multiple_of(25),
            steps: Vec::new(),
        };
        sequence.begin();
        for _ in 0..self.orders {
            sequence.order();
        }
        if sequence.waits {
            sequence.steps.push("wait 4".to_owned());
        }
        sequence.open(8);
        sequence.steps.push("ipvsadm -Ln".to_owned());
        sequence.steps
    }
}

impl Sequence<'_> {
    fn begin(&mut self) {
        let flags = self.plan.flags.as_ref().map(|flags| format!(" -b {flags}"));
        let (service, scheduler) = (self.service(), &self.plan.scheduler);
        let flags = flags.unwrap_or_default();
        if self.waits {
            self.steps.push("ipvsadm --set 0 1 0".to_owned());
        }
        self.steps.push(format!("ipvsadm -R\n-A {service} -s {scheduler}{flags}"));
        let own = self.steps.len();
        for _ in 0..self.chance.within(2, 5) {
            self.add();
        }
        // All in one command: a guest is slow to start programs.
        let servers: Vec<String> = self.steps.drain(own..).collect();
        for server in servers {
            let line = server.trim_start_matches("ipvsadm ");
            if let Some(begin) = self.steps.last_mut() {
                begin.push('\n');
                begin.push_str(line);
            }
        }
        self.open(4);
    }

    fn service(&self) -> &'static str {
        if self.plan.destinations { "-f 64" } else { "-t 10.9.0.1:80" }
    }

    fn order(&mut self) {
        match self.chance.within(1, 100) {
            1..=45 => {
                let count = self.chance.within(1, 6);
                self.open(count);
            }
            46..=57 => self.edit(),
            58..=65 => self.delete(),
            66..=74 => self.add(),
            75..=90 => self.close(),
            91..=95 => self.client("ack"),
            _ => self.client("rst"),
        }
    }

    fn open(&mut self, count: u64) {
        if !self.plan.destinations {
            self.clients += count;
            self.steps.push(format!("open {count} 10.9.0.1:80"));
            return;
        }
        for _ in 0..count.div_ceil(2) {
            self.clients += 2;
            let destination = self.chance.within(1, 12);
            self.steps.push(format!("open 2 10.64.{destination}.7:80"));
        }
    }

    fn add(&mut self) {
        let absent: Vec<u64> = SERVERS.filter(|one| !self.servers.contains(one)).collect();
        let Some(server) = self.chance.one_of(&absent).copied() else { return };
        self.servers.push(server);
        self.change("-a", server, " -g");
    }

    fn edit(&mut self) {
        let Some(server) = self.chance.one_of(&self.servers).copied() else { return };
        self.change("-e", server, " -g");
    }

    fn change(&mut self, verb: &str, server: u64, forward: &str) {
        let weight = match self.chance.within(1, 10) {
            1 => 0,
            2 => self.chance.within(10, 50),
            _ => self.chance.within(1, 6),
        };
        // One in eight has room for few connections only.
        let thresholds = match self.chance.within(1, 8) {
            1 => format!(" -x {} -y {}", self.chance.within(3, 9), self.chance.within(0, 3)),
            _ => String::new(),
        };
        let (service, port) = (self.service(), self.port());
        self.steps.push(format!(
            "ipvsadm {verb} {service} -r 10.2.0.{server}{port}{forward} -w {weight}{thresholds}"
        ));
    }

    fn port(&self) -> &'static str {
        if self.plan.destinations { "" } else { ":80" }
    }

    fn delete(&mut self) {
        if self.servers.len() < 2 {
            return;
        }
        let Some(server) = self.chance.one_of(&self.servers).copied() else { return };
        self.servers.retain(|other| *other != server);
        let (service, port) = (self.service(), self.port());
        self.steps.push(format!("ipvsadm -d {service} -r 10.2.0.{server}{port}"));
    }

    /// Some of the last connections end. Of an established one little is left after a FIN if
    /// the scenario waits; others stay for two minutes.
    fn close(&mut self) {
        if self.clients == 0 {
            return;
        }
        let last = self.chance.within(1, self.clients);
        let first = last.saturating_sub(self.chance.within(0, 5)).max(1);
        if self.waits {
            self.steps.push(format!("ack {first}..{last}"));
        }
        self.steps.push(format!("fin {first}..{last}"));
        if self.waits && self.chance.within(1, 4) == 1 {
            self.steps.push("wait 4".to_owned());
        }
    }

    fn client(&mut self, verb: &str) {
        if self.clients > 0 {
            let client = self.chance.within(1, self.clients);
            self.steps.push(format!("{verb} {client}"));
        }
    }
}
