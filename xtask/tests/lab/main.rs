//! The lab's tests: the product's binary in networks of namespaces, real programs on both
//! sides of it. They need root and the packages of `cargo xtask setup`.
//!
//! `ground` proves the networks and the tools without xlvs; what fails there says nothing
//! about the product.
#![forbid(unsafe_code)]

mod abuse;
mod access;
mod bird;
mod caches;
mod capture;
mod changes;
mod checks;
mod churn;
mod connection_log;
mod expiry;
mod explained;
mod failing;
mod faults;
mod front;
mod fuzzed;
mod ground;
mod hooks;
mod hops;
mod ipvsadm;
mod joining;
mod kernel;
mod kinds;
mod limits;
mod listing;
mod live;
mod load;
mod metrics;
mod modes;
mod persistence;
mod policies;
mod rates;
mod realserver;
mod refusals;
mod reload;
mod steady;
mod stopping;
mod supervised;
mod tcp;
mod through;
mod verbs;
mod vips;
mod vrrp;

use std::sync::{Mutex, MutexGuard, PoisonError};

use xtask::lab::{Lab, Topology};

/// A lab that has the machine to itself, also where the tests are threads of one process.
struct Stage {
    lab: Lab,
    _alone: MutexGuard<'static, ()>,
}

impl std::ops::Deref for Stage {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.lab
    }
}

/// Builds a mode's lab with that many queues on every interface.
fn stage(mode: &str, queues: u32) -> Stage {
    let alone = alone();
    let lab = Lab::build(Topology::named(mode).unwrap(), queues).unwrap();
    Stage { lab, _alone: alone }
}

/// The machine, for one test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    // A test that failed has poisoned it; that is no reason for the others to fail.
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The families' names, by their index in every pair of addresses.
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

/// A server's own address.
fn server(lab: &Lab, number: usize, family: usize) -> &'static str {
    lab.topology().servers[number - 1][family]
}

/// The clients' addresses.
const CLIENT: [&str; 2] = ["192.0.2.10", "2001:db8:1::10"];
const VISITOR: [&str; 2] = ["198.18.0.10", "2001:db8:20::10"];
