//! The product, running in the director's namespace as an operator starts it.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Config, Lab, Namespace, Process};
use crate::failure::{Outcome, fail};
use crate::shell;

/// A running `xlvs run`.
#[derive(Debug)]
pub struct Director<'lab> {
    lab: &'lab Lab,
    host: Namespace,
    binary: PathBuf,
    socket: PathBuf,
    process: Process,
}

/// Where one worker's (or the box's) UMEM chunks are.
#[derive(Clone, Debug, PartialEq)]
pub struct Ledger {
    /// All that there are.
    pub total: u64,
    /// In the pool, at the kernel for receiving, at the kernel for sending, held.
    pub places: [u64; 4],
}

/// The dev build beside the running test, or what the environment's `XLVS` names.
///
/// # Errors
/// When it has not been built.
pub fn debug_binary() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("XLVS") {
        return Ok(named.into());
    }
    let own = std::env::current_exe()?;
    // target/debug/deps/lab-0123 for a test, target/debug/xtask for the tool.
    let candidates = own.ancestors().skip(1).take(2).map(|place| place.join("xlvs"));
    match candidates.into_iter().find(|path| path.is_file()) {
        Some(found) => Ok(found),
        None => fail("there is no xlvs beside this program: cargo build -p xlvs"),
    }
}

impl<'lab> Director<'lab> {
    /// Starts the dev build with a variation of the topology's own configuration, and
    /// waits until it is ready.
    ///
    /// # Errors
    /// As [`Self::start_with_file`].
    pub fn start(lab: &'lab Lab, config: Config) -> Outcome<Self> {
        Self::start_with_text(lab, &config.yaml(lab.topology()))
    }

    /// Starts the dev build with a configuration of that text.
    ///
    /// # Errors
    /// As [`Self::start_with_file`].
    pub fn start_with_text(lab: &'lab Lab, text: &str) -> Outcome<Self> {
        Self::start_wrapped(lab, &[], text)
    }

    /// The same, with other words in front of the binary: a command that runs a command.
    ///
    /// # Errors
    /// As [`Self::start_with_file`].
    pub fn start_wrapped(lab: &'lab Lab, wrapping: &[&str], text: &str) -> Outcome<Self> {
        let file = lab.file("xlvs.yaml");
        fs::write(&file, text)?;
        Self::start_as("xlvs", lab, lab.director(), wrapping, &debug_binary()?, &file)
    }

    /// A director on any other host, with a configuration of that text.
    ///
    /// # Errors
    /// As [`Self::start_with_file`].
    pub fn start_on(lab: &'lab Lab, host: &str, text: &str) -> Outcome<Self> {
        let name = format!("xlvs-{host}");
        let file = lab.file(&format!("{name}.yaml"));
        fs::write(&file, text)?;
        Self::start_as(&name, lab, lab.host(host), &[], &debug_binary()?, &file)
    }

    /// Starts a binary with a file and waits until `xlvs list` answers.
    ///
    /// # Errors
    /// When it ends, or is not ready within 20 s; with everything it logged.
    pub fn start_with_file(lab: &'lab Lab, binary: &Path, file: &Path) -> Outcome<Self> {
        Self::start_as("xlvs", lab, lab.director(), &[], binary, file)
    }

    /// Starts a second one beside it, with the same file and a socket of its own.
    ///
    /// # Errors
    /// As [`Self::start_with_file`]; the second one ought to refuse.
    pub fn start_another(&self) -> Outcome<Self> {
        let file = self.lab.file("xlvs.yaml");
        Self::start_as("another", self.lab, self.host.clone(), &[], &self.binary, &file)
    }

    /// `name` is that of the socket and the log.
    fn start_as(
        name: &str,
        lab: &'lab Lab,
        host: Namespace,
        wrapping: &[&str],
        binary: &Path,
        file: &Path,
    ) -> Outcome<Self> {
        let socket = lab.file(&format!("{name}.sock"));
        let program = binary.to_string_lossy();
        let words: Vec<&str> = wrapping.iter().copied().chain([program.as_ref()]).collect();
        let mut run = host.command(words[0]);
        // What an operator orders is this director's own, and not the machine's.
        let state = lab.file(&format!("{name}.state"));
        run.args(&words[1..]).arg("run").arg(file).arg("--socket").arg(&socket);
        run.arg("--state").arg(&state);
        let process = host.start(&mut run, &lab.file(&format!("{name}.log")))?;
        let mut director = Self { lab, host, binary: binary.to_owned(), socket, process };
        director.wait_until_ready()?;
        Ok(director)
    }

