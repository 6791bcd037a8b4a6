//! The golden tables, as far as a kernel is asked: which frames go in, which come out.
use serde_json::Value;
use xtask::guest::Nic;
use xtask::shell;

/// A frame and the port on which it goes in or comes out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) port: usize,
    pub(crate) octets: Vec<u8>,
}

/// What goes in, and what comes out for it.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) arrives: Frame,
    pub(crate) leaves: Vec<Frame>,
}

/// The steps of a case of `tests/golden/<table>.json`.
pub(crate) fn case(table: &str, name: &str) -> Vec<Step> {
    let path = shell::repository().join(format!("tests/golden/{table}.json"));
    let all: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let case = all.as_array().unwrap().iter().find(|case| case["name"] == name);
    let case = case.unwrap_or_else(|| panic!("no case {name}"));
    case["steps"].as_array().unwrap().iter().map(step).collect()
}

fn step(step: &Value) -> Step {
    let leaves = step["out"].as_array().into_iter().flatten();
    Step {
        arrives: frame(step, "in"),
        leaves: leaves.map(|leaving| frame(leaving, "frame")).collect(),
    }
}

fn frame(value: &Value, octets: &str) -> Frame {
    let port = usize::try_from(value["port"].as_u64().unwrap()).unwrap();
    let text = value[octets].as_str().unwrap();
    let octet = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    Frame { port, octets: (0..text.len()).step_by(2).map(octet).collect() }
}

/// The golden box's interfaces, in order.
pub(crate) fn nics() -> Vec<Nic> {
    let interfaces = topology()["interfaces"].clone();
    let nic = |interface| Nic::new(text(interface, "mac"));
    interfaces.as_array().unwrap().iter().map(nic).collect()
}

/// Shell commands that make a guest the golden box.
pub(crate) fn box_commands() -> String {
    let topology = topology();
    let list = |key: &str| topology[key].as_array().unwrap().clone();
    let interfaces = list("interfaces");
    let device = |value: &Value| {
        let port = usize::try_from(value["port"].as_u64().unwrap()).unwrap();
        text(&interfaces[port], "name")
    };
    let mut commands = vec!["sysctl -q -w net.ipv4.ip_forward=1".to_owned()];
    let mut own = Vec::new();
    for interface in &interfaces {
        let name = text(interface, "name");
        commands.push(format!("ip link set {name} addrgenmode none up"));
        commands
            .push(format!("until grep -q up /sys/class/net/{name}/operstate; do sleep 0.1; done"));
        for address in interface["addresses"].as_array().unwrap() {
            let address = address.as_str().unwrap();
            own.push(address.split('/').next().unwrap_or_default().to_owned());
            let nodad = if address.contains(':') { "nodad" } else { "" };
            commands.push(format!("ip address replace {address} dev {name} {nodad}"));
        }
    }
    for address in list("local").iter().filter_map(Value::as_str) {
        if !own.iter().any(|known| known == address) {
            commands.push(format!("ip address replace {address} dev lo"));
        }
    }
    for neighbour in list("neighbours") {
        let (address, mac) = (text(&neighbour, "address"), text(&neighbour, "mac"));
        let device = device(&neighbour);
        commands
            .push(format!("ip neigh replace {address} lladdr {mac} dev {device} nud permanent"));
    }
    for route in list("routes") {
        if let Some(gateway) = route["via"].as_str() {
            let (to, device) = (text(&route, "to"), device(&route));
            commands.push(format!("ip route replace {to} via {gateway} dev {device}"));
        }
    }
    commands.join("\n")
}

fn topology() -> Value {
    let path = shell::repository().join("tests/golden/topology.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap().to_owned()
}
