//! `api:`: nobody may be let in without a token, and no token may cross a network in the clear.

use crate::{fault::Fault, file::File, model::Api};

pub(super) fn of(file: &File, faults: &mut Vec<Fault>) -> Api {
    let api = &file.api;
    let mut listen = Vec::new();
    for put in &api.listen {
        if listen.contains(&put.value) {
            faults.push(put.spot.fault("listed twice", "remove one of them"));
        }
        if api.tls.is_none() && !put.value.ip().is_loopback() {
            faults.push(put.spot.fault(
                format!("{}: tokens would cross the network in the clear", put.value),
                "add tls: {certificate: FILE, key: FILE}, or listen on 127.0.0.1 or [::1]",
            ));
        }
        listen.push(put.value);
    }
    if let (Some(first), None) = (api.listen.first(), &api.tokens) {
        faults.push(first.spot.fault(
            "nobody could use it: there are no tokens",
            "add tokens: /etc/xlvs/tokens, and make one by `xlvs token add`",
        ));
    }
    Api {
        group: api.group.as_ref().map(|put| put.value.clone()),
        listen,
        tls: api.tls.clone(),
        tokens: api.tokens.as_ref().map(|put| put.value.clone()),
    }
}
