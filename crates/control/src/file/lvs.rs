//! `lvs:`, the settings of `net.ipv4.vs` by their own names, and `on_gone` and `on_idle`,
//! which say what the kernel has no setting for.

use dataplane::policy::{self, Defence, Gone};

use super::{cursor::Keys, scalar};
use crate::fault::Fault;

/// Ten years: more than anybody waits, and a sum of two fits 32 bits.
pub(super) const EXPIRATION_MOST: u32 = 10 * 365 * 86_400;

/// `lvs:` at the top: what holds for the box, and the defaults of services.
#[derive(Clone, Debug, Default)]
pub struct Lvs {
    /// What a service may say otherwise.
    pub lifecycle: Lifecycle,
    /// `drop_packet`, `drop_entry`, `secure_tcp`, `am_droprate`, `amemthresh`.
    pub defence: Defence,
    /// `lblc_expiration`, in seconds.
    pub lblc_expiration: Option<u32>,
    /// `lblcr_expiration`, in seconds.
    pub lblcr_expiration: Option<u32>,
}

/// What is written of how connections begin, move and end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lifecycle {
    gone: Option<Gone>,
    down: Option<Gone>,
    reset_idle: Option<bool>,
    expire_quiescent_template: Option<bool>,
    conn_reuse_mode: Option<u8>,
    sloppy_tcp: Option<bool>,
    sloppy_sctp: Option<bool>,
    schedule_icmp: Option<bool>,
    nat_icmp_send: Option<bool>,
    pmtu_disc: Option<bool>,
    cache_bypass: Option<bool>,
    /// `existing: keep`, or another one.
    pub keeps: Option<bool>,
}

impl Lifecycle {
    /// What is written replaces what `base` has.
    pub fn over(self, base: policy::Lifecycle) -> policy::Lifecycle {
        let on = |written: Option<bool>, base| written.unwrap_or(base);
        policy::Lifecycle {
            gone: self.gone.unwrap_or(base.gone),
            down: self.down.or(base.down),
            reset_idle: on(self.reset_idle, base.reset_idle),
            expire_quiescent_template: on(
                self.expire_quiescent_template,
                base.expire_quiescent_template,
            ),
            conn_reuse_mode: self.conn_reuse_mode.unwrap_or(base.conn_reuse_mode),
            sloppy_tcp: on(self.sloppy_tcp, base.sloppy_tcp),
            sloppy_sctp: on(self.sloppy_sctp, base.sloppy_sctp),
            schedule_icmp: on(self.schedule_icmp, base.schedule_icmp),
            nat_icmp_send: on(self.nat_icmp_send, base.nat_icmp_send),
            pmtu_disc: on(self.pmtu_disc, base.pmtu_disc),
            cache_bypass: on(self.cache_bypass, base.cache_bypass),
            one_packet_replies: base.one_packet_replies,
        }
    }
}

/// Settings that mean something in the kernel only: why, and what there is instead.
const MEANINGLESS: [(&str, &str, &str); 16] = [
    ("backup_only", NO_SYNC, "remove it"),
    ("conn_tab_bits", "the connection table has a fixed size", "write limits: {connections: ...}"),
    (
        "conntrack",
        "packets of services pass no netfilter hook, so there is nothing to track",
        "remove it; for filtering there is access:",
    ),
    ("est_cpulist", NO_ESTIMATION, "remove it"),
    ("est_nice", NO_ESTIMATION, "remove it"),
    (
        "ignore_tunneled",
        "packets of other protocols than TCP, UDP and SCTP always stay with the kernel",
        "remove it",
    ),
    ("run_estimation", NO_ESTIMATION, "remove it"),
    (
        "snat_reroute",
        "ways out are found by destination only, so a changed source changes no way",
        "remove it",
    ),
    ("sync_persist_mode", NO_SYNC, "remove it"),
    ("sync_ports", NO_SYNC, "remove it"),
    ("sync_qlen_max", NO_SYNC, "remove it"),
    ("sync_refresh_period", NO_SYNC, "remove it"),
    ("sync_retries", NO_SYNC, "remove it"),
    ("sync_sock_size", NO_SYNC, "remove it"),
    ("sync_threshold", NO_SYNC, "remove it"),
    ("sync_version", NO_SYNC, "remove it"),
];
const NO_SYNC: &str = "connections are not synchronised with another director";
const NO_ESTIMATION: &str = "rates come from counters that workers keep anyway";

/// Settings of the whole box, with what to write in a service.
const OF_THE_BOX: [(&str, &str); 7] = [
    ("drop_packet", "write it under lvs: at the top"),
    ("drop_entry", "write it under lvs: at the top"),
    ("secure_tcp", "write it under lvs: at the top"),
    ("am_droprate", "write it under lvs: at the top"),
    ("amemthresh", "write it under lvs: at the top"),
    ("lblc_expiration", "write scheduler: {name: lblc, expiration: 24h}"),
    ("lblcr_expiration", "write scheduler: {name: lblcr, expiration: 24h}"),
];

