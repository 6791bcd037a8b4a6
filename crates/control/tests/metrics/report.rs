//! A report by hand, in which no two numbers are alike by chance.

use control::report::Report;
use serde_json::{Value, json};

fn counts(from: u64) -> Value {
    json!({"active": from + 1, "inactive": from + 2, "connections": from + 3,
        "in_packets": from + 4, "in_bytes": from + 5, "out_packets": from + 6,
        "out_bytes": from + 7})
}

fn with(mut base: Value, more: Value) -> Value {
    let (Value::Object(into), Value::Object(from)) = (&mut base, more) else { panic!("objects") };
    into.extend(from);
    base
}

fn worker(number: u64, alive: bool, core: Option<u64>) -> Value {
    json!({"worker": number, "alive": alive, "core": core, "generation": 9, "rx_packets": 100,
        "tx_packets": 101, "breaths": 102, "busy_breaths": 12, "busy_ns": 250_000_000,
        "breath_steps": vec![1; 12], "waiting": 2,
        "ledger": {"total": 10, "pool": 1, "rx_lent": 2, "tx_lent": 3, "held": 4}})
}

fn services() -> Value {
    let check = json!({"name": "page", "type": "http", "state": "down", "last": "refused",
        "took_ms": 1, "took_us": 1250, "ago_s": 1, "good": 0, "bad": 3, "next_ms": 10,
        "answers": 50, "failed": {"refused": 9}});
    let health = json!({"state": "down", "why": "refused", "for_s": 3, "paused": false,
        "held": false, "ups": 1, "downs": 2, "checks": [check]});
    let one = with(
        counts(40),
        json!({"address": "10.0.0.11", "port": 8080, "forward": "nat", "weight": 3,
            "state": "down", "health": health}),
    );
    let two = with(
        counts(50),
        json!({"address": "10.0.0.12", "port": 8080, "forward": "nat", "weight": 4,
            "state": "removed"}),
    );
    let three = with(
        counts(60),
        json!({"address": "fd00::11", "port": 0, "forward": "dr", "weight": 5, "state": "up"}),
    );
    let web = with(
        counts(30),
        json!({"name": "web", "protocol": "tcp", "address": "203.0.113.10", "port": 80,
            "key": "203.0.113.10:80/tcp", "scheduler": "wlc", "servers": [one, two],
            "standing": {"quorum": false, "waiting": false, "weight": 3, "needed": 4,
                "sorry": true}}),
    );
    let mail = with(
        counts(20),
        json!({"name": "a \"mail\" \\ service", "protocol": "mark", "mark": 10, "port": 0,
            "key": "mark 10 IPv6", "scheduler": "rr", "servers": [three]}),
    );
    json!([web, mail])
}

pub(crate) fn report() -> Report {
    let fill = |now: u64, limit: u64| json!({"now": now, "limit": limit});
    let report = json!({
        "version": "1.2.3", "generation": 9, "uptime_s": 5, "started_s": 1_700_000_000.5,
        "stopping": false, "withdrawn": ["2001:db8::10"],
        "managed": ["203.0.113.10", "2001:db8::10"],
        "reloads": {"count": {"success": 3, "failure": 1}, "last": "failure",
            "last_success_s": 1_700_000_100.0},
        "events": {"server": 8},
        "interfaces": [{"name": "eth0", "index": 2, "mac": "02:00:00:00:00:01", "mtu": 1500,
            "up": true, "queues": 2, "xdp_mode": "native", "zero_copy": true, "fallback": null,
            "taken": 21, "passed": 22, "oversize": 1, "no_socket": 2}],
        "services": services(),
        "workers": [worker(0, true, Some(2)), worker(1, false, None)],
        "totals": {"drops": {"no_route": 4}, "punts": {"alien": 5}, "answers": {"reset": 6},
            "moved_ports": 1, "opened": 2, "dropped_entries": 3, "stateless": 68, "bypassed": counts(0),
            "all": counts(67)},
        "tables": {"ipv4": {"connections": 11, "capacity": 12},
            "ipv6": {"connections": 1, "capacity": 2}, "half_open": fill(13, 14),
            "templates_ipv4": fill(1, 2), "templates_ipv6": fill(3, 4), "fragments": fill(5, 6),
            "services": fill(2, 7), "servers": fill(3, 8)},
        "rings": [{"interface": "eth0", "queue": 1, "worker": 0, "rx_dropped": 22,
            "rx_ring_full": 23, "fill_ring_empty": 24, "rx_invalid": 26, "tx_invalid": 25,
            "tx_ring_empty": 27}],
        "probes": {"done": 990, "failed": {"timeout": 7}, "in_flight": 3, "latest_us": 9000,
            "late_us": 1500, "late_sum_us": 1_500_000, "begun": 1000, "late_p99_us": 2500,
            "late": 1},
        "hooks": {"succeeded": 1, "failed": 2, "killed": 3, "collapsed": 4, "waiting": 5},
    });
    serde_json::from_value(report).expect("a report")
}
