//! What keepalived runs when something happens: scripts and mails.

use super::{command::Command, global::Global, real::Real, virtual_server::VirtualServer};
use crate::{
    document::{Document, Hook},
    note::{Notes, Place},
};

/// The hooks of a virtual server that stands for so many services of LVS. Those for the stop are
/// the box's.
pub(super) fn of(
    server: &VirtualServer,
    services: usize,
    global: &Global,
    document: &mut Document,
) -> Vec<Hook> {
    let mut hooks = Vec::new();
    let alpha = server.timing.alpha();
    let quorums =
        [(&server.quorum_up, "quorum.met", alpha), (&server.quorum_down, "quorum.lost", false)];
    for (command, on, at_start) in quorums {
        let Some((command, place)) = command else { continue };
        let mut hook = hook(command, on, at_start, place, global);
        if services > 1 {
            let text = format!(
                "a group has one quorum in keepalived; here each of its {services} services has its own, and tells it"
            );
            hook.notes.say(place, text);
        }
        hooks.push(hook);
    }
    hooks.extend(notifies(server, global, true));
    hooks.extend(notifies(server, global, false));
    if let Some(place) = &server.omega {
        omega(server, place, global, document);
    }
    hooks.extend(mail(server, global));
    hooks
}

fn hook(
    command: &Command,
    on: &'static str,
    at_start: bool,
    place: &Place,
    global: &Global,
) -> Hook {
    let mut notes = Notes::default();
    let default = global.script_user.as_deref();
    command.told(default, place, &mut notes);
    let user = Some(command.user(default));
    Hook { argv: command.argv.clone(), on: vec![on], user, at_start, notes }
}

/// `notify_up` or `notify_down` of all servers: one hook, if all have the same words, or one for
/// each that says which server it is for.
fn notifies(server: &VirtualServer, global: &Global, up: bool) -> Vec<Hook> {
    let on = if up { "server.up" } else { "server.down" };
    let of = |real: &Real| if up { real.notify_up.clone() } else { real.notify_down.clone() };
    let said: Vec<_> = server.servers.iter().filter_map(|real| Some((real, of(real)?))).collect();
    let Some((_, (first, _))) = said.first() else { return Vec::new() };
    let at_start =
        |real: &Real| global.rs_init_notifies || up && real.timing.over(server.timing).alpha();
    let alike = said.len() == server.servers.len()
        && said
            .iter()
            .all(|(real, (command, _))| command == first && at_start(real) == at_start(said[0].0));
    if alike {
        let mut all = said.iter();
        let Some((real, (command, place))) = all.next() else { return Vec::new() };
        let mut hook = hook(command, on, at_start(real), place, global);
        for (_, (command, place)) in all {
            command.told(global.script_user.as_deref(), place, &mut hook.notes);
        }
        return vec![hook];
    }
    let only = |(real, (command, place)): (&Real, (Command, Place))| {
        let mut hook = hook(&command, on, at_start(real), &place, global);
        let test = "[ \"$XLVS_SERVER\" = \"$0\" ] || exit 0; exec \"$@\"".to_owned();
        let shell = ["/bin/sh".to_owned(), "-c".to_owned(), test, real.address.to_string()];
        hook.argv = shell.into_iter().chain(command.argv.clone()).collect();
        hook
    };
    let mut hooks: Vec<Hook> = Vec::new();
    for hook in said.into_iter().map(only) {
        match hooks.iter_mut().find(|known| known.argv == hook.argv && known.user == hook.user) {
            // The same address with two ports.
            Some(known) => known.notes.append(hook.notes),
            None => hooks.push(hook),
        }
    }
    hooks
}

/// At the stop keepalived tells with `omega` that all is down.
fn omega(server: &VirtualServer, place: &Place, global: &Global, document: &mut Document) {
    let downs = server.servers.iter().filter_map(|real| real.notify_down.as_ref());
    let all = server.quorum_down.iter().chain(downs);
    for (command, at) in all {
        let mut hook = hook(command, "director.stopping", false, at, global);
        hook.notes.say(place, "omega: also at the stop");
        let same = |known: &&mut Hook| {
            known.argv == hook.argv && known.user == hook.user && known.on == hook.on
        };
        match document.hooks.iter_mut().find(same) {
            Some(known) => known.notes.append(hook.notes),
            None => document.hooks.push(hook),
        }
    }
}

/// Mails of servers unless they are told not to, mails of the quorum if they are told to.
fn mail(server: &VirtualServer, global: &Global) -> Option<Hook> {
    let mut on = Vec::new();
    let checked = |real: &&Real| !real.checkers.is_empty();
    let checked: Vec<&Real> = server.servers.iter().filter(checked).collect();
    if checked.iter().any(|real| global.alerts(real.smtp_alert, true)) {
        on.push("server");
    }
    if global.alerts(server.smtp_alert, false) {
        on.push("quorum");
    }
    if on.is_empty() {
        return None;
    }
    let place = global.mail_place.as_ref()?;
    let mut hook = Hook::mail(&global.mail, global.mail_from.as_deref(), on, place);
    let silent = checked.iter().find(|real| !global.alerts(real.smtp_alert, true));
    if let (Some(real), true) = (silent, hook.on.contains(&"server")) {
        hook.notes
            .lost(&real.place, "smtp_alert of some servers only: mails come for all of a service");
    }
    Some(hook)
}
