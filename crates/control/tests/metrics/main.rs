//! Pages for Prometheus, without a daemon: what they say, and whether strict readers take them.
//! `promtool` and Python's prometheus_client are needed: `cargo xtask setup`.

mod http;
mod judges;
mod lint;
mod report;

use std::{collections::BTreeSet, process::Command};

use control::metrics::{Collector, Format, Group, Kind, NODE_IPVS, Wanted, families};

use report::report;

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];

fn page(format: Format) -> String {
    Collector::default().page(&report(), &Wanted::all(format, true))
}

/// Every number of the report by hand, and where it must come out.
#[test]
fn numbers_come_out_under_their_names() {
    const WEB: &str = "service=\"web\",listen=\"203.0.113.10:80/tcp\"";
    const ONE: &str = "service=\"web\",listen=\"203.0.113.10:80/tcp\",server=\"10.0.0.11:8080\"";
    const MAIL: &str =
        r#"service="a \"mail\" \\ service",listen="mark 10 IPv6",server="[fd00::11]:0""#;
    let page = page(Format::Text);
    let lines: BTreeSet<&str> = page.lines().collect();
    for line in [
        "xlvs_build_info{version=\"1.2.3\"} 1".to_owned(),
        "xlvs_start_time_seconds 1700000000.5".to_owned(),
        "xlvs_snapshot_generation 9".to_owned(),
        "xlvs_config_reloads_total{result=\"success\"} 3".to_owned(),
        "xlvs_config_reloads_total{result=\"failure\"} 1".to_owned(),
        "xlvs_config_last_reload_successful 0".to_owned(),
        "xlvs_config_last_reload_success_timestamp_seconds 1700000100".to_owned(),
        "xlvs_connections_total 70".to_owned(),
        "xlvs_incoming_bytes_total 72".to_owned(),
        "xlvs_packets_dropped_total{reason=\"no_route\"} 4".to_owned(),
        "xlvs_packets_punted_total{reason=\"alien\"} 5".to_owned(),
        "xlvs_answers_total{kind=\"reset\"} 6".to_owned(),
        "xlvs_stateless_packets_total 68".to_owned(),
        "xlvs_table_entries{table=\"connections_ipv4\"} 11".to_owned(),
        "xlvs_table_limit{table=\"half_open\"} 14".to_owned(),
        "xlvs_vip_announced{address=\"203.0.113.10\"} 1".to_owned(),
        "xlvs_vip_announced{address=\"2001:db8::10\"} 0".to_owned(),
        "xlvs_events_total{kind=\"server\"} 8".to_owned(),
        "xlvs_hooks_total{result=\"failed\"} 2".to_owned(),
        "xlvs_probe_failures_total{reason=\"timeout\"} 7".to_owned(),
        "xlvs_probe_lateness_seconds{quantile=\"0.99\"} 0.0025".to_owned(),
        "xlvs_probe_lateness_seconds_sum 1.5".to_owned(),
        "xlvs_probe_lateness_seconds_count 1000".to_owned(),
        "xlvs_worker_info{worker=\"0\",core=\"2\"} 1".to_owned(),
        "xlvs_worker_info{worker=\"1\",core=\"\"} 1".to_owned(),
        "xlvs_worker_alive{worker=\"1\"} 0".to_owned(),
        "xlvs_worker_breath_duration_seconds_bucket{worker=\"0\",le=\"2e-06\"} 1".to_owned(),
        "xlvs_worker_breath_duration_seconds_bucket{worker=\"0\",le=\"0.0001\"} 6".to_owned(),
        "xlvs_worker_breath_duration_seconds_bucket{worker=\"0\",le=\"0.02\"} 11".to_owned(),
        "xlvs_worker_breath_duration_seconds_bucket{worker=\"0\",le=\"+Inf\"} 12".to_owned(),
        "xlvs_worker_breath_duration_seconds_sum{worker=\"0\"} 0.25".to_owned(),
        "xlvs_worker_breath_duration_seconds_count{worker=\"0\"} 12".to_owned(),
        "xlvs_umem_frames{worker=\"0\",place=\"tx_lent\"} 3".to_owned(),
        "xlvs_interface_info{interface=\"eth0\",mac=\"02:00:00:00:00:01\",xdp_mode=\"native\",zero_copy=\"true\"} 1".to_owned(),
        "xlvs_xdp_taken_packets_total{interface=\"eth0\"} 21".to_owned(),
        "xlvs_xsk_rx_ring_full_packets_total{interface=\"eth0\",queue=\"1\",worker=\"0\"} 23".to_owned(),
        "xlvs_xsk_invalid_descriptors_total{interface=\"eth0\",queue=\"1\",worker=\"0\",ring=\"tx\"} 25".to_owned(),
        "xlvs_service_info{service=\"web\",listen=\"203.0.113.10:80/tcp\",protocol=\"tcp\",scheduler=\"wlc\"} 1".to_owned(),
        format!("xlvs_service_connections_total{{{WEB}}} 33"),
        format!("xlvs_service_outgoing_bytes_total{{{WEB}}} 37"),
        format!("xlvs_service_servers{{{WEB},state=\"down\"}} 1"),
        format!("xlvs_service_servers{{{WEB},state=\"suspect\"}} 0"),
        format!("xlvs_service_quorum_met{{{WEB}}} 0"),
        format!("xlvs_service_weight{{{WEB}}} 3"),
        format!("xlvs_service_quorum_weight{{{WEB}}} 4"),
        format!("xlvs_server_connections_active{{{ONE}}} 41"),
        format!("xlvs_server_state{{{ONE},state=\"down\"}} 1"),
        format!("xlvs_server_state{{{ONE},state=\"up\"}} 0"),
        format!("xlvs_server_transitions_total{{{ONE},to=\"down\"}} 2"),
        format!("xlvs_server_weight{{{MAIL}}} 5"),
        format!("xlvs_check_up{{{ONE},check=\"page\"}} 0"),
        format!("xlvs_check_duration_seconds{{{ONE},check=\"page\"}} 0.00125"),
        format!("xlvs_check_answers_total{{{ONE},check=\"page\"}} 50"),
        format!("xlvs_check_failures_total{{{ONE},check=\"page\",reason=\"refused\"}} 9"),
        "node_ipvs_connections_total 70".to_owned(),
        "node_ipvs_backend_connections_active{local_address=\"203.0.113.10\",local_port=\"80\",remote_address=\"10.0.0.11\",remote_port=\"8080\",proto=\"TCP\",local_mark=\"\"} 41".to_owned(),
        "node_ipvs_backend_weight{local_address=\"\",local_port=\"0\",remote_address=\"fd00::11\",remote_port=\"0\",proto=\"FWM\",local_mark=\"0000000A\"} 5".to_owned(),
    ] {
        assert!(lines.contains(line.as_str()), "{line}\nis not in\n{page}");
    }
}

