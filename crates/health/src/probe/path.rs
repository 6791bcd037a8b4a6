//! A probe by way of the service, and what its failure means: when it is late or fails, the
//! server's own address is asked the same beside it, and the two answers together name a cause.

use std::{pin::pin, time::Instant};

use super::{Net, in_time};
use crate::{
    check::{Method, Path, Question, Target, Via},
    outcome::{Bad, Good, Kind},
};

/// Asks by way of the service; all of it within the question's time.
pub(super) async fn ask(net: &Net, question: &Question, path: &Path) -> Result<Good, Bad> {
    let begun = Instant::now();
    let rest = || question.timeout.saturating_sub(begun.elapsed());
    let target = Target {
        address: path.own.ip(),
        port: path.own.port(),
        source: None,
        via: Via::Direct,
        ..question.target.clone()
    };
    let own = Question { target, ..question.clone() };
    let mut through = pin!(in_time(net, question, question.timeout));
    let early = tokio::time::timeout(question.timeout / 2, &mut through).await;
    let (through, own) = match early {
        Ok(through) => {
            if through.as_ref().err().is_none_or(|bad| !tells_of_the_path(bad.kind)) {
                return through;
            }
            (through, in_time(net, &own, rest()).await)
        }
        Err(_) => {
            let mut own = pin!(in_time(net, &own, rest()));
            tokio::select! {
                biased;
                through = &mut through => match through {
                    Ok(good) => return Ok(good),
                    bad => (bad, own.await),
                },
                own = &mut own => (through.await, own),
            }
        }
    };
    through.map_err(|bad| match cause(path.method, path.own.port(), bad.kind, &own) {
        Some(cause) => Bad::new(bad.kind, format!("{}; {cause}", bad.text)),
        None => bad,
    })
}

/// A failure that the way may be the cause of. An answer that is wrong came all the way.
const fn tells_of_the_path(kind: Kind) -> bool {
    matches!(kind, Kind::Refused | Kind::Unreachable | Kind::Timeout | Kind::Closed)
}

/// What a failure by way of the service probably comes from, by what the server's own address
/// answers to the same question.
pub(super) fn cause(
    method: Method,
    port: u16,
    through: Kind,
    own: &Result<Good, Bad>,
) -> Option<String> {
    let vip = matches!(method, Method::Dr | Method::Tun);
    let own_kind = own.as_ref().err().map(|bad| bad.kind);
    let text = match (through, own_kind) {
        (kind, _) if !tells_of_the_path(kind) => return None,
        (_, Some(Kind::Local)) => return None,
        (Kind::Refused, None) if vip => {
            "its own address answers: does the service listen on the VIP too?".to_owned()
        }
        (Kind::Refused, Some(Kind::Refused)) => format!("nothing listens on port {port}"),
        (_, None) => return Some(format!("its own address answers: {}", lost(method))),
        (_, Some(Kind::Refused)) => {
            format!("at its own address nothing listens on port {port}")
        }
        (_, Some(Kind::Timeout | Kind::Unreachable)) => {
            "nor does its own address answer: it is down, or a firewall drops".to_owned()
        }
        (_, Some(_)) => return None,
    };
    Some(text)
}

/// Where packets of this method get lost while the server itself answers.
const fn lost(method: Method) -> &'static str {
    match method {
        Method::Dr => {
            "is the VIP on its loopback interface, and does no firewall there drop packets to it?"
        }
        Method::Tun => {
            "has it the tunnel interface with the VIP, with rp_filter off, and does no firewall \
             there drop packets to it?"
        }
        Method::Nat => {
            "do its answers come back through this box? It must be the server's gateway towards \
             the probe's source"
        }
        Method::FullNat => "does it answer to the local addresses, and no firewall drop them?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes() {
        use Kind::{Closed, Local, Refused, Timeout, Unreachable, Wrong};
        use Method::{Dr, FullNat, Nat, Tun};
        let rows = [
            (Dr, Timeout, None, "is the VIP on its loopback"),
            (Tun, Timeout, None, "has it the tunnel interface"),
            (Nat, Timeout, None, "do its answers come back through this box?"),
            (FullNat, Timeout, None, "does it answer to the local addresses"),
            (Dr, Refused, None, "does the service listen on the VIP too?"),
            (Dr, Unreachable, None, "is the VIP on its loopback"),
            (Nat, Closed, None, "do its answers come back"),
            (Nat, Refused, Some(Refused), "nothing listens on port 80"),
            (Dr, Timeout, Some(Refused), "at its own address nothing listens on port 80"),
            (Tun, Timeout, Some(Timeout), "it is down, or a firewall drops"),
            (Dr, Timeout, Some(Unreachable), "it is down, or a firewall drops"),
            (Dr, Timeout, Some(Local), ""),
            (Dr, Timeout, Some(Wrong), ""),
            (Dr, Wrong, None, ""),
            (Dr, Local, None, ""),
        ];
        for (method, through, own, expected) in rows {
            let own = own.map_or_else(|| Ok(Good::new("")), |kind| Err(Bad::new(kind, "")));
            let cause = cause(method, 80, through, &own);
            let found = cause.clone().unwrap_or_default();
            assert_eq!(found.is_empty(), expected.is_empty(), "{method:?} {through:?}: {found}");
            assert!(found.contains(expected), "{method:?} {through:?}: {found}");
        }
    }
}
