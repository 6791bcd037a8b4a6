//! Checks: what a name of `checks:` means for one server of one service.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use dataplane::forward::{Forward, ServiceKey};
use hashbrown::HashMap;
use health::check::{Check, Method, Path, Probe, Question, Target, Timing, Via};

use crate::{
    fault::Fault,
    file::{self, Named, Put, Spot, Terms},
};

/// The checks of the file, each asked for once however many servers it is asked of.
pub(super) struct Checks<'a> {
    by_name: HashMap<&'a str, (Option<Arc<Probe>>, &'a Terms)>,
    /// Where probes through a service come from.
    sources: &'a [Put<IpAddr>],
}

/// One server of one service, as its checks see it.
pub(super) struct Asked {
    pub(super) address: IpAddr,
    /// 0 if the client's is kept.
    pub(super) port: u16,
    pub(super) service: ServiceKey,
    pub(super) forward: Forward,
}

/// Unless `timeout` says another one.
const TIMEOUT: Duration = Duration::from_secs(1);

impl<'a> Checks<'a> {
    pub(super) fn of(file: &'a file::File, faults: &mut Vec<Fault>) -> Self {
        let mut by_name = HashMap::new();
        for (name, check) in &file.checks {
            times(&check.terms, &check.terms, &name.value, faults);
            let probe = check.probe.clone().map(Arc::new);
            by_name.insert(name.value.as_str(), (probe, &check.terms));
        }
        Self { by_name, sources: &file.probe_sources }
    }

    /// What the names stand for. Those that nobody defined are [`Checks::names`]' faults.
    pub(super) fn resolve(
        &self,
        named: &[Named],
        asked: &Asked,
        faults: &mut Vec<Fault>,
    ) -> Vec<Check> {
        named.iter().filter_map(|named| self.one(named, asked, faults)).collect()
    }

    /// Reports names that are not in `checks:`, and names that come twice.
    pub(super) fn names(&self, named: &[Named], faults: &mut Vec<Fault>) {
        let mut seen = HashMap::new();
        for Named { name, terms } in named {
            super::twice(
                &mut seen,
                &name.value,
                &format!("check {}", name.value),
                &name.spot,
                faults,
            );
            match self.by_name.get(name.value.as_str()) {
                Some((_, base)) => times(terms, base, &name.value, faults),
                None => {
                    let known = self.by_name.keys().copied();
                    faults.push(super::service::unknown(name, "check", "checks", known));
                }
            }
        }
    }

    fn one(&self, named: &Named, asked: &Asked, faults: &mut Vec<Fault>) -> Option<Check> {
        let Named { name, terms } = named;
        let (probe, base) = self.by_name.get(name.value.as_str())?;
        let probe = Arc::clone(probe.as_ref()?);
        let terms = terms.over(base);
        let before = faults.len();
        let via = self.way(&terms, &probe, asked, &name.spot, faults);
        let target = target(&terms, &probe, asked, via, &name.spot, faults);
        if faults.len() > before {
            return None;
        }
        let timing = timing(&terms);
        let timeout = terms.timeout.map_or(TIMEOUT, |put| put.value);
        let question = Question { probe, target, timeout };
        Some(Check { name: name.value.clone(), question, timing })
    }

    fn way(
        &self,
        terms: &Terms,
        probe: &Probe,
        asked: &Asked,
        spot: &Spot,
        faults: &mut Vec<Fault>,
    ) -> bool {
        let Some(Put { spot: put, .. }) = terms.via_service.as_ref().filter(|put| put.value) else {
            return false;
        };
        let family = if asked.service.is_ipv6() { "IPv6" } else { "IPv4" };
        let mut sources = self.sources.iter().map(|source| source.value);
        if !probe.may_go_via_service() {
            let sentence = format!("via: service with {}, which has no port", probe.name());
            faults.push(put.fault(sentence, "write via: direct"));
        } else if !sources.any(|source| source.is_ipv6() == asked.service.is_ipv6()) {
            faults.push(spot.fault(
                format!("via: service without an {family} address to ask from"),
                format!("add probe_sources: with an {family} address of this box that is no VIP"),
            ));
        }
        true
    }
}

fn target(
    terms: &Terms,
    probe: &Probe,
    asked: &Asked,
    by_service: bool,
    spot: &Spot,
    faults: &mut Vec<Fault>,
) -> Target {
    let endpoint = asked.service.endpoint();
    let given = terms.address.as_ref().map(|put| put.value);
    let address = match (given, endpoint) {
        (Some(address), _) => address,
        (None, Some(endpoint)) if by_service => endpoint.address,
        (None, None) if by_service => {
            let sentence = "via: service in a service of a mark, which has no address of its own";
            faults.push(spot.fault(sentence, "add address: and one of its VIPs to the check"));
            asked.address
        }
        (None, _) => asked.address,
    };
    let mut port = terms.port.as_ref().map_or(0, |put| put.value);
    if let (true, Some(put), Some(endpoint)) = (by_service, &terms.port, endpoint)
        && endpoint.port != 0
        && put.value != endpoint.port
    {
        faults.push(put.spot.fault(
            format!("port {} by way of the service, which takes port {}", put.value, endpoint.port),
            "leave the port out, or write via: direct",
        ));
    }
    if port == 0 {
        port = if by_service { asked.service.port() } else { asked.port };
    }
    if port == 0 && probe.has_port() {
        faults.push(spot.fault(
            format!("no port to ask: {} takes several", asked.service),
            "write {name: ..., port: 80}, or port: in the check",
        ));
    }
    let own = if asked.port == 0 { port } else { asked.port };
    let path = Path {
        // Which server it is, only the compiled services know.
        server: 0,
        method: match asked.forward {
            Forward::Nat => Method::Nat,
            Forward::FullNat => Method::FullNat,
            Forward::Dr => Method::Dr,
            Forward::Tun => Method::Tun,
        },
        own: SocketAddr::new(asked.address, own),
    };
    Target {
        address,
        port: if probe.has_port() { port } else { 0 },
        source: terms.source.as_ref().map(|put| put.value),
        interface: terms.interface.as_ref().map(|put| put.value.clone()),
        via: if by_service { Via::Service(path) } else { Via::Direct },
    }
}

fn timing(terms: &Terms) -> Timing {
    let default = Timing::default();
    let interval = terms.interval.as_ref().map_or(default.interval, |put| put.value);
    let or_interval = |put: &Option<Put<Duration>>| put.as_ref().map_or(interval, |put| put.value);
    Timing {
        interval,
        retry: or_interval(&terms.retry),
        rise: terms.rise.unwrap_or(default.rise),
        fall: terms.fall.unwrap_or(default.fall),
        spread: or_interval(&terms.spread),
        initial: terms.initial.unwrap_or(default.initial),
    }
}

/// One probe must be over before the next begins.
fn times(terms: &Terms, base: &Terms, name: &str, faults: &mut Vec<Fault>) {
    let whole = terms.over(base);
    let default = Timing::default().interval;
    let interval = whole.interval.as_ref().map_or(default, |put| put.value);
    let retry = whole.retry.as_ref().map_or(interval, |put| put.value);
    let timeout = whole.timeout.as_ref().map_or(TIMEOUT, |put| put.value);
    let places = [&terms.timeout, &terms.interval, &terms.retry];
    let place = places.into_iter().flatten().next();
    let Some(place) = place.filter(|_| timeout > interval.min(retry)) else { return };
    faults.push(place.spot.fault(
        format!("check {name}: its timeout is longer than the time until the next probe"),
        "write timeout: of at most interval: and retry:",
    ));
}
