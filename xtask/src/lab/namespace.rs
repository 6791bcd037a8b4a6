//! One host of a lab: a network namespace.
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use super::process::Process;
use crate::failure::{Outcome, fail};
use crate::shell;

/// A network namespace by its full name.
#[derive(Clone, Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The host of that name in the run of that prefix.
    pub fn of(run: &str, host: &str) -> Self {
        Self { name: format!("{run}-{host}") }
    }

    /// As `ip netns` lists it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in here. `ip` replaces itself by it, so the pid is its own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a line of words without quotes, and gives what it printed.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn run(&self, line: &str) -> Outcome<String> {
        let mut words = line.split_whitespace();
        let Some(program) = words.next() else { return fail("an empty command line") };
        shell::output(self.command(program).args(words))
    }

    /// Runs several `ip` commands in one process.
    ///
    /// # Errors
    /// At the first that fails.
    pub fn batch(&self, lines: &[String]) -> Outcome {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name, "-batch", "-"]);
        shell::feed(&mut ip, &lines.join("\n")).map(drop)
    }

    /// Starts something that stays, its words going to a file.
    ///
    /// # Errors
    /// When the file cannot be made or the program cannot be started.
    pub fn start(&self, command: &mut Command, log: &Path) -> Outcome<Process> {
        let out = File::create(log)?;
        let errors = out.try_clone()?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn()?;
        Ok(Process::new(child, log))
    }

    /// The link-layer address of an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn mac(&self, interface: &str) -> Outcome<String> {
        let address = self.run(&format!("cat /sys/class/net/{interface}/address"))?;
        Ok(address.trim().to_owned())
    }
}
