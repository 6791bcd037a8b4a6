//! Runs hooks, one at a time.

use std::sync::atomic::{AtomicU64, Ordering};

use health::process::{self, Ended, Program};

use super::{Job, Shared};
use crate::{
    event::{Counts, Event},
    model::Hook,
};

/// From being asked to end to being killed.
const GRACE: std::time::Duration = std::time::Duration::from_secs(1);

/// Until nothing will come any more, or the end.
pub(super) async fn run(shared: &Shared) {
    loop {
        // Before the queue is looked at: what comes later rings.
        let closing = shared.closing.load(Ordering::Relaxed);
        match shared.next() {
            Some(job) => {
                let Some(hook) = shared.hooks().get(job.hook).cloned() else { continue };
                tokio::select! {
                    biased;
                    () = shared.end.notified() => return,
                    () = one(&hook, &job, shared) => {}
                }
            }
            None if closing => return,
            None => tokio::select! {
                () = shared.end.notified() => return,
                () = shared.bell.notified() => {}
            },
        }
    }
}

async fn one(hook: &Hook, job: &Job, shared: &Shared) {
    let environment = environment(job);
    let argv = hook.argv.iter().map(|word| filled(word, &environment)).collect();
    let program = Program { argv, environment, user: &hook.user };
    let ended = process::run(&program, hook.timeout, GRACE).await;
    let name = hook.argv.first().map_or("", String::as_str);
    let what = format!("hook {name} ({} {})", job.event.name(), job.event.subject);
    let count = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
    match ended {
        Ok(Ended { status: Some(status), .. }) if status.success() => {
            count(&shared.succeeded);
            log::debug!("{what}: done");
        }
        Ok(Ended { status: Some(status), complained, .. }) => {
            count(&shared.failed);
            let words = String::from_utf8_lossy(&complained).into_owned();
            let words = if words.is_empty() { words } else { format!(": {words}") };
            log::warn!("{what}: {status}{words}");
        }
        Ok(Ended { status: None, .. }) => {
            count(&shared.killed);
            log::warn!("{what}: killed, it still ran after {} s", hook.timeout.as_secs_f32());
        }
        Err(error) => {
            count(&shared.failed);
            log::warn!("{what}: {error}");
        }
    }
}

/// What a hook is told; what does not apply is not there.
fn environment(job: &Job) -> Vec<(&'static str, String)> {
    let Job { event, collapsed, .. } = job;
    let Event { subject, counts, .. } = event;
    let text = |value: Option<&dyn ToString>| value.map(ToString::to_string);
    let of = |pick: fn(&Counts) -> u64| counts.as_ref().map(|counts| pick(counts).to_string());
    let all = [
        ("XLVS_EVENT", Some(event.name())),
        ("XLVS_KIND", Some(event.kind.name().to_owned())),
        ("XLVS_OLD", Some(event.old.to_string())),
        ("XLVS_NEW", Some(event.new.to_string())),
        ("XLVS_REASON", Some(event.reason.clone())),
        ("XLVS_BY", event.by.clone()),
        ("XLVS_TIME", Some(event.when())),
        ("XLVS_SEQUENCE", Some(event.sequence.to_string())),
        ("XLVS_COLLAPSED", Some(collapsed.to_string())),
        ("XLVS_SERVICE", subject.service.clone()),
        ("XLVS_VIP", text(subject.vip.as_ref().map(|vip| vip as _))),
        ("XLVS_PORT", text(subject.port.as_ref().map(|port| port as _))),
        ("XLVS_PROTOCOL", subject.protocol.clone()),
        ("XLVS_MARK", text(subject.mark.as_ref().map(|mark| mark as _))),
        ("XLVS_SERVER", subject.server.map(|server| server.ip().to_string())),
        ("XLVS_SERVER_PORT", subject.server.map(|server| server.port().to_string())),
        ("XLVS_UP", of(|counts| counts.up as u64)),
        ("XLVS_SERVERS", of(|counts| counts.servers as u64)),
        ("XLVS_WEIGHT", of(|counts| counts.weight)),
        ("XLVS_QUORUM", of(|counts| counts.quorum)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A word of `argv` with `{server}` for what XLVS_SERVER is, and so on. What a reason says is not
/// looked into again.
fn filled(word: &str, environment: &[(&'static str, String)]) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some((before, behind)) = rest.split_once('{') {
        filled.push_str(before);
        let known = behind.split_once('}').and_then(|(name, after)| {
            let of = |(key, _): &&(&str, String)| placeholder(key) == name;
            let value = environment.iter().find(of).map(|(_, value)| value.as_str());
            let known = value.or_else(|| PLACEHOLDERS.contains(&name).then_some(""))?;
            Some((known, after))
        });
        match known {
            Some((value, after)) => {
                filled.push_str(value);
                rest = after;
            }
            None => {
                filled.push('{');
                rest = behind;
            }
        }
    }
    filled + rest
}

/// `server_port` for `XLVS_SERVER_PORT`.
fn placeholder(name: &str) -> String {
    name.trim_start_matches("XLVS_").to_lowercase()
}

/// Those that do not always have a value.
const PLACEHOLDERS: [&str; 12] = [
    "by",
    "service",
    "vip",
    "port",
    "protocol",
    "mark",
    "server",
    "server_port",
    "up",
    "servers",
    "weight",
    "quorum",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Kind, Subject};

    fn job() -> Job {
        let subject = Subject {
            service: Some("web".to_owned()),
            vip: Some([203, 0, 113, 10].into()),
            port: Some(80),
            protocol: Some("tcp".to_owned()),
            mark: None,
            server: Some("[fd00::11]:8080".parse().expect("an address")),
            source: None,
        };
        let event = Event::new(Kind::Server, subject, "up", "down");
        let reason = "web: {new} HTTP 503".to_owned();
        let counts = Counts { up: 2, servers: 3, weight: 20, quorum: 25 };
        let event = Event { sequence: 7, reason, counts: Some(counts), ..event };
        Job { hook: 0, event, collapsed: 4 }
    }

    #[test]
    fn a_hook_is_told_everything() {
        let environment = environment(&job());
        let told: Vec<String> = environment
            .iter()
            .filter(|(name, _)| *name != "XLVS_TIME")
            .map(|(name, value)| format!("{}={value}", name.trim_start_matches("XLVS_")))
            .collect();
        let expected = "EVENT=server.down KIND=server OLD=up NEW=down REASON=web: {new} HTTP 503 \
                        SEQUENCE=7 COLLAPSED=4 SERVICE=web VIP=203.0.113.10 PORT=80 PROTOCOL=tcp \
                        SERVER=fd00::11 SERVER_PORT=8080 UP=2 SERVERS=3 WEIGHT=20 QUORUM=25";
        assert_eq!(told.join(" "), expected);
    }

    #[test]
    fn words_are_filled_once() {
        let environment = environment(&job());
        let rows = [
            ("plain", "plain"),
            ("{server}:{server_port}", "fd00::11:8080"),
            ("{reason}", "web: {new} HTTP 503"),
            ("mark={mark}.", "mark=."),
            ("{event}{", "server.down{"),
            ("{ print $1 } {new}", "{ print $1 } down"),
            ("{{new}}", "{down}"),
            ("{nothing}", "{nothing}"),
        ];
        for (word, expected) in rows {
            assert_eq!(filled(word, &environment), expected, "{word}");
        }
    }
}
