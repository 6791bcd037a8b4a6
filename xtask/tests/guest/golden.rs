//! The golden tables, as far as a kernel is asked: which frames go in, which come out.
use serde_json::Value;
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
