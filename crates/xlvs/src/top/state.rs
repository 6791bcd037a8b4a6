//! What is shown, and what keys do.

use std::{cmp::Ordering, net::SocketAddr, time::Duration};

use control::report::{Report, Server, Service};
use ipvsadm::Connection;

use super::rates::Rates;

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Letter(char),
    Up,
    Down,
    PageUp,
    PageDown,
    Enter,
    Escape,
    Backspace,
}

/// What a key wants done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Quit,
    /// A server is to be in a state.
    Order {
        server: String,
        to: &'static str,
    },
    /// The connections of a service are wanted.
    Connections(String),
}

/// By what services stand in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// As in the report.
    Listing,
    Name,
    Connections,
    NewConnections,
    Packets,
    Bits,
}

impl Sort {
    const ALL: [Self; 6] = [
        Self::Listing,
        Self::Name,
        Self::Connections,
        Self::NewConnections,
        Self::Packets,
        Self::Bits,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Name => "name",
            Self::Connections => "conns",
            Self::NewConnections => "cps",
            Self::Packets => "pps",
            Self::Bits => "bps",
        }
    }
}

/// What fills the screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Screen {
    /// All services.
    Services,
    /// One, by its key.
    Servers(String),
    /// The connections of one.
    Connections(String),
}

/// A question that waits for `y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) server: String,
    pub(crate) to: &'static str,
}

/// Everything.
pub(crate) struct State {
    pub(crate) report: Option<Report>,
    /// When it came, since the begin.
    pub(crate) at: Duration,
    pub(crate) rates: Rates,
    /// Why there is no newer one.
    pub(crate) error: Option<String>,
    pub(crate) screen: Screen,
    pub(crate) selected: usize,
    pub(crate) sort: Sort,
    pub(crate) reversed: bool,
    pub(crate) filter: String,
    /// Letters go to the filter.
    pub(crate) typing: bool,
    pub(crate) paused: bool,
    pub(crate) question: Option<Question>,
    /// What became of the last order.
    pub(crate) message: Option<String>,
    pub(crate) rows: Option<(Vec<Connection>, bool)>,
    pub(crate) colours: bool,
    /// Where the service list was.
    below: usize,
}

/// Lines of a page key.
const PAGE: usize = 10;

impl State {
    pub(crate) fn new(filter: String, colours: bool) -> Self {
        Self {
            report: None,
            at: Duration::ZERO,
            rates: Rates::default(),
            error: None,
            screen: Screen::Services,
            selected: 0,
            sort: Sort::Listing,
            reversed: false,
            filter,
            typing: false,
            paused: false,
            question: None,
            message: None,
            rows: None,
            colours,
            below: 0,
        }
    }

    /// A report came, at this time since the begin. Paused, it is not shown.
    pub(crate) fn report(&mut self, report: Report, at: Duration) {
        self.error = None;
        if self.paused {
            return;
        }
        // After a restart counters begin anew: there are no rates yet.
        let before = self.report.take().filter(|before| {
            before.uptime_s <= report.uptime_s && before.started_s == report.started_s
        });
        self.rates = match before {
            Some(before) => Rates::between(&before, &report, at.saturating_sub(self.at)),
            None => Rates::default(),
        };
        self.report = Some(report);
        self.at = at;
        self.selected = self.selected.min(self.rows().saturating_sub(1));
    }

    /// There was no answer.
    pub(crate) fn silent(&mut self, error: String) {
        self.error = Some(error);
    }

    pub(crate) fn said(&mut self, said: String) {
        self.message = Some(said);
    }

    pub(crate) fn connections(&mut self, rows: Vec<Connection>, more: bool) {
        self.rows = Some((rows, more));
        self.selected = 0;
    }

    /// The services that the filter lets through, in order.
    pub(crate) fn services(&self) -> Vec<&Service> {
        let all = self.report.iter().flat_map(|report| &report.services);
        let mut all: Vec<&Service> = all.filter(|service| self.fits(service)).collect();
        if self.sort != Sort::Listing {
            all.sort_by(|one, other| self.order(one, other));
        }
        if self.reversed {
            all.reverse();
        }
        all
    }

    fn fits(&self, service: &Service) -> bool {
        let wanted = self.filter.to_lowercase();
        let has = |text: &str| text.to_lowercase().contains(&wanted);
        wanted.is_empty()
            || has(&service.name)
            || has(&service.key)
            || service.servers.iter().any(|server| has(&server.endpoint().to_string()))
    }

    /// Large numbers first, names from a to z.
    fn order(&self, one: &Service, other: &Service) -> Ordering {
        let number = |service: &Service| {
            let rate = self.rates.service(&service.key);
            match self.sort {
                Sort::Connections => (service.counts.active + service.counts.inactive) as f64,
                Sort::NewConnections => rate.connections,
                Sort::Packets => rate.in_packets + rate.out_packets,
                Sort::Bits => rate.in_bits + rate.out_bits,
                Sort::Listing | Sort::Name => 0.0,
            }
        };
        number(other).total_cmp(&number(one)).then_with(|| one.name.cmp(&other.name))
    }