/// The same series, whichever format: a query does not know which one was scraped.
#[test]
fn both_formats_have_the_same_samples() {
    let samples = |format| -> Vec<String> {
        page(format).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    assert_eq!(samples(Format::Text), samples(Format::OpenMetrics));
    assert!(page(Format::OpenMetrics).ends_with("\n# EOF\n"));
    assert!(!page(Format::Text).contains("EOF"));
}

#[test]
fn strict_readers_take_every_page() {
    for format in FORMATS {
        let page = page(format);
        assert_eq!(lint::lint(&page, format), [] as [String; 0], "{page}");
    }
    judges::promtool(&page(Format::Text));
    judges::python(&page(Format::Text), "prometheus_client.parser");
    judges::python(&page(Format::OpenMetrics), "prometheus_client.openmetrics.parser");
}

/// A page with every family: what is described is filled, and what is filled is described.
#[test]
fn every_family_is_on_the_page() {
    let page = page(Format::Text);
    let told: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let all = families::ALL.iter().chain(NODE_IPVS.iter().copied());
    let described: Vec<String> = all.map(control::metrics::Family::series).collect();
    assert_eq!(told, described);
}

#[test]
fn groups_are_left_out_and_unknown_ones_refused() {
    let collected = |query: &str, configured: bool| -> Result<BTreeSet<String>, String> {
        let wanted = Wanted::all(Format::Text, configured).select(query)?;
        let page = Collector::default().page(&report(), &wanted);
        let names = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let all = families::ALL.iter().chain(NODE_IPVS.iter().copied());
        let groups: Vec<(String, Group)> = all.map(|it| (it.series(), it.group)).collect();
        let of = |name: &str| groups.iter().find(|(series, _)| series == name).unwrap().1;
        Ok(names.map(|name| of(name).name().to_owned()).collect())
    };
    let is = |words: &[&str]| Ok(words.iter().map(|word| (*word).to_owned()).collect());
    let own = ["director", "workers", "interfaces", "services", "servers", "checks"];
    type Names = Result<BTreeSet<String>, String>;
    let rows: [(&str, bool, Names); 8] = [
        ("", false, is(&own)),
        ("", true, is(&[&own[..], &["node_ipvs"]].concat())),
        ("collect=services", true, is(&["services"])),
        ("collect=services,checks", false, is(&["services", "checks"])),
        ("collect=services&collect=workers", false, is(&["services", "workers"])),
        ("collect=node_ipvs", false, is(&["node_ipvs"])),
        (
            "collect=all",
            false,
            Err("collect=all: unknown; the groups are director, workers, interfaces, services, \
                 servers, checks, node_ipvs"
                .to_owned()),
        ),
        ("name=x", false, Err("name=x: unknown; write collect= with groups".to_owned())),
    ];
    for (query, configured, expected) in rows {
        assert_eq!(collected(query, configured), expected, "{query}");
    }
}

/// A socket that was opened again, a server whose checks began anew.
#[test]
fn what_begins_anew_in_the_report_goes_on_for_who_scrapes() {
    let collector = Collector::default();
    let mut report = report();
    let wanted = Wanted::all(Format::Text, false);
    let value = |page: &str, series: &str| -> u64 {
        let line = page.lines().find(|line| line.starts_with(series)).expect("the series");
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let ring = "xlvs_xsk_rx_ring_full_packets_total{";
    let failures = "xlvs_check_failures_total{";
    let look = |report: &control::report::Report| {
        let page = collector.page(report, &wanted);
        (value(&page, ring), value(&page, failures))
    };
    assert_eq!(look(&report), (23, 9));
    report.rings[0].rx_ring_full = 4;
    let check = |report: &mut control::report::Report, count| {
        let health = report.services[0].servers[0].health.as_mut().unwrap();
        health.checks[0].failed.insert("refused".to_owned(), count);
    };
    check(&mut report, 0);
    assert_eq!(look(&report), (27, 9));
    assert_eq!(look(&report), (27, 9), "asking changes nothing");
    check(&mut report, 2);
    assert_eq!(look(&report), (27, 11));
}

/// Each rule fires where it should, none at a director that is well, and each says what to do.
#[test]
fn alert_rules_fire_where_they_should() {
    let rules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../configs/prometheus/alerts");
    for words in [["check", "rules", ".yml"], ["test", "rules", ".test.yml"]] {
        let [verb, what, end] = words;
        let mut promtool = Command::new("promtool");
        let said = promtool.args([verb, what, &format!("{rules}{end}")]).output();
        let said = said.unwrap_or_else(|error| panic!("promtool: {error}; run cargo xtask setup"));
        assert!(said.status.success(), "{verb}: {said:?}");
    }
    let text = std::fs::read_to_string(format!("{rules}.yml")).unwrap();
    let tests = std::fs::read_to_string(format!("{rules}.test.yml")).unwrap();
    let alerts: Vec<&str> =
        text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    for part in ["summary: ", "remedy: ", "severity: "] {
        assert_eq!(text.matches(part).count(), alerts.len(), "{part}");
    }
    for alert in alerts {
        assert!(tests.contains(&format!("alertname=\"{alert}\"")), "{alert}: no test");
    }
}

/// README has a row for each family.
#[test]
fn readme_lists_every_family() {
    let readme = include_str!("../../../../README.md");
    let all = families::ALL.iter().chain(NODE_IPVS.iter().copied());
    let missing: Vec<String> = all
        .map(|family| family.series())
        .filter(|name| !readme.contains(&format!("`{name}`")))
        .collect();
    assert_eq!(missing, [] as [String; 0]);
}

/// Names that the conventions allow, in text that an operator reads.
#[test]
fn families_are_well_described() {
    for family in families::ALL {
        let Kind::Info = family.kind else {
            assert!(family.help.ends_with('.'), "{}: {}", family.name, family.help);
            continue;
        };
        assert!(!family.labels.is_empty(), "{}: an info without labels", family.name);
    }
}
