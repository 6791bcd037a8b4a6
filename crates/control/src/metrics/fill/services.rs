//! By service, by server, by check.

use super::seconds;
use crate::{
    metrics::{families as f, page::Page},
    report::{Check, Counts, Health, Report, Server, ServerState, Service, Standing},
};

/// What is picked of a row.
type Pick<T> = fn(&T) -> u64;

pub(super) fn of_services(page: &mut Page<'_>, report: &Report) {
    let services = &report.services;
    let mut info = page.family(&f::SERVICE);
    for service in services {
        info.add(&[&service.name, &service.key, &service.protocol, &service.scheduler], 1);
    }
    for (family, pick) in [
        (&f::SERVICE_CONNECTIONS, (|counts| counts.connections) as Pick<Counts>),
        (&f::SERVICE_ACTIVE, |counts| counts.active),
        (&f::SERVICE_INACTIVE, |counts| counts.inactive),
        (&f::SERVICE_INCOMING_PACKETS, |counts| counts.in_packets),
        (&f::SERVICE_OUTGOING_PACKETS, |counts| counts.out_packets),
        (&f::SERVICE_INCOMING_BYTES, |counts| counts.in_bytes),
        (&f::SERVICE_OUTGOING_BYTES, |counts| counts.out_bytes),
    ] {
        let mut samples = page.family(family);
        for service in services {
            samples.count(&[&service.name, &service.key], pick(&service.counts));
        }
    }
    let mut servers = page.family(&f::SERVICE_SERVERS);
    for service in services {
        for state in ServerState::ALL {
            let count = service.servers.iter().filter(|server| server.state == state).count();
            servers.add(&[&service.name, &service.key, state.name()], count);
        }
    }
    standings(page, services);
}

fn standings(page: &mut Page<'_>, services: &[Service]) {
    for (family, pick) in [
        (&f::SERVICE_QUORUM, (|standing| standing.quorum.into()) as Pick<Standing>),
        (&f::SERVICE_WAITING, |standing| standing.waiting.into()),
        (&f::SERVICE_WEIGHT, |standing| standing.weight),
        (&f::SERVICE_WEIGHT_NEEDED, |standing| standing.needed),
        (&f::SERVICE_SORRY, |standing| standing.sorry.into()),
    ] {
        let mut samples = page.family(family);
        for service in services {
            if let Some(standing) = &service.standing {
                samples.add(&[&service.name, &service.key], pick(standing));
            }
        }
    }
}

/// A server with the labels of its series.
struct Row<'a> {
    service: &'a Service,
    server: &'a Server,
    endpoint: String,
}

impl<'a> Row<'a> {
    fn all(report: &'a Report) -> Vec<Self> {
        let of = |service: &'a Service| {
            let row = move |server: &'a Server| Row {
                service,
                server,
                endpoint: server.endpoint().to_string(),
            };
            service.servers.iter().map(row)
        };
        report.services.iter().flat_map(of).collect()
    }

    fn checks(&self) -> impl Iterator<Item = &'a Check> {
        self.server.health.iter().flat_map(|health| &health.checks)
    }

    fn labels(&self) -> [&str; 3] {
        [&self.service.name, &self.service.key, &self.endpoint]
    }

    fn labels_and<'b>(&'b self, more: &'b str) -> [&'b str; 4] {
        let [service, listen, server] = self.labels();
        [service, listen, server, more]
    }
}

pub(super) fn of_servers(page: &mut Page<'_>, report: &Report) {
    let rows = Row::all(report);
    let mut info = page.family(&f::SERVER);
    rows.iter().for_each(|row| info.add(&row.labels_and(&row.server.forward), 1));
    for (family, pick) in [
        (&f::SERVER_CONNECTIONS, (|server| server.counts.connections) as Pick<Server>),
        (&f::SERVER_ACTIVE, |server| server.counts.active),
        (&f::SERVER_INACTIVE, |server| server.counts.inactive),
        (&f::SERVER_INCOMING_PACKETS, |server| server.counts.in_packets),
        (&f::SERVER_OUTGOING_PACKETS, |server| server.counts.out_packets),
        (&f::SERVER_INCOMING_BYTES, |server| server.counts.in_bytes),
        (&f::SERVER_OUTGOING_BYTES, |server| server.counts.out_bytes),
        (&f::SERVER_WEIGHT, |server| server.weight.into()),
    ] {
        let mut samples = page.family(family);
        rows.iter().for_each(|row| samples.count(&row.labels(), pick(row.server)));
    }
    let mut states = page.family(&f::SERVER_STATE);
    for row in &rows {
        for state in ServerState::ALL {
            states.truth(&row.labels_and(state.name()), row.server.state == state);
        }
    }
    let mut transitions = page.family(&f::SERVER_TRANSITIONS);
    for row in &rows {
        let Some(Health { ups, downs, .. }) = row.server.health else { continue };
        transitions.count(&row.labels_and("up"), ups);
        transitions.count(&row.labels_and("down"), downs);
    }
}

pub(super) fn of_checks(page: &mut Page<'_>, report: &Report) {
    let rows = Row::all(report);
    let each = || rows.iter().flat_map(|row| row.checks().map(move |check| (row, check)));
    let mut up = page.family(&f::CHECK_UP);
    each().for_each(|(row, check)| up.truth(&row.labels_and(&check.name), check.state == "up"));
    let mut durations = page.family(&f::CHECK_DURATION);
    for (row, check) in each() {
        if let Some(took) = check.took_us {
            durations.add(&row.labels_and(&check.name), seconds(took));
        }
    }
    let mut answers = page.family(&f::CHECK_ANSWERS);
    each().for_each(|(row, check)| answers.count(&row.labels_and(&check.name), check.answers));
    let mut failures = page.family(&f::CHECK_FAILURES);
    for (row, check) in each() {
        let [service, listen, server] = row.labels();
        for (reason, count) in &check.failed {
            failures.count(&[service, listen, server, &check.name, reason], *count);
        }
    }
}