/// `lvs`, `on_gone` and `on_idle` at the top.
pub(super) fn of_box(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Lvs {
    let mut lvs = Lvs::default();
    if let Some(mut inner) = keys.take("lvs").and_then(|at| at.keys(faults)) {
        lifecycle(&mut inner, &mut lvs.lifecycle, faults);
        lvs.defence = defence(&mut inner, faults);
        let seconds = |text: &str| scalar::sysctl_seconds(text, EXPIRATION_MOST);
        let mut expiration = |key| {
            let put = inner.take(key)?.read(faults, seconds);
            put.map(|put| put.value)
        };
        lvs.lblc_expiration = expiration("lblc_expiration");
        lvs.lblcr_expiration = expiration("lblcr_expiration");
        inner.finish(faults, |_| false);
    }
    events(keys, &mut lvs.lifecycle, faults);
    lvs
}

/// The same keys in a service, which is one with a `mark` or not.
pub(super) fn of_service(keys: &mut Keys<'_>, marked: bool, faults: &mut Vec<Fault>) -> Lifecycle {
    let mut written = Lifecycle::default();
    if let Some(mut inner) = keys.take("lvs").and_then(|at| at.keys(faults)) {
        lifecycle(&mut inner, &mut written, faults);
        for (key, remedy) in OF_THE_BOX {
            inner.refuse(key, "holds for the whole box", remedy, faults);
        }
        if !marked {
            let sentence = "does nothing without mark: packets go to the VIP, which is ours";
            inner.refuse("cache_bypass", sentence, "remove it", faults);
        }
        inner.finish(faults, |_| false);
    }
    events(keys, &mut written, faults);
    // `keep` is no end: `health` knows it.
    let existing =
        [("reset", Some(Gone::Reset)), ("reschedule", Some(Gone::Expire)), ("keep", None)];
    let existing = keys.take("existing").and_then(|at| at.word(faults, &existing));
    written.down = existing.as_ref().and_then(|put| put.value);
    written.keeps = existing.map(|put| put.value.is_none());
    written
}

fn lifecycle(keys: &mut Keys<'_>, written: &mut Lifecycle, faults: &mut Vec<Fault>) {
    let expire = keys.take("expire_nodest_conn").and_then(|at| at.switch(faults));
    written.gone = expire.map(|expire| if expire { Gone::Expire } else { Gone::Hold });
    let mode = keys.take("conn_reuse_mode").and_then(|at| at.number(faults, 0, 3));
    written.conn_reuse_mode = mode.map(|put| put.value as u8);
    let switches = [
        ("expire_quiescent_template", &mut written.expire_quiescent_template),
        ("sloppy_tcp", &mut written.sloppy_tcp),
        ("sloppy_sctp", &mut written.sloppy_sctp),
        ("schedule_icmp", &mut written.schedule_icmp),
        ("nat_icmp_send", &mut written.nat_icmp_send),
        ("pmtu_disc", &mut written.pmtu_disc),
        ("cache_bypass", &mut written.cache_bypass),
    ];
    for (key, field) in switches {
        *field = keys.take(key).and_then(|at| at.switch(faults));
    }
    for (key, sentence, remedy) in MEANINGLESS {
        keys.refuse(key, sentence, remedy, faults);
    }
}

/// Modes have the kernel's ranges; the other two are an `int` there.
fn defence(keys: &mut Keys<'_>, faults: &mut Vec<Fault>) -> Defence {
    let mut defence = Defence::default();
    let modes = [
        ("drop_packet", &mut defence.drop_packet),
        ("drop_entry", &mut defence.drop_entry),
        ("secure_tcp", &mut defence.secure_tcp),
    ];
    for (key, mode) in modes {
        if let Some(put) = keys.take(key).and_then(|at| at.number(faults, 0, 3)) {
            *mode = put.value as u8;
        }
    }
    let numbers =
        [("am_droprate", 1, &mut defence.am_droprate), ("amemthresh", 0, &mut defence.amemthresh)];
    for (key, least, number) in numbers {
        let put = keys.take(key).and_then(|at| at.number(faults, least, i32::MAX as u32));
        if let Some(put) = put {
            *number = put.value;
        }
    }
    defence
}

/// `on_gone` and `on_idle`.
fn events(keys: &mut Keys<'_>, written: &mut Lifecycle, faults: &mut Vec<Fault>) {
    let ends = [("reset", Gone::Reset), ("hold", Gone::Hold), ("expire", Gone::Expire)];
    if let Some(at) = keys.take("on_gone") {
        if written.gone.is_some() {
            let sentence = "on_gone and lvs.expire_nodest_conn decide the same";
            faults.push(at.fault(sentence, "keep one of the two"));
        }
        written.gone = at.word(faults, &ends).map(|put| put.value);
    }
    let resets = [("reset", true), ("silent", false)];
    let idle = keys.take("on_idle").and_then(|at| at.word(faults, &resets));
    written.reset_idle = idle.map(|put| put.value);
}
