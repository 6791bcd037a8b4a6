//! Hooks of the box and of services.

use crate::{
    event::{Kind, Topic},
    fault::Fault,
    file::{self, File},
    model::Hook,
};

/// What a hook is for that says nothing: news that most want to have.
const NEWS: [Kind; 4] = [Kind::Server, Kind::Quorum, Kind::Service, Kind::Vip];

pub(super) fn all(file: &File, faults: &mut Vec<Fault>) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = file.hooks.iter().map(|hook| of(hook, None)).collect();
    for service in &file.services {
        let name = service.name.as_ref().map(|name| name.value.as_str());
        for hook in &service.hooks {
            elsewhere(hook, faults);
            hooks.push(of(hook, name));
        }
    }
    hooks
}

fn of(hook: &file::Hook, service: Option<&str>) -> Hook {
    let named = hook.on.as_ref().map(|on| on.iter().map(|put| put.value).collect());
    let news = || NEWS.map(|kind| Topic { kind, state: None }).to_vec();
    Hook {
        argv: hook.argv.clone(),
        on: named.unwrap_or_else(news),
        user: hook.user.clone(),
        timeout: hook.timeout,
        at_start: hook.at_start,
        service: service.map(ToOwned::to_owned),
    }
}

/// A hook of a service for what happens to the box.
fn elsewhere(hook: &file::Hook, faults: &mut Vec<Fault>) {
    for put in hook.on.iter().flatten().filter(|put| put.value.kind.is_of_the_box()) {
        let sentence = format!("{} happens to the box, not to a service", put.value.kind.name());
        faults.push(put.spot.fault(sentence, "write it under hooks: at the top"));
    }
}
