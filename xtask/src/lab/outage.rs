//! Real servers that fail, and come back.
use std::fs;

use super::{Lab, servers};
use crate::failure::Outcome;
use crate::shell;

/// How a real server's web server fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// Its process ends: the host refuses connections.
    Refusing,
    /// Its process stands still: the host takes connections, and nobody answers.
    Frozen,
    /// The host takes and sends no IP packet. It still answers ARP.
    Silent,
}

impl Outage {
    /// It begins.
    ///
    /// # Errors
    /// When there is nothing that could fail.
    pub fn begin(self, lab: &Lab, server: &str) -> Outcome {
        let host = lab.host(server);
        match self {
            Self::Refusing => host.run(&format!("kill {}", servers::web_pid(lab, server)?)),
            Self::Frozen => host.run(&format!("pkill -STOP -P {}", servers::web_pid(lab, server)?)),
            Self::Silent => shell::feed(host.command("nft").args(["-f", "-"]), SILENCE),
        }
        .map(drop)
    }

    /// It is over. A web server that ended is another process then.
    ///
    /// # Errors
    /// When it had not begun.
    pub fn end(self, lab: &Lab, server: &str) -> Outcome {
        let host = lab.host(server);
        match self {
            Self::Refusing => servers::start_web(lab, server),
            Self::Frozen => {
                host.run(&format!("pkill -CONT -P {}", servers::web_pid(lab, server)?)).map(drop)
            }
            Self::Silent => host.run("nft delete table ip outage").map(drop),
        }
    }
}

const SILENCE: &str = "table ip outage {
  chain in { type filter hook input priority 0; drop; }
  chain out { type filter hook output priority 0; drop; }
}";

impl Lab {
    /// A web server like those of the real servers, on any host.
    ///
    /// # Errors
    /// When it was there before, or does not begin to listen.
    pub fn add_web(&self, host: &str) -> Outcome {
        servers::prepare_web(self, host)?;
        servers::start_web(self, host)?;
        servers::wait_for_ports(&self.host(host), &[":80"])
    }

    /// Puts a file at `/health` of a host's web server, or takes it away: a server that says
    /// that it is unwell, and works.
    ///
    /// # Errors
    /// When it is as wanted already.
    pub fn set_well(&self, host: &str, well: bool) -> Outcome {
        let file = self.file(host).join("health");
        match well {
            true => fs::write(file, "well\n")?,
            false => fs::remove_file(file)?,
        }
        Ok(())
    }
}
