//! `global_defs`, what of it is LVS's.

use std::collections::HashMap;

use super::{
    tree::Statement,
    unknown,
    value::{self, truth, word},
};
use crate::note::{Notes, Place};

/// What holds for all virtual servers.
#[derive(Default)]
pub(super) struct Global {
    /// Idle times in seconds.
    pub(super) timeouts: Vec<(&'static str, u64)>,
    pub(super) script_user: Option<String>,
    /// Where to, with the line.
    pub(super) mail: Vec<String>,
    pub(super) mail_from: Option<String>,
    pub(super) mail_place: Option<Place>,
    no_checker_emails: bool,
    smtp_alert: Option<bool>,
    smtp_alert_checker: Option<bool>,
    pub(super) rs_init_notifies: bool,
    /// Files by the names of `track_file` blocks.
    pub(super) track_files: HashMap<String, TrackFile>,
}

/// A `track_file` block.
pub(super) struct TrackFile {
    pub(super) path: String,
    pub(super) weight: Option<i64>,
}

/// Keywords of global_defs that only the checker process reads. What they are for is LVS's, and
/// they are not in the stripped file.
const OF_LVS: [&str; 27] = [
    "lvs_timeouts",
    "lvs_flush",
    "lvs_flush_on_stop",
    "lvs_flush_onstop",
    "lvs_sync_daemon",
    "lvs_process_name",
    "lvs_notify_fifo",
    "lvs_notify_fifo_script",
    "lvs_netlink_cmd_rcv_bufs",
    "lvs_netlink_cmd_rcv_bufs_force",
    "lvs_netlink_monitor_rcv_bufs",
    "lvs_netlink_monitor_rcv_bufs_force",
    "checker_process_name",
    "checker_log_all_failures",
    "checker_priority",
    "checker_no_swap",
    "checker_rt_priority",
    "checker_cpu_affinity",
    "checker_rlimit_rttime",
    "checker_rlimit_rtime",
    "enable_snmp_checker",
    "snmp_vs_stats_update_interval",
    "snmp_rs_stats_update_interval",
    "nftables_ipvs",
    "nftables_ipvs_priority",
    "nftables_ipvs_start_fwmark",
    "rs_init_notifies",
];

/// Those that keepalived goes on to read: they are in the stripped file.
const OF_KEEPALIVED: &str = " \
    use_symlink_paths set_supplementary_groups router_id notification_email_from smtp_server \
    smtp_helo_name smtp_connect_timeout notification_email smtp_alert startup_script \
    startup_script_timeout shutdown_script shutdown_script_timeout max_auto_priority \
    min_auto_priority_delay smtp_alert_vrrp dynamic_interfaces no_email_faults default_interface \
    disable_local_igmp v3_checksum_as_v2 vrrp_mcast_group4 vrrp_mcast_group6 \
    vrrp_garp_master_delay vrrp_garp_master_repeat vrrp_garp_master_refresh \
    vrrp_garp_master_refresh_repeat vrrp_garp_lower_prio_delay vrrp_garp_lower_prio_repeat \
    vrrp_down_timer_adverts vrrp_garp_interval vrrp_gna_interval vrrp_min_garp vrrp_garp_extra_if \
    vrrp_vmac_garp_intvl vrrp_lower_prio_no_advert vrrp_higher_prio_send_advert vrrp_version \
    vrrp_iptables vrrp_ipsets nftables nftables_priority nftables_ifindex nftables_counters \
    vrrp_check_unicast_src vrrp_skip_check_adv_addr vrrp_strict vrrp_priority vrrp_no_swap \
    vrrp_rt_priority vrrp_cpu_affinity vrrp_rlimit_rttime vrrp_rlimit_rtime notify_fifo \
    notify_fifo_script vrrp_notify_fifo vrrp_notify_fifo_script vrrp_notify_priority_changes \
    fifo_write_vrrp_states_on_reload bfd_priority bfd_no_swap bfd_rt_priority bfd_cpu_affinity \
    bfd_rlimit_rttime bfd_rlimit_rtime bfd_process_name snmp_socket enable_traps enable_snmp_vrrp \
    enable_snmp_keepalived enable_snmp_rfc enable_snmp_rfcv2 enable_snmp_rfcv3 enable_dbus \
    dbus_service_name dbus_no_interface_name script_user enable_script_security \
    vrrp_netlink_cmd_rcv_bufs vrrp_netlink_cmd_rcv_bufs_force vrrp_netlink_monitor_rcv_bufs \
    vrrp_netlink_monitor_rcv_bufs_force process_monitor_rcv_bufs process_monitor_rcv_bufs_force \
    vrrp_rx_bufs_policy vrrp_rx_bufs_multiplier vrrp_startup_delay vrrp_delay_after_boot \
    log_unknown_vrids vrrp_owner_ignore_adverts vmac_prefix vmac_addr_prefix umask random_seed \
    reload_check_config reload_time_file reload_repeat reload_file include_check config_save_dir \
    tmp_config_directory data_use_instance json_version iproute_usr_dir iproute_etc_dir \
    state_dump_file stats_dump_file json_dump_file process_names process_name vrrp_process_name \
    net_namespace instance use_pid_dir linkbeat_use_polling child_wait_time vrrp_sync_group ";

/// In the stripped file it has no place.
pub(super) fn is_lvs(statement: &Statement) -> bool {
    let keyword = statement.keyword();
    OF_LVS.contains(&keyword) || matches!(keyword, "smtp_alert_checker" | "no_checker_emails")
}

impl Global {
    pub(super) fn of(root: &[Statement], notes: &mut Notes) -> Self {
        let mut global = Self::default();
        for statement in root {
            match statement.keyword() {
                "global_defs" => {
                    statement.statements().iter().for_each(|inner| global.one(inner, notes));
                }
                "track_file" | "vrrp_track_file" => global.track_file(statement),
                _ => {}
            }
        }
        global
    }

