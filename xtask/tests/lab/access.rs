//! Who may open connections: `access:` of the box and of services, asked with a real curl from
//! three sources.
use std::time::Duration;

use xtask::lab::{Director, Lab, Namespace};

use crate::front::place;
use crate::{CLIENT, FAMILIES, VISITOR, server, stage};

/// A second address of the client, in the network of its first one: the box denies it.
const NEIGHBOUR: [&str; 2] = ["192.0.2.20", "2001:db8:1::20"];
/// The client's networks.
const HOME: &str = "192.0.2.0/24, \"2001:db8:1::/64\"";

/// Services by their ports, and what each says of access.
const ANYBODY: u16 = 80;
const HOME_ONLY: u16 = 8081;
const NOT_HOME: u16 = 8082;
const FEW: u16 = 8083;
/// New connections a second from one source, and as many at once.
const RATE: usize = 5;

/// The drops that `access:` has.
const REASONS: [&str; 3] = ["source_denied", "source_not_allowed", "source_rate"];

fn yaml(lab: &Lab) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let [v4, v6] = NEIGHBOUR;
    let mut text = format!(
        "version: 1\ninterfaces: [{interfaces}]\naccess: {{deny: [{v4}/32, \"{v6}/128\"]}}\nservices:\n"
    );
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        for (port, access) in [
            (ANYBODY, String::new()),
            (HOME_ONLY, format!("access: {{allow: [{HOME}]}}, ")),
            (NOT_HOME, format!("access: {{deny: [{HOME}]}}, ")),
            (FEW, format!("access: {{new_connections: {RATE}}}, ")),
        ] {
            let servers = [1, 2, 3].map(|number| {
                format!("{{address: \"{}\"}}", place(server(lab, number, family), 80))
            });
            text += &format!(
                "  - {{name: port-{port}-{family}, listen: \"{}/tcp\", {access}forward: nat, \
                 scheduler: rr, servers: [{}]}}\n",
                place(vip, port),
                servers.join(", ")
            );
        }
    }
    text
}

/// How many of that many connections at once were served, from one of the host's addresses. Who
/// is not gives up before its SYN is sent again, after a second.
fn served(host: &Namespace, from: &str, to: &str, times: usize) -> usize {
    let mut curl = host.command("curl");
    curl.args(["-s", "--max-time", "0.8", "--interface", from, "-H", "Connection: close"]);
    curl.args(["--parallel", "--parallel-immediate", "-w", "%{http_code}\\n", "-o", "/dev/null"]);
    let output = curl.arg(format!("http://{to}/who?[1-{times}]")).output().unwrap();
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(words.lines().count(), times, "{from} to {to}: {words}");
    assert!(words.lines().all(|code| ["200", "000"].contains(&code)), "{from} to {to}: {words}");
    words.lines().filter(|code| *code == "200").count()
}

fn drops(director: &Director<'_>) -> [u64; 3] {
    REASONS.map(|reason| director.drops(reason).unwrap())
}

#[test]
fn the_box_and_its_services_say_who_may_connect() {
    let lab = stage("nat", 2);
    let director = Director::start_with_text(&lab, &yaml(&lab)).unwrap();
    let [v4, v6] = NEIGHBOUR;
    let second =
        [format!("address add {v4}/24 dev eth0"), format!("address add {v6}/64 dev eth0 nodad")];
    lab.host("client").batch(&second).unwrap();
    let (denied, stranger) = (Some(0), Some(1));
    for (host, sources, port, refused) in [
        ("client", CLIENT, ANYBODY, None),
        ("visitor", VISITOR, ANYBODY, None),
        ("client", NEIGHBOUR, ANYBODY, denied),
        ("client", CLIENT, HOME_ONLY, None),
        ("visitor", VISITOR, HOME_ONLY, stranger),
        // What the box denies no service allows.
        ("client", NEIGHBOUR, HOME_ONLY, denied),
        ("client", CLIENT, NOT_HOME, denied),
        ("visitor", VISITOR, NOT_HOME, None),
    ] {
        for (family, vip) in lab.topology().vips.into_iter().enumerate() {
            let mut expected = drops(&director);
            let times = 7;
            let found = served(&lab.host(host), sources[family], &place(vip, port), times);
            let case = format!("{} from {} to port {port}", FAMILIES[family], sources[family]);
            assert_eq!(found, if refused.is_some() { 0 } else { times }, "{case}");
            if let Some(reason) = refused {
                expected[reason] += times as u64;
            }
            assert_eq!(drops(&director), expected, "{case}: {REASONS:?}");
        }
    }
    limited(&lab, &director);
    director.settled_ledgers().unwrap();
    director.stop().unwrap();
}

/// A source opens as many as it may at once, one more each fifth of a second, and its excess costs
/// others nothing.
fn limited(lab: &Lab, director: &Director<'_>) {
    for (family, vip) in lab.topology().vips.into_iter().enumerate() {
        let (visitor, client) = (lab.host("visitor"), lab.host("client"));
        let few = place(vip, FEW);
        let mut expected = drops(director);
        let burst = served(&visitor, VISITOR[family], &few, 40);
        assert!((RATE..=2 * RATE).contains(&burst), "{}: {burst} of 40", FAMILIES[family]);
        expected[2] += 40 - burst as u64;
        assert_eq!(drops(director), expected, "{}: {REASONS:?}", FAMILIES[family]);
        assert_eq!(served(&client, CLIENT[family], &few, RATE), RATE);
        assert_eq!(served(&visitor, VISITOR[family], &place(vip, ANYBODY), 20), 20);
        std::thread::sleep(Duration::from_millis(1100));
        assert_eq!(served(&visitor, VISITOR[family], &few, RATE), RATE, "after a second");
        assert_eq!(drops(director), expected, "{}: {REASONS:?}", FAMILIES[family]);
    }
}
