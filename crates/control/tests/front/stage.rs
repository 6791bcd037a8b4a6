//! A registry with a director and no workers: what the daemon's control thread does, by hand.

use std::sync::Arc;

use control::{
    front::{self, Answer, Ask, Desk, Terminal, View},
    load::read,
    registry::Registry,
};
use dataplane::{
    director::{Director, Limits},
    forward::ServiceKey,
    snapshot::{Server, ServerId, Services},
    stats::Stats,
};
use ipvsadm::{Command, Denial, Listing, NoNames, Program, parse};

/// A director that nobody sends packets to.
pub(crate) struct Stage {
    pub(crate) registry: Registry,
    pub(crate) director: Director,
    pub(crate) services: Arc<Services>,
    pub(crate) stats: Vec<Arc<Stats>>,
    /// The second of the datapath's clock.
    pub(crate) now: u32,
}

/// The command of a line of words.
pub(crate) fn command(line: &str) -> Command {
    let argv: Vec<String> =
        std::iter::once("ipvsadm").chain(line.split_whitespace()).map(str::to_owned).collect();
    parse(Program::Ipvsadm, &argv, &NoNames).unwrap_or_else(|refusal| panic!("{line}: {refusal}"))
}

impl Stage {
    /// With a file's text: `version` and `interfaces` stand already.
    pub(crate) fn new(text: &str) -> Self {
        Self::holding(text, 1000)
    }

    /// The same, with a place for so many IPv4 connections.
    pub(crate) fn holding(text: &str, connections: usize) -> Self {
        let text = format!("version: 1\ninterfaces: [eth0, eth1]\n{text}\n");
        let model =
            read("test.yaml".as_ref(), &text, None).unwrap_or_else(|faults| panic!("{faults}"));
        let (resolve, _) = crossbeam_channel::bounded(1);
        let limits = Limits {
            connections_v4: connections,
            connections_v6: 500,
            templates_v4: 100,
            templates_v6: 100,
            fragments: 16,
            services: model.limits.services as usize,
            servers: model.limits.servers as usize,
            ..Limits::default()
        };
        let director = Director::new(limits, resolve).expect("memory");
        let stats = vec![Arc::new(Stats::new(director.limits().servers))];
        let mut registry = Registry::new(model);
        let services = Arc::new(registry.compile(&Services::default()));
        director.prepare(&services);
        Self { registry, director, services, stats, now: 0 }
    }

    /// What the daemon does with a question.
    pub(crate) fn answer(&mut self, ask: &Ask) -> Answer {
        let services = Arc::clone(&self.services);
        let view = View {
            services: &services,
            director: &self.director,
            stats: &self.stats,
            now: self.now,
        };
        let (answer, changed) = front::answer(&mut self.registry, view, ask);
        if changed {
            self.publish();
        }
        answer
    }

    pub(crate) fn publish(&mut self) {
        let mut services = self.registry.compile(&self.services);
        self.registry.ramp(&self.services, &mut services, self.now);
        self.director.prepare(&services);
        self.services = Arc::new(services);
    }

    /// These command lines at once.
    pub(crate) fn change(&mut self, lines: &[&str]) -> Result<(), (usize, Denial)> {
        let commands = lines.iter().map(|line| command(line)).collect();
        match self.answer(&Ask::Change(commands)) {
            Answer::Done(_) => Ok(()),
            Answer::Denied { at, denial } => Err((at, denial)),
            other => panic!("{other:?}"),
        }
    }

    /// These command lines, one after the other, all of them done.
    pub(crate) fn done(&mut self, lines: &[&str]) {
        for line in lines {
            self.change(&[line]).unwrap_or_else(|(_, denial)| panic!("{line}: {denial}"));
        }
    }

    pub(crate) fn listing(&mut self) -> Listing {
        match self.answer(&Ask::List) {
            Answer::Listing(listing) => listing,
            other => panic!("{other:?}"),
        }
    }

    /// A command line with all that it prints: exit code, standard output, standard error.
    pub(crate) fn run(&mut self, line: &str, input: &str) -> (u8, String, String) {
        let words = std::iter::once("ipvsadm").chain(line.split_whitespace());
        let argv: Vec<String> = words.map(str::to_owned).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut terminal = Terminal {
            input: &mut input.as_bytes(),
            output: &mut out,
            error: &mut err,
            names: &NoNames,
        };
        let code = front::run(Program::Ipvsadm, &argv, self, &mut terminal).expect("memory");
        let text = |octets| String::from_utf8(octets).expect("text");
        (code, text(out), text(err))
    }

    /// The id of a server that is there, or was there.
    pub(crate) fn id(&self, service: &str, server: &str) -> Option<ServerId> {
        let key = |id: u32| -> Option<&ServiceKey> {
            self.services.services.get(id as usize)?.as_ref().map(|service| &service.key)
        };
        let is = |known: &Option<Server>| {
            known.as_ref().is_some_and(|known| {
                key(known.service).is_some_and(|key| key.to_string() == service)
                    && format!("{}:{}", known.address, known.port) == server
            })
        };
        self.services.servers.iter().position(is).map(|id| id as ServerId)
    }

    pub(crate) fn server(&self, id: ServerId) -> &Server {
        self.services.servers[id as usize].as_ref().expect("a server")
    }
}

impl Desk for Stage {
    fn reach(&mut self) -> Result<(), Denial> {
        Ok(())
    }

    fn ask(&mut self, ask: &Ask) -> Result<Answer, Denial> {
        Ok(self.answer(ask))
    }
}
