//! Asks one question once, by a total deadline: whatever a server does, or does not, the answer is
//! there in time, and nothing is left behind.
//!
//! Each kind of probe has a module with one function; [`net`] makes their sockets. What a server
//! sends is read by functions without I/O, all of which [`parse`] lists.

mod dns;
mod exec;
mod file;
mod http;
mod limited;
mod lines;
mod mysql;
mod net;
mod path;
mod ping;
mod postgres;
mod redis;
mod smtp;
mod tcp;
mod tls;
mod udp;

pub use net::{Net, Pin, ServicePath};

use std::time::{Duration, Instant};

use crate::{
    check::{Probe, Question, Via},
    outcome::{Bad, Good, Kind, Outcome},
};

/// Why a text is no regular expression.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn check_regex(text: &str) -> Result<(), String> {
    http::compiled(text).map(drop)
}

/// Why a file is none of certificates.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn check_ca(path: &std::path::Path) -> Result<(), String> {
    tls::read(path).map(drop)
}

/// Asks.
pub async fn ask(net: &Net, question: &Question) -> Outcome {
    let started = Instant::now();
    let verdict = match &question.target.via {
        Via::Direct => in_time(net, question, question.timeout).await,
        Via::Service(path) => path::ask(net, question, path).await,
    };
    Outcome { verdict, took: started.elapsed() }
}

/// Asks, and waits no longer than this.
async fn in_time(net: &Net, question: &Question, most: Duration) -> Result<Good, Bad> {
    let net = net.anew();
    match tokio::time::timeout(most, dispatch(&net, question)).await {
        Ok(verdict) => verdict,
        Err(_) => {
            let patience = question.timeout.as_millis();
            let sentence = match &*question.probe {
                Probe::Exec(_) => format!("still running after {patience} ms"),
                _ => format!("{} within {patience} ms", net.awaited()),
            };
            Err(Bad::new(Kind::Timeout, sentence))
        }
    }
}

async fn dispatch(net: &Net, question: &Question) -> Result<Good, Bad> {
    let target = &question.target;
    match &*question.probe {
        Probe::Tcp(probe) => tcp::ask(net, target, probe).await,
        Probe::Http(probe) => http::ask(net, target, probe).await,
        Probe::Tls(probe) => tls::ask(net, target, probe).await,
        Probe::Dns(probe) => dns::ask(net, target, probe).await,
        Probe::Udp(probe) => udp::ask(net, target, probe, question.timeout).await,
        Probe::Ping => ping::ask(net, target).await,
        Probe::Smtp { helo } => smtp::ask(net, target, helo).await,
        Probe::Redis { password } => redis::ask(net, target, password.as_deref()).await,
        Probe::Mysql => mysql::ask(net, target).await,
        Probe::Postgres { user, database } => {
            postgres::ask(net, target, user, database.as_deref()).await
        }
        Probe::Exec(probe) => exec::ask(target, probe, question.timeout).await,
        Probe::File(probe) => file::ask(probe).await,
    }
}

/// What reads the answers of servers, without I/O: for tests and fuzzing.
#[doc(hidden)]
pub mod parse {
    pub use super::{
        dns::{Answer as DnsAnswer, parse as dns},
        exec::judge as exec,
        file::parse as file,
        http::agrees as body,
        lines::take as line,
        mysql::{judge as mysql_login, parse as mysql},
        ping::answers as ping,
        postgres::parse as postgres,
        redis::parse as redis,
        smtp::parse as smtp,
        tcp::find as tcp,
        udp::judge as udp,
    };
}

/// The beginning of what a server said, in one line for a listing.
fn shown(octets: &[u8]) -> String {
    const MOST: usize = 100;
    let text = String::from_utf8_lossy(&octets[..octets.len().min(4 * MOST)]);
    let printable = |c: char| if c.is_control() { '.' } else { c };
    text.trim_end().chars().take(MOST).map(printable).collect()
}
