//! A real Prometheus scrapes a running xlvs: its numbers are those that others count, all that
//! `configs/` asks it is answered, and no counter ever goes back.
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::lab::{Config, Director, Lab, Namespace, Process};
use xtask::shell;

use crate::front::{Front, empty, place};
use crate::{FAMILIES, server, stage};

#[path = "../../../crates/control/tests/metrics/judges.rs"]
mod judges;

const LISTEN: &str = "127.0.0.1:9799";
const KEYS: &str = "metrics: {listen: [\"127.0.0.1:9799\"], node_ipvs: true}\n";
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0";

/// In the repository.
fn configs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs").join(name)
}

/// Debian's Prometheus on the director's host, asking every second.
struct Prometheus {
    host: Namespace,
    process: Process,
}

/// One element of an answer: its labels and its value.
type Sample = (Value, f64);

impl Prometheus {
    fn start(lab: &Lab) -> Self {
        let host = lab.director();
        let file = lab.file("prometheus.yml");
        let rules = configs("prometheus/alerts.yml").canonicalize().unwrap();
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs: [{{job_name: xlvs, static_configs: [{{targets: [\"{LISTEN}\"]}}]}}]\n",
            rules.display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = host.command("prometheus");
        command.arg(format!("--config.file={}", file.display()));
        command.arg(format!("--storage.tsdb.path={}", lab.file("prometheus").display()));
        command.args(["--web.listen-address=127.0.0.1:9090", "--log.level=warn"]);
        let process = host.start(&mut command, &lab.file("prometheus.log")).unwrap();
        let prometheus = Self { host, process };
        prometheus.until("it scrapes", || {
            prometheus.try_query("up{job=\"xlvs\"} == 1").is_some_and(|found| !found.is_empty())
        });
        prometheus
    }

    fn until(&self, what: &str, is: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !is() {
            assert!(Instant::now() < deadline, "not within 30 s: {what}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn get(&self, path: &str, query: &str) -> Option<Value> {
        let mut curl = self.host.command("curl");
        curl.args(["-sS", "--max-time", "10", "-G", "--data-urlencode", &format!("query={query}")]);
        let text = shell::output(curl.arg(format!("http://127.0.0.1:9090/api/v1/{path}"))).ok()?;
        serde_json::from_str(&text).ok()
    }

    fn try_query(&self, expression: &str) -> Option<Vec<Sample>> {
        let answer = self.get("query", expression)?;
        let elements = answer["data"]["result"].as_array()?.clone();
        let sample = |element: Value| {
            let value = element["value"][1].as_str()?.parse().ok()?;
            Some((element["metric"].clone(), value))
        };
        elements.into_iter().map(sample).collect()
    }

    /// What it answers now; an error is one of the expression.
    fn query(&self, expression: &str) -> Vec<Sample> {
        self.try_query(expression).unwrap_or_else(|| {
            panic!("{expression}: {:?}\n{}", self.get("query", expression), self.process.words())
        })
    }

    /// The one number of an expression.
    fn number(&self, expression: &str) -> Option<f64> {
        match &self.query(expression)[..] {
            [] => None,
            [(_, value)] => Some(*value),
            more => panic!("{expression}: {more:?}"),
        }
    }

    /// Every name that it has seen of a series.
    fn names(&self) -> Vec<String> {
        let answer = self.get("label/__name__/values", "").unwrap();
        let names = answer["data"].as_array().unwrap().iter();
        names.map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// Lets it scrape twice more.
    fn looks(&self) {
        let seen = || self.number("count_over_time(up[1h])").unwrap_or(0.0);
        let before = seen();
        self.until("two scrapes", || seen() >= before + 2.0);
    }
}

/// Packets, octets and handshakes of a VIP's web service, as the client's kernel counts them.
struct Outside<'lab> {
    client: Namespace,
    vips: [&'lab str; 2],
}

impl<'lab> Outside<'lab> {
    fn begin(lab: &'lab Lab) -> Self {
        let vips = lab.topology().vips;
        let rules = |chain: &str, way: &str, port: &str, what: &str| -> String {
            let each = vips.iter().zip(["ip", "ip6"]).zip(FAMILIES);
            let rule = |((vip, protocol), family)| {
                format!(
                    "{protocol} {way} {vip} tcp {port} 80 {what} counter name {chain}{family}\n"
                )
            };
            each.map(rule).collect()
        };
        let counters: String = ["sent", "got", "syn"]
            .iter()
            .flat_map(|name| FAMILIES.map(|family| format!("counter {name}{family} {{ }}\n")))
            .collect();
        let text = format!(
            "table inet outside {{ {counters}
                chain sent {{ type filter hook output priority 0\n{}{} }}
                chain got {{ type filter hook input priority 0\n{} }}
            }}",
            rules("sent", "daddr", "dport", ""),
            rules("syn", "daddr", "dport", "tcp flags & (syn | ack) == syn"),
            rules("got", "saddr", "sport", ""),
        );
        let file = lab.file("outside.nft");
        std::fs::write(&file, text).unwrap();
        let client = lab.client().host();
        client.run(&format!("nft -f {}", file.display())).unwrap();
        Self { client, vips }
    }

    /// Packets and octets.
    fn count(&self, counter: &str, family: usize) -> [f64; 2] {
        let name = format!("{counter}{}", FAMILIES[family]);
        let text = self.client.run(&format!("nft list counter inet outside {name}")).unwrap();
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
        let packets = words.nth(1).unwrap().parse().unwrap();
        [packets, words.nth(1).unwrap().parse().unwrap()]
    }
}

/// With checks of the web servers, and managed VIPs.
fn yaml(lab: &Lab) -> String {
    let text = Config { managed: true, ..Config::default() }.yaml(lab.topology());
    let text = text.replace("{name: web", "{checks: [page], name: web");
    format!("{text}{KEYS}checks: {{page: {{type: http, port: 80, path: /who, interval: 1s}}}}\n")
}

/// What the director answers over TCP.
fn scrape(lab: &Lab, accept: &str) -> String {
    let mut curl = lab.director().command("curl");
    curl.args(["-sS", "--fail", "--max-time", "10", "-H", &format!("Accept: {accept}")]);
    shell::output(curl.arg(format!("http://{LISTEN}/metrics"))).unwrap()
}

#[test]
fn prometheus_has_the_numbers_that_others_count() {
    let lab = stage("nat", 2);
    lab.withdraw_vips().unwrap();
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    let outside = Outside::begin(&lab);
    let prometheus = Prometheus::start(&lab);
    for vip in outside.vips {
        lab.client().fetch(vip, 60).unwrap();
    }
    for family in [0, 1] {
        let listen = place(outside.vips[family], 80);
        let told = |what: &str| {
            let series = format!("xlvs_service_{what}_total{{listen=\"{listen}/tcp\"}}");
            prometheus.number(&series).unwrap_or(-1.0)
        };
        let equal = || {
            let [[sent, sent_bytes], [got, got_bytes], [handshakes, _]] =
                ["sent", "got", "syn"].map(|counter| outside.count(counter, family));
            let counted = [sent, sent_bytes, got, got_bytes, handshakes];
            let names = [
                "incoming_packets",
                "incoming_bytes",
                "outgoing_packets",
                "outgoing_bytes",
                "connections",
            ];
            (counted, names.map(told))
        };
        prometheus.until(&format!("{listen}: {:?}", equal()), || {
            let (counted, told) = equal();
            counted == told
        });
        let ([sent, .., handshakes], _) = equal();
        assert_eq!(handshakes, 60.0);
        println!("{listen}: {sent} packets, {handshakes} connections, and so says Prometheus");
    }
    let sums = |counter| (0..2).map(|family| outside.count(counter, family)[0]).sum::<f64>();
    for (series, counter) in [
        ("node_ipvs_connections_total", "syn"),
        ("node_ipvs_incoming_packets_total", "sent"),
        ("node_ipvs_outgoing_packets_total", "got"),
        ("sum(xlvs_server_connections_total)", "syn"),
        ("xlvs_incoming_packets_total", "sent"),
    ] {
        assert_eq!(prometheus.number(series), Some(sums(counter)), "{series}");
    }
    for expression in NODE_EXPORTER {
        let found = prometheus.query(expression);
        assert!(!found.is_empty(), "{expression}: nothing");
    }
    lab.client().fetch(outside.vips[0], 30).unwrap();
    prometheus.looks();
    dashboard(&prometheus);
    alerts(&prometheus);
    judges::promtool(&scrape(&lab, "text/plain"));
    judges::promtool(&shell::output(&mut director.command(&["metrics"])).unwrap());
    judges::python(&scrape(&lab, OPENMETRICS), "prometheus_client.openmetrics.parser");
    reloads(&lab, &director, &prometheus);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A server, a service and node_exporter's families go and come back; then a broken file.
fn reloads(lab: &Lab, director: &Director<'_>, prometheus: &Prometheus) {
    let [vip, _] = lab.topology().vips;
    let whole = yaml(lab);
    let last = format!(", {{address: \"{}\"}}]", server(lab, 3, 0));
    let less: Vec<&str> = whole.lines().filter(|line| !line.contains("name: dns4")).collect();
    let less = less.join("\n").replace(&last, "]").replace("node_ipvs: true", "node_ipvs: false");
    assert!(less.len() + 100 < whole.len(), "{less}");
    for (text, code) in [(&less, 0), (&whole, 0), (&"services: 5\n".to_owned(), 1)] {
        let file = lab.file("other.yaml");
        std::fs::write(&file, text).unwrap();
        let mut apply = director.command(&["apply", &file.display().to_string()]);
        let said = apply.output().unwrap();
        assert_eq!(said.status.code(), Some(code), "{said:?}");
        prometheus.looks();
        lab.client().fetch(vip, 12).unwrap();
    }
    prometheus.looks();
    for (series, count) in [
        ("xlvs_config_reloads_total{result=\"success\"}", 2.0),
        ("xlvs_config_reloads_total{result=\"failure\"}", 1.0),
        ("xlvs_config_last_reload_successful", 0.0),
        ("sum(xlvs_service_connections_total)", 186.0),
        ("node_ipvs_connections_total", 186.0),
    ] {
        assert_eq!(prometheus.number(series), Some(count), "{series}");
    }
    nothing_went_back(prometheus);
}

/// What dashboards for node_exporter's IPVS collector ask.
const NODE_EXPORTER: [&str; 12] = [
    "rate(node_ipvs_connections_total[1m])",
    "irate(node_ipvs_incoming_packets_total{instance=~\".+\",job=\"xlvs\"}[5m])",
    "irate(node_ipvs_outgoing_packets_total[5m])",
    "rate(node_ipvs_incoming_bytes_total[1m]) * 8",
    "rate(node_ipvs_outgoing_bytes_total[1m]) * 8",
    "sum(node_ipvs_backend_connections_active) by (local_address, local_port, proto)",
    "sum(node_ipvs_backend_connections_inactive) by (remote_address, remote_port, proto)",
    "node_ipvs_backend_connections_active{proto=\"TCP\", local_port=\"80\", local_mark=\"\"}",
    "count(node_ipvs_backend_weight > 0) by (local_address, local_port, proto)",
    "sum by (local_address, local_port, local_mark, proto) (node_ipvs_backend_weight)",
    "node_ipvs_backend_weight{proto=\"UDP\", remote_port=\"53\"}",
    "topk(5, node_ipvs_backend_connections_active + node_ipvs_backend_connections_inactive)",
];

/// Everything that the dashboard asks is answered; and with numbers, unless it looks for what does
/// not happen here.
fn dashboard(prometheus: &Prometheus) {
    let text = std::fs::read_to_string(configs("grafana/xlvs.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(dashboard["uid"], "xlvs");
    let mut expressions = BTreeSet::new();
    collect(&dashboard, "expr", &mut expressions);
    assert!(expressions.len() > 50, "{}", expressions.len());
    for expression in &expressions {
        let asked = [
            ("$__rate_interval", "1m"),
            ("$__interval", "1m"),
            ("$instance", ".*"),
            ("$service", ".*"),
        ]
        .iter()
        .fold(expression.clone(), |text, (variable, value)| text.replace(variable, value));
        assert!(!asked.contains('$'), "{asked}");
        let found = prometheus.query(&asked);
        assert!(!found.is_empty() || asked.ends_with("> 0"), "{asked}: nothing");
        let numbers = found.iter().all(|(_, value)| value.is_finite());
        assert!(numbers || asked.contains("/ ignoring"), "{asked}: {found:?}");
    }
    for panel in dashboard["panels"].as_array().unwrap() {
        let of = &panel["datasource"]["uid"];
        assert!(panel["type"] == "row" || of == "${datasource}", "{panel}");
    }
}

/// The strings under a key, wherever it stands.
fn collect(value: &Value, key: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(text) if name == key => drop(into.insert(text.to_owned())),
                    _ => collect(field, key, into),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, into)),
        _ => {}
    }
}

/// Every rule has been evaluated, and none says that this director is not well.
fn alerts(prometheus: &Prometheus) {
    let answer = prometheus.get("rules", "").unwrap();
    let rules = answer["data"]["groups"][0]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), 20);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

/// No counter was ever less than it had been.
fn nothing_went_back(prometheus: &Prometheus) {
    let counts = |name: &String| {
        ["_total", "_sum", "_count", "_bucket"].iter().any(|end| name.ends_with(end))
    };
    let own = |name: &String| name.starts_with("xlvs_") || name.starts_with("node_ipvs_");
    let counters: Vec<String> = prometheus.names().into_iter().filter(counts).filter(own).collect();
    assert!(counters.len() > 40, "{counters:?}");
    for name in &counters {
        let back = prometheus.query(&format!("resets({name}[10m]) > 0"));
        assert!(back.is_empty(), "{name}: {back:?}");
    }
}

#[test]
fn no_counter_goes_back_whatever_ipvsadm_does() {
    let lab = stage("nat", 1);
    let front = Front::new(&lab);
    let director = Director::start_with_text(&lab, &empty(&lab, KEYS)).unwrap();
    let vips = lab.topology().vips;
    let add = || vips.iter().enumerate().for_each(|(family, vip)| front.add("-t", vip, 80, family));
    add();
    let prometheus = Prometheus::start(&lab);
    let service = place(vips[0], 80);
    let first = place(server(&lab, 1, 0), 80);
    let remove = format!("ipvsadm -d -t {service} -r {first}");
    let steps: [(&str, &[String]); 6] = [
        ("counts are set to zero", &["ipvsadm -Z".to_owned(), format!("ipvsadm -Z -t {service}")]),
        ("a server is removed", std::slice::from_ref(&remove)),
        ("it comes back", &[format!("ipvsadm -a -t {service} -r {first} -m")]),
        (
            "edits",
            &[
                format!("ipvsadm -e -t {service} -r {first} -m -w 5"),
                format!("ipvsadm -E -t {service} -s wlc"),
            ],
        ),
        ("a service is removed", &[format!("ipvsadm -D -t {service}")]),
        ("all are removed", &["ipvsadm -C".to_owned()]),
    ];
    let serve = || vips.iter().for_each(|vip| drop(lab.client().fetch(vip, 12).unwrap()));
    serve();
    for (what, lines) in steps {
        prometheus.looks();
        lines.iter().for_each(|line| drop(front.run(line)));
        prometheus.looks();
        match what {
            "a service is removed" => front.add("-t", vips[0], 80, 0),
            "all are removed" => add(),
            _ => {}
        }
        serve();
        println!("{what}: {:?} connections", prometheus.number("xlvs_connections_total"));
    }
    prometheus.looks();
    nothing_went_back(&prometheus);
    let all = 12.0 * 2.0 * 7.0;
    assert_eq!(prometheus.number("xlvs_connections_total"), Some(all));
    assert_eq!(prometheus.number("sum(xlvs_service_connections_total)"), Some(all));
    assert_eq!(prometheus.number("sum(xlvs_server_connections_total)"), Some(all));
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}