    /// The service that the screen is about.
    pub(crate) fn service(&self) -> Option<&Service> {
        let (Screen::Servers(key) | Screen::Connections(key)) = &self.screen else { return None };
        self.report.as_ref()?.services.iter().find(|service| service.key == *key)
    }

    /// The server that is selected.
    pub(crate) fn server(&self) -> Option<&Server> {
        self.service()?.servers.get(self.selected)
    }

    /// Lines that can be selected.
    pub(crate) fn rows(&self) -> usize {
        match &self.screen {
            Screen::Services => self.services().len(),
            Screen::Servers(_) => self.service().map_or(0, |service| service.servers.len()),
            Screen::Connections(_) => self.rows.as_ref().map_or(0, |(rows, _)| rows.len()),
        }
    }

    /// What a key does.
    pub(crate) fn press(&mut self, key: Key) -> Option<Act> {
        if let Some(question) = self.question.take() {
            let yes = matches!(key, Key::Letter('y' | 'Y'));
            let Question { server, to } = question;
            self.message = (!yes).then(|| "nothing done".to_owned());
            return yes.then_some(Act::Order { server, to });
        }
        if self.typing {
            self.typed(key);
            return None;
        }
        self.message = None;
        let last = self.rows().saturating_sub(1);
        match key {
            Key::Letter('q') => return Some(Act::Quit),
            Key::Up | Key::Letter('k') => self.selected = self.selected.saturating_sub(1),
            Key::Down | Key::Letter('j') => self.selected = (self.selected + 1).min(last),
            Key::PageUp => self.selected = self.selected.saturating_sub(PAGE),
            Key::PageDown => self.selected = (self.selected + PAGE).min(last),
            Key::Letter('/') => self.typing = true,
            Key::Letter(' ') => self.paused = !self.paused,
            Key::Letter('s') => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                self.sort = Sort::ALL[(at + 1) % Sort::ALL.len()];
            }
            Key::Letter('r') => self.reversed = !self.reversed,
            Key::Enter => return self.enter(),
            Key::Letter('c') => return self.list_connections(),
            Key::Letter('d') => self.ask("drain"),
            Key::Letter('u') => self.ask("ready"),
            Key::Escape | Key::Backspace => self.back(),
            Key::Letter(_) => {}
        }
        None
    }

    fn typed(&mut self, key: Key) {
        match key {
            Key::Letter(letter) => self.filter.push(letter),
            Key::Backspace => drop(self.filter.pop()),
            Key::Enter => self.typing = false,
            Key::Escape => {
                self.typing = false;
                self.filter.clear();
            }
            _ => {}
        }
        self.selected = 0;
    }

    fn enter(&mut self) -> Option<Act> {
        if self.screen != Screen::Services {
            return None;
        }
        let key = self.services().get(self.selected)?.key.clone();
        self.below = self.selected;
        self.go(Screen::Servers(key));
        None
    }

    fn list_connections(&mut self) -> Option<Act> {
        let service = match &self.screen {
            Screen::Services => (*self.services().get(self.selected)?).clone(),
            _ => self.service()?.clone(),
        };
        if self.screen == Screen::Services {
            self.below = self.selected;
        }
        self.rows = None;
        self.go(Screen::Connections(service.key.clone()));
        Some(Act::Connections(word(&service)))
    }

    fn back(&mut self) {
        match self.screen.clone() {
            Screen::Services => self.filter.clear(),
            Screen::Servers(_) => {
                self.go(Screen::Services);
                self.selected = self.below;
            }
            Screen::Connections(key) => self.go(Screen::Servers(key)),
        }
    }

    fn go(&mut self, screen: Screen) {
        self.screen = screen;
        self.selected = 0;
    }

    fn ask(&mut self, to: &'static str) {
        let Screen::Servers(_) = &self.screen else {
            self.message = Some("choose a service by Enter, then a server".to_owned());
            return;
        };
        let named = self.service().zip(self.server()).map(|(s, server)| name(s, server.endpoint()));
        self.question = named.map(|server| Question { server, to });
    }
}

/// The service as the API's orders and filters name it.
fn word(service: &Service) -> String {
    match service.mark {
        Some(mark) if service.key.ends_with("IPv6") => format!("mark:{mark}/ipv6"),
        Some(mark) => format!("mark:{mark}"),
        None => service.key.clone(),
    }
}

/// `SERVICE/ADDRESS:PORT`.
fn name(service: &Service, server: SocketAddr) -> String {
    format!("{}/{server}", word(service))
}
