//! The threads that ask the daemon.

use std::{
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread,
    time::Duration,
};

use control::{
    api::{
        Way,
        connections::Connections,
        fetch, send,
        servers::{ServersDone, StateOrder},
    },
    front::{Filter, Page},
    report::Report,
};
use ipvsadm::Connection;
use serde::de::DeserializeOwned;

use crate::{another_version, connections::wanted_service};

/// What came.
pub(crate) enum Told {
    Report(Box<Report>),
    /// There was no answer, and why.
    Silent(String),
    /// The first connections of a service, and whether there are more.
    Connections(Vec<Connection>, bool),
    /// What became of an order.
    Done(String),
}

/// From report to report.
const EVERY: Duration = Duration::from_secs(1);

/// Asks for reports until it is dropped, and for what else is wanted.
pub(crate) struct Asker {
    socket: Way,
    sender: Sender<Told>,
    receiver: Receiver<Told>,
}

impl Asker {
    pub(crate) fn start(socket: Way) -> Self {
        let (sender, receiver) = mpsc::channel();
        let asker = Self { socket, sender, receiver };
        asker.aside(|socket, sender| {
            loop {
                let told = match ask(socket) {
                    Ok(report) => Told::Report(Box::new(report)),
                    Err(error) => Told::Silent(error),
                };
                if sender.send(told).is_err() {
                    return;
                }
                thread::sleep(EVERY);
            }
        });
        asker
    }

    /// What came, if anything did.
    pub(crate) fn told(&self) -> Result<Told, TryRecvError> {
        self.receiver.try_recv()
    }

    /// What comes next.
    pub(crate) fn wait(&self) -> Option<Told> {
        self.receiver.recv().ok()
    }

    /// `POST /v1/servers/state`.
    pub(crate) fn order(&self, server: String, to: &'static str) {
        self.aside(move |socket, sender| {
            let order = StateOrder {
                servers: vec![server.clone()],
                state: to.to_owned(),
                reason: "xlvs top".to_owned(),
                ..StateOrder::default()
            };
            let sent = send(socket, "/v1/servers/state", &order).map_err(|error| error.to_string());
            let said = match sent.and_then(|body| read::<ServersDone>(socket, &body)) {
                Ok(done) if done.warnings.is_empty() => format!("{server}: {to}"),
                Ok(done) => format!("{server}: {to}; {}", done.warnings.join("; ")),
                Err(error) => error,
            };
            let _ = sender.send(Told::Done(said));
        });
    }

    /// `POST /v1/connections`, pages until there is one that is not empty.
    pub(crate) fn connections(&self, service: String) {
        self.aside(move |socket, sender| {
            let (key, name) = wanted_service(Some(&service));
            let only = Filter { service: key, name, ..Filter::default() };
            let mut page = Page { only, ..Page::default() };
            let told = loop {
                let sent =
                    send(socket, "/v1/connections", &page).map_err(|error| error.to_string());
                match sent.and_then(|body| read::<Connections>(socket, &body)) {
                    Ok(Connections { connections, next: Some(next) }) if connections.is_empty() => {
                        page.from = next;
                    }
                    Ok(Connections { connections, next }) => {
                        break Told::Connections(connections, next.is_some());
                    }
                    Err(error) => break Told::Done(error),
                }
            };
            let _ = sender.send(told);
        });
    }

    /// Threads end with the program: what they wait for is a daemon's answer.
    fn aside(&self, work: impl FnOnce(&Way, &Sender<Told>) + Send + 'static) {
        let (socket, sender) = (self.socket.clone(), self.sender.clone());
        thread::spawn(move || work(&socket, &sender));
    }
}

fn ask(socket: &Way) -> Result<Report, String> {
    let body = fetch(socket, "/v1/report").map_err(|error| error.to_string())?;
    read(socket, &body)
}

fn read<T: DeserializeOwned>(socket: &Way, body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| another_version(socket, &error))
}
