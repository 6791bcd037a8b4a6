//! `real_server`.

use std::net::IpAddr;

use super::{
    checker::{self, Checker},
    command::Command,
    forwarding::Method,
    timing::Timing,
    tree::Statement,
    unknown,
    value::{self, number, truth, word},
    virtual_server::port_or_all,
};
use crate::{
    note::{Notes, Place},
    server_address::unusable,
};

/// A real server as it is written.
pub(super) struct Real {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
    pub(super) place: Place,
    pub(super) weight: Option<u64>,
    pub(super) method: Option<Method>,
    pub(super) upper: u64,
    pub(super) lower: u64,
    pub(super) inhibit: Option<bool>,
    pub(super) notify_up: Option<(Command, Place)>,
    pub(super) notify_down: Option<(Command, Place)>,
    pub(super) timing: Timing,
    pub(super) smtp_alert: Option<bool>,
    pub(super) virtualhost: Option<String>,
    pub(super) name: Option<String>,
    pub(super) checkers: Vec<Checker>,
    pub(super) notes: Notes,
}

/// `outer` gets what is to be said if there is no server to say it of.
pub(super) fn read(statement: &Statement, outer: &mut Notes) -> Option<Real> {
    let address = statement.word(1).and_then(|text| text.parse::<IpAddr>().ok());
    let port = port_or_all(statement.word(2));
    let (Some(address), Some(port)) = (address, port) else {
        value::not_read(statement, "a real server with an address", outer);
        return None;
    };
    if let Some(why) = unusable(address) {
        let text = format!(
            "real_server {address}: {why}; xlvs reaches servers over the network only: {}",
            statement.text()
        );
        outer.lost(&statement.place, text);
        return None;
    }
    let mut server = Real {
        address,
        port,
        place: statement.place.clone(),
        weight: None,
        method: None,
        upper: 0,
        lower: 0,
        inhibit: None,
        notify_up: None,
        notify_down: None,
        timing: Timing::default(),
        smtp_alert: None,
        virtualhost: None,
        name: None,
        checkers: Vec::new(),
        notes: Notes::default(),
    };
    let mut notes = Notes::default();
    if let Some(more) = statement.words.get(3..).filter(|more| !more.is_empty()) {
        let text = format!("real_server: more words than it takes: {}", more.join(" "));
        notes.lost(&statement.place, text);
    }
    statement.statements().iter().for_each(|inner| server.one(inner, &mut notes));
    server.notes = notes;
    Some(server)
}

impl Real {
    fn one(&mut self, statement: &Statement, notes: &mut Notes) {
        let place = || statement.place.clone();
        if self.timing.read(statement, notes) {
            return;
        }
        if let Some(checkers) = checker::read(statement, notes) {
            self.checkers.extend(checkers);
            return;
        }
        match statement.keyword() {
            "weight" => self.weight = number(statement, notes),
            "lb_kind" | "lvs_method" => self.method = Method::read(statement, notes),
            "uthreshold" => self.upper = number(statement, notes).unwrap_or(0),
            "lthreshold" => self.lower = number(statement, notes).unwrap_or(0),
            "inhibit_on_failure" => self.inhibit = truth(statement, notes),
            "notify_up" => {
                self.notify_up = Command::with_user(statement, notes).map(|c| (c, place()));
            }
            "notify_down" => {
                self.notify_down = Command::with_user(statement, notes).map(|c| (c, place()));
            }
            "smtp_alert" => self.smtp_alert = truth(statement, notes),
            "virtualhost" => self.virtualhost = word(statement, notes).map(str::to_owned),
            "snmp_name" => self.name = word(statement, notes).map(str::to_owned),
            _ => unknown(statement, "real_server", notes),
        }
    }
}