    fn wait_until_ready(&mut self) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(status) = self.process.ended()? {
                return fail(format!("xlvs ended ({status}):\n{}", self.process.words()));
            }
            match self.list(&[]) {
                Ok(_) => return Ok(()),
                Err(why) if Instant::now() > deadline => {
                    let words = self.process.words();
                    return fail(format!("xlvs is not ready after 20 s: {why}\n{words}"));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// The process, for signals.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// The binary with other words, and the socket behind them; also for when this one has ended.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.host.command(&self.binary.to_string_lossy());
        command.args(words).arg("--socket").arg(&self.socket);
        command
    }

    /// `xlvs list` with more words, as it prints it.
    ///
    /// # Errors
    /// When it cannot reach the daemon.
    pub fn list(&self, more: &[&str]) -> Outcome<String> {
        shell::output(&mut self.command(&[&["list"], more].concat()))
    }

    /// `xlvs list --json`.
    ///
    /// # Errors
    /// When it cannot reach the daemon, or the answer is no JSON.
    pub fn json(&self) -> Outcome<Value> {
        Ok(serde_json::from_str(&self.list(&["--json"])?)?)
    }

    /// How many packets each worker has received.
    ///
    /// # Errors
    /// As [`Self::json`], and when a worker has no such count.
    pub fn received_by_worker(&self) -> Outcome<Vec<u64>> {
        let json = self.json()?;
        let Some(workers) = json["workers"].as_array() else {
            return fail(format!("no workers in {json}"));
        };
        let counts = workers.iter().map(|worker| worker["rx_packets"].as_u64());
        match counts.collect() {
            Some(counts) => Ok(counts),
            None => fail(format!("a worker without rx_packets: {json}")),
        }
    }

    /// How many packets were dropped under that name.
    ///
    /// # Errors
    /// As [`Self::json`], and when there is no such name.
    pub fn drops(&self, reason: &str) -> Outcome<u64> {
        let json = self.json()?;
        match json["totals"]["drops"][reason].as_u64() {
            Some(count) => Ok(count),
            None => fail(format!("no drops called {reason:?} in {json}")),
        }
    }

    /// Every frame ledger there is, the box's or one for each worker, once nothing moves
    /// any more: a frame that is between two places at the time of asking is no loss.
    ///
    /// # Errors
    /// As [`Self::json`], when there is no ledger, or when one does not come out even
    /// within 3 s.
    pub fn settled_ledgers(&self) -> Outcome<Vec<Ledger>> {
        let deadline = Instant::now() + Duration::from_secs(3);
        loop {
            let ledgers = Ledger::all_in(&self.json()?)?;
            match ledgers.iter().find(|ledger| !ledger.is_even()) {
                None if ledgers.is_empty() => return fail("xlvs list --json has no ledger"),
                None => return Ok(ledgers),
                Some(odd) if Instant::now() > deadline => {
                    return fail(format!("frames are missing: {odd:?}"));
                }
                Some(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// SIGTERM, and the end within 10 s with code 0.
    ///
    /// # Errors
    /// When it ends otherwise.
    pub fn stop(self) -> Outcome {
        self.ended_well(Process::stop)
    }

    /// The end within 10 s with code 0, for one that was told before.
    ///
    /// # Errors
    /// When it ends otherwise, or does not.
    pub fn wait(self) -> Outcome {
        self.ended_well(|mut process| process.wait(Duration::from_secs(10)))
    }

    fn ended_well(self, end: impl FnOnce(Process) -> Outcome<ExitStatus>) -> Outcome {
        let log = self.socket.with_extension("log");
        let status = end(self.process)?;
        if status.success() {
            return Ok(());
        }
        fail(format!("xlvs ended with {status}:\n{}", fs::read_to_string(log)?))
    }

    /// SIGKILL, and the end.
    ///
    /// # Errors
    /// When it does not end within 5 s.
    pub fn kill(mut self) -> Outcome {
        self.process.signal("KILL")?;
        self.process.wait(Duration::from_secs(5)).map(drop)
    }
}

impl Ledger {
    /// Every one in what `xlvs list --json` says.
    ///
    /// # Errors
    /// When something called so is none.
    pub fn all_in(report: &Value) -> Outcome<Vec<Self>> {
        let mut all = Vec::new();
        collect_ledgers(report, &mut all)?;
        Ok(all)
    }

    /// Whether every chunk is in one of the places.
    pub fn is_even(&self) -> bool {
        self.total > 0 && self.places.iter().sum::<u64>() == self.total
    }
}

fn collect_ledgers(value: &Value, into: &mut Vec<Ledger>) -> Outcome {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if name == "ledger" {
                    into.push(ledger(field)?);
                } else {
                    collect_ledgers(field, into)?;
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                collect_ledgers(item, into)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn ledger(value: &Value) -> Outcome<Ledger> {
    let place = |name: &str| value[name].as_u64();
    let places = ["pool", "rx_lent", "tx_lent", "held"].map(place);
    match (place("total"), places) {
        (Some(total), [Some(pool), Some(rx), Some(tx), Some(held)]) => {
            Ok(Ledger { total, places: [pool, rx, tx, held] })
        }
        _ => fail(format!("not a ledger: {value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::Ledger;

    #[test]
    fn ledgers_are_found_at_any_depth_and_must_come_out_even() {
        let json = serde_json::json!({"workers": [
            {"worker": 0, "ledger": {"total": 10, "pool": 3, "rx_lent": 4, "tx_lent": 2, "held": 1}},
            {"worker": 1, "ledger": {"total": 10, "pool": 3, "rx_lent": 4, "tx_lent": 2, "held": 0}},
        ]});
        let found = Ledger::all_in(&json).unwrap();
        assert_eq!(found[0], Ledger { total: 10, places: [3, 4, 2, 1] });
        assert_eq!(found.iter().map(Ledger::is_even).collect::<Vec<_>>(), [true, false]);
    }
}
