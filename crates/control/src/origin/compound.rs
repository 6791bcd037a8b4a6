//! Trees put together.

use crate::{
    fault::Fault,
    file::Spot,
    marked::{Entry, Marked, Node},
};

/// The value of a key at the top.
pub(super) fn value<'a>(tree: &'a Marked, key: &str) -> Option<&'a Marked> {
    let Node::Map(entries) = &tree.node else { return None };
    entries.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
}

/// Adds what an included file says.
pub(super) fn include(tree: &mut Marked, part: Marked, faults: &mut Vec<Fault>) {
    // A file of comments adds nothing; the first one's shape is for its reader to refuse.
    let (Node::Map(entries), false) = (&mut tree.node, part.is_null()) else { return };
    let Node::Map(added) = part.node else {
        let spot = Spot { place: part.place, path: String::new() };
        faults.push(
            spot.fault("no keys at the top", "write keys, as in the file that includes this"),
        );
        return;
    };
    for entry in added {
        match entry.key.as_str() {
            "version" => {}
            // Anchors' homes: what refers to them is in the same file.
            key if key.starts_with("x-") => {}
            "include" => faults.push(spot(&entry).fault(
                "an included file cannot include others",
                "list them all in the first file's include:",
            )),
            _ => add(entries, entry, faults),
        }
    }
}

fn add(entries: &mut Vec<Entry>, added: Entry, faults: &mut Vec<Fault>) {
    let Some(known) = entries.iter_mut().find(|entry| entry.key == added.key) else {
        entries.push(added);
        return;
    };
    match (&mut known.value.node, added.value.node) {
        (Node::List(items), Node::List(more)) => items.extend(more),
        (Node::Map(known), Node::Map(more)) => {
            for entry in more {
                match known.iter().find(|known| known.key == entry.key) {
                    Some(first) => faults.push(twice(&entry, &format!("{}.", added.key), first)),
                    None => known.push(entry),
                }
            }
        }
        (_, node) => {
            let entry = Entry { value: Marked { place: added.value.place, node }, ..added };
            faults.push(twice(&entry, "", known));
        }
    }
}

fn twice(entry: &Entry, above: &str, first: &Entry) -> Fault {
    let spot = Spot { place: entry.place, path: format!("{above}{}", entry.key) };
    let line = first.place.line;
    let sentence = format!("another file of this configuration says this too, on line {line}");
    spot.fault(sentence, "keep one of the two")
}

/// Takes `boxes:` away, and lays what it says of this box over the rest.
pub(super) fn for_box(
    tree: &mut Marked,
    name: Option<&str>,
    host: Option<&str>,
    faults: &mut Vec<Fault>,
) {
    let Node::Map(entries) = &mut tree.node else { return };
    let Some(at) = entries.iter().position(|entry| entry.key == "boxes") else {
        if let Some(name) = name {
            let spot = Spot { place: tree.place, path: String::new() };
            let sentence = format!("no boxes: for the box named {name}");
            faults.push(spot.fault(sentence, "write boxes:, or leave --box away"));
        }
        return;
    };
    let boxes = entries.remove(at);
    let here = spot(&boxes);
    let Node::Map(mut of) = boxes.value.node else {
        let remedy = "write boxes: {lb1: {workers: {cores: [2, 3]}}}";
        faults.push(here.fault("the names of boxes are expected here", remedy));
        return;
    };
    // As told, else by the host's name, with its domain or without.
    let short = host.map(|host| host.split('.').next().unwrap_or(host));
    let candidates = if name.is_some() { [name, None] } else { [host, short] };
    let found = candidates.into_iter().flatten().find_map(|wanted| {
        of.iter().position(|entry| entry.key == wanted).map(|at| of.swap_remove(at))
    });
    match found {
        Some(own) => lay_box(entries, own, faults),
        None => {
            let known: Vec<&str> = of.iter().map(|entry| entry.key.as_str()).collect();
            let who = name.or(host).unwrap_or("without a name");
            let sentence = format!("this box is {who}, and boxes: has {}", known.join(", "));
            faults.push(here.fault(sentence, "add it, or name one of them with --box"));
        }
    }
}

fn lay_box(entries: &mut Vec<Entry>, own: Entry, faults: &mut Vec<Fault>) {
    let here = Spot { place: own.place, path: format!("boxes.{}", own.key) };
    match own.value.node {
        Node::Map(over) => {
            for entry in over {
                match entry.key.as_str() {
                    "version" | "include" | "boxes" => {
                        let path = format!("{}.{}", here.path, entry.key);
                        let at = Spot { place: entry.place, path };
                        faults.push(at.fault("not for one box alone", "write it at the top"));
                    }
                    _ => lay(entries, entry),
                }
            }
        }
        _ if own.value.is_null() => {}
        _ => faults.push(here.fault(
            "keys are expected here",
            "write what is different on this box, as at the top of the file",
        )),
    }
}

/// A mapping goes over a mapping, key by key; everything else takes the other's place.
fn lay(entries: &mut Vec<Entry>, over: Entry) {
    match entries.iter_mut().find(|entry| entry.key == over.key) {
        None => entries.push(over),
        Some(known) => match (&mut known.value.node, over.value.node) {
            (Node::Map(known), Node::Map(over)) => {
                over.into_iter().for_each(|entry| lay(known, entry));
            }
            (_, node) => known.value = Marked { place: over.value.place, node },
        },
    }
}

fn spot(entry: &Entry) -> Spot {
    Spot { place: entry.place, path: entry.key.clone() }
}
