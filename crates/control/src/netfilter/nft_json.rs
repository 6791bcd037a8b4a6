//! `nft -j list ruleset` (libnftables-json(5)): written out in nft's own language, which is
//! then read; so a rule is shown as an operator would write it.

use serde_json::Value;

use super::{ReadError, Ruleset, nft};

/// Reads the list.
pub(super) fn read(text: &str) -> Result<Ruleset, ReadError> {
    let list: Value = serde_json::from_str(text)?;
    let mut ruleset = Ruleset::default();
    for object in list["nftables"].as_array().ok_or(ReadError::Form)? {
        let table = |of: &Value| format!("{} {}", word(&of["family"]), word(&of["table"]));
        if let Some(chain) = object.get("chain") {
            let mut made = nft::chain_of(&table(chain), &word(&chain["name"]));
            let priority = chain["prio"].as_i64().unwrap_or(0);
            let hook = chain.get("hook").and_then(Value::as_str);
            made.hook = hook.map(|hook| (nft::hook_named(hook), priority as i32));
            ruleset.chains.push(made);
        } else if let Some(rule) = object.get("rule") {
            let (table, name) = (table(rule), word(&rule["chain"]));
            let text = rule["expr"].as_array().map(|all| sentence(all)).unwrap_or_default();
            let read = nft::rule(format!("handle {}", word(&rule["handle"])), &text);
            let chains = &mut ruleset.chains;
            if let Some(chain) = chains.iter_mut().find(|c| c.table == table && c.name == name) {
                chain.rules.push(read);
            }
        }
    }
    Ok(ruleset)
}

fn sentence(statements: &[Value]) -> String {
    let words: Vec<String> = statements.iter().map(statement).collect();
    words.join(" ")
}

fn statement(statement: &Value) -> String {
    let Some((name, body)) = statement.as_object().and_then(|object| object.iter().next()) else {
        return word(statement);
    };
    match name.as_str() {
        "match" => {
            let operator = match body["op"].as_str() {
                Some("==" | "in") | None => String::new(),
                Some(other) => format!("{other} "),
            };
            format!("{} {operator}{}", expression(&body["left"]), expression(&body["right"]))
        }
        "mangle" => format!("{} set {}", expression(&body["key"]), expression(&body["value"])),
        "counter" => "counter".to_owned(),
        "jump" | "goto" => format!("{name} {}", word(&body["target"])),
        "accept" | "drop" | "return" | "continue" | "reject" | "notrack" => name.clone(),
        // What libxtables made is not told in JSON.
        "xt" => format!("xt {} {}", word(&body["type"]), word(&body["name"])),
        _ => format!("{name} {body}"),
    }
}

fn expression(value: &Value) -> String {
    let Some((name, body)) = value.as_object().and_then(|object| object.iter().next()) else {
        return word(value);
    };
    match name.as_str() {
        "payload" => format!("{} {}", word(&body["protocol"]), word(&body["field"])),
        "meta" if ["iif", "iifname"].contains(&body["key"].as_str().unwrap_or_default()) => {
            word(&body["key"])
        }
        "meta" | "ct" => format!("{name} {}", word(&body["key"])),
        "prefix" => format!("{}/{}", word(&body["addr"]), word(&body["len"])),
        "range" => format!("{}-{}", word(&body[0]), word(&body[1])),
        "set" => {
            let elements = body.as_array().map(Vec::as_slice).unwrap_or_default();
            let elements: Vec<String> = elements.iter().map(expression).collect();
            format!("{{ {} }}", elements.join(", "))
        }
        "&" | "|" | "^" => format!("{} {name} {}", expression(&body[0]), expression(&body[1])),
        _ => format!("{name} {body}"),
    }
}

/// A string without its quotes; anything else as JSON.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