    fn one(&mut self, statement: &Statement, notes: &mut Notes) {
        let nothing = |why: &str, notes: &mut Notes| {
            notes.say(&statement.place, format!("{}: {why}", statement.keyword()));
        };
        match statement.keyword() {
            "lvs_timeouts" => self.timeouts(statement, notes),
            "lvs_sync_daemon" => {
                let text = format!("{}: there is no connection sync", statement.text());
                notes.lost(&statement.place, text);
            }
            "lvs_notify_fifo" | "lvs_notify_fifo_script" => {
                let text = format!(
                    "{}: there is no FIFO; xlvs events --follow --json prints what happens, hooks \
                     are run in order",
                    statement.text()
                );
                notes.lost(&statement.place, text);
            }
            "nftables_ipvs" | "nftables_ipvs_priority" | "nftables_ipvs_start_fwmark" => {
                nothing("not needed, a service may listen on many addresses", notes);
            }
            "rs_init_notifies" => self.rs_init_notifies = value::alone(statement, notes),
            "script_user" => {
                self.script_user = statement.word(1).map(str::to_owned);
                if let Some(group) = statement.word(2) {
                    super::command::group(statement, group, notes);
                }
            }
            "notification_email" => {
                self.mail_place = Some(statement.place.clone());
                let inner = statement.statements().iter().flat_map(|inner| &inner.words);
                self.mail.extend(statement.words.iter().skip(1).chain(inner).cloned());
            }
            "notification_email_from" => self.mail_from = statement.word(1).map(str::to_owned),
            "smtp_alert" => self.smtp_alert = truth(statement, notes),
            "smtp_alert_checker" => self.smtp_alert_checker = truth(statement, notes),
            "no_checker_emails" => self.no_checker_emails = value::alone(statement, notes),
            "lvs_id" => nothing("router_id since keepalived 1.1.2, and so it is written", notes),
            keyword if OF_LVS.contains(&keyword) => {
                nothing("for keepalived's checker process, which is not there any more", notes);
            }
            keyword if OF_KEEPALIVED.contains(&format!(" {keyword} ")) => {}
            _ => unknown(statement, "global_defs", notes),
        }
    }

    /// `tcp N tcpfin N udp N`.
    fn timeouts(&mut self, statement: &Statement, notes: &mut Notes) {
        let keys = [("tcp", "tcp_established"), ("tcpfin", "tcp_fin_wait"), ("udp", "udp")];
        let mut words = statement.words.iter().skip(1);
        while let Some(word) = words.next() {
            let key = keys.iter().find(|(theirs, _)| theirs == word).map(|(_, ours)| *ours);
            let seconds = words.next().and_then(|text| text.parse::<u64>().ok());
            match (key, seconds) {
                (Some(key), Some(seconds @ 1..=2_678_400)) => {
                    self.timeouts.retain(|(known, _)| *known != key);
                    self.timeouts.push((key, seconds));
                }
                (Some(_), Some(0)) => {}
                _ => {
                    value::not_read(statement, "tcp, tcpfin and udp with seconds each", notes);
                    return;
                }
            }
        }
    }

    fn track_file(&mut self, statement: &Statement) {
        let of = |key: &str| statement.statements().iter().find(|inner| inner.keyword() == key);
        let (Some(name), Some(path)) = (statement.word(1), of("file").and_then(|s| s.word(1)))
        else {
            return;
        };
        let weight = of("weight").and_then(|s| s.word(1)).and_then(|text| text.parse().ok());
        self.track_files.insert(name.to_owned(), TrackFile { path: path.to_owned(), weight });
    }

    /// A mail is sent where nothing closer says whether; `inner` is what does.
    pub(super) fn alerts(&self, inner: Option<bool>, default: bool) -> bool {
        let outer = self.smtp_alert_checker.or(self.smtp_alert);
        let wanted = inner.or(outer).unwrap_or(default);
        wanted && !self.mail.is_empty() && !self.no_checker_emails
    }
}

/// `SSL { ... }`.
pub(super) fn ssl(root: &[Statement], notes: &mut Notes) {
    for statement in root.iter().filter(|statement| statement.keyword() == "SSL") {
        for inner in statement.statements() {
            match inner.keyword() {
                "password" | "certificate" | "key" => {
                    // The words may be a secret.
                    let text = format!("{}: checks of xlvs show no certificate", inner.keyword());
                    notes.lost(&inner.place, text);
                }
                "ca" => {
                    let text = "ca: keepalived does not verify, and neither do checks here; \
                                verify: true and ca: FILE in a check do";
                    notes.say(&inner.place, format!("{}; {text}", inner.text()));
                }
                _ => unknown(inner, "SSL", notes),
            }
        }
    }
}

/// Where the process lives, and what else is said at the root.
pub(super) fn process(root: &[Statement], notes: &mut Notes) {
    for statement in root {
        match statement.keyword() {
            "net_namespace" | "net_namespace_ipvs" => {
                let name = word(statement, notes).unwrap_or("");
                let text = format!(
                    "{} {name}: run xlvs in that namespace (ip netns exec {name} xlvs run)",
                    statement.keyword()
                );
                notes.lost(&statement.place, text);
            }
            _ => {}
        }
    }
}
