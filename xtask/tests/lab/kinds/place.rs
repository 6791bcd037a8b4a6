//! Where a server runs: a real server's host, a directory, a port; and what is done to it there.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use xtask::failure::{Outcome, fail};
use xtask::lab::{Lab, Namespace, Process};
use xtask::shell;

use super::server::Server;
use super::table::Kind;

const HOLD: &str = include_str!("hold.py");
/// Databases take their time.
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Place<'kind> {
    kind: &'kind Kind,
    host: Namespace,
    directory: PathBuf,
    server: Option<Process>,
    beside: Option<Process>,
}

impl<'kind> Place<'kind> {
    pub(super) fn new(lab: &Lab, kind: &'kind Kind) -> Outcome<Self> {
        let directory = lab.file("kinds").join(kind.name);
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("hold.py"), HOLD)?;
        Ok(Self { kind, host: lab.host("server1"), directory, server: None, beside: None })
    }

    pub(super) fn directory(&self) -> &PathBuf {
        &self.directory
    }

    /// A text with the words that stand for this place.
    pub(super) fn filled(&self, text: &str) -> String {
        let port = self.kind.port.to_string();
        text.replace("@dir@", &self.directory.display().to_string()).replace("@port@", &port)
    }

    /// Makes what the kind's server needs, and starts it.
    pub(super) fn open(&mut self) -> Outcome {
        let server = &self.kind.server;
        if !server.prepare.is_empty() {
            self.shell(server.prepare)?;
        }
        self.start(server)
    }

    /// Starts a server, and waits until it listens.
    pub(super) fn start(&mut self, server: &Server) -> Outcome {
        for (name, text) in server.files {
            fs::write(self.directory.join(name), self.filled(text))?;
        }
        if !std::ptr::eq(server, &self.kind.server) && !server.prepare.is_empty() {
            self.shell(server.prepare)?;
        }
        let process = self.run(server.run, "server")?;
        self.server = Some(process);
        self.wait_until(true)?;
        Ok(())
    }

    fn run(&self, line: &str, log: &str) -> Outcome<Process> {
        let log = self.directory.join(log).with_extension("log");
        let mut sh = self.host.command("sh");
        self.host.start(sh.arg("-ec").arg(self.filled(line)), &log)
    }

    pub(super) fn shell(&self, line: &str) -> Outcome {
        shell::output(self.host.command("sh").arg("-ec").arg(self.filled(line))).map(drop)
    }

    /// Ends what is left of the own server, and starts it anew.
    pub(super) fn restart(&mut self) -> Outcome {
        if let Some(mut server) = self.server.take() {
            server.wait(PATIENCE)?;
        }
        self.start(&self.kind.server)
    }

    pub(super) fn kill(&mut self) -> Outcome {
        self.signal("KILL")?;
        match self.server.take() {
            Some(mut server) => server.wait(PATIENCE).map(drop),
            None => Ok(()),
        }
    }

    pub(super) fn signal(&self, signal: &str) -> Outcome {
        match &self.server {
            Some(server) => server.signal(signal),
            None => fail(format!("{}: no server", self.kind.name)),
        }
    }

    /// Holds connections to the server.
    pub(super) fn hold(&mut self, words: &str) -> Outcome {
        let line = format!("exec /usr/bin/python3 @dir@/hold.py @port@ {words}");
        let mut holder = self.run(&line, "hold")?;
        let deadline = Instant::now() + PATIENCE;
        while !holder.words().contains("held") {
            if Instant::now() > deadline || holder.ended()?.is_some() {
                return fail(format!("nothing is held: {}", holder.words()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.beside = Some(holder);
        Ok(())
    }

    pub(super) fn let_go(&mut self) -> Outcome {
        self.beside.take().map_or(Ok(()), |holder| holder.stop().map(drop))
    }

    /// Starts something that ends by itself.
    pub(super) fn beside(&mut self, line: &str) -> Outcome {
        self.beside = Some(self.run(line, "beside")?);
        Ok(())
    }

    pub(super) fn wait_for_that_beside(&mut self) -> Outcome {
        self.beside.take().map_or(Ok(()), |mut beside| beside.wait(PATIENCE).map(drop))
    }

    /// A rule in a table that has the kind's name.
    pub(super) fn rule(&self, hook: &str, rule: &str) -> Outcome {
        let (name, rule) = (self.kind.name, self.filled(rule));
        let text = format!(
            "table inet of-{name} {{\nchain c {{\ntype filter hook {hook} priority 0\n{rule}\n}}\n}}\n"
        );
        shell::feed(self.host.command("nft").args(["-f", "-"]), &text).map(drop)
    }

    pub(super) fn no_rule(&self) -> Outcome {
        self.host.run(&format!("nft delete table inet of-{}", self.kind.name)).map(drop)
    }

    /// Gives when it was seen.
    pub(super) fn wait_until_nothing_listens(&self) -> Outcome<Instant> {
        self.wait_until(false)
    }

    fn wait_until(&self, listens: bool) -> Outcome<Instant> {
        let Kind { name, port, .. } = *self.kind;
        let deadline = Instant::now() + PATIENCE;
        let words = format!("ss -Hln --{} sport = :{port}", self.kind.protocol());
        while port != 0 && self.host.run(&words)?.is_empty() == listens {
            if Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join("server.log"))?;
                return fail(format!("{name}: listens is not {listens}: {log}"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Instant::now())
    }
}
