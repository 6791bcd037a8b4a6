//! Configurations of several files, and for one box of several.

use std::{fs, path::PathBuf};

use control::{
    model::Model,
    origin::{Origin, Text, understood},
};

const HEAD: &str = "version: 1\ninterfaces: [eth0]\n";

/// The files, in a directory of their own, which goes with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let place = std::env::temp_dir().join(format!("xlvs-origin-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        for (path, text) in files {
            let path = place.join(path);
            fs::create_dir_all(path.parent().expect("a directory")).expect("made");
            fs::write(path, text).expect("written");
        }
        Self(place)
    }

    fn load(&self, name: Option<&str>) -> Result<Model, String> {
        let origin = Origin { path: self.0.join("xlvs.yaml"), name: name.map(str::to_owned) };
        let place = format!("{}/", self.0.display());
        origin.load(None).map_err(|faults| faults.to_string().replace(&place, ""))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn service(name: &str, port: u16) -> String {
    format!(
        "services:\n  - {{name: {name}, listen: 203.0.113.10:{port}/tcp, forward: dr, pool: web}}\n"
    )
}

#[test]
fn included_files_continue_lists_and_mappings_in_the_order_of_their_names() {
    let first = format!("{HEAD}include: [\"conf.d/*.yaml\", more.yaml]\nservices: []\n");
    let pool = "pools: {web: [{address: 10.0.0.1}]}\n".to_owned() + &service("b", 81);
    let files = [
        ("xlvs.yaml", first.as_str()),
        ("conf.d/20.yaml", &service("c", 82)),
        ("conf.d/10.yaml", &pool),
        ("conf.d/30.yaml", "# nothing yet\n"),
        ("conf.d/ignored.txt", "}"),
        ("more.yaml", &service("a", 80)),
    ];
    let scratch = Scratch::new("order", &files);
    let model = scratch.load(None).unwrap_or_else(|faults| panic!("{faults}"));
    let names: Vec<&str> = model.services.iter().map(|service| service.name.as_str()).collect();
    assert_eq!(names, ["b", "c", "a"]);
}

#[test]
fn faults_name_the_file_that_has_them() {
    let main =
        format!("{HEAD}include: conf.d/*.yaml\nservices: []\nchecks: {{tcp: {{type: tcp}}}}\n");
    let cases: [(&str, &str, &str); 7] = [
        (
            "services:\n  - {name: a, listen: 203.0.113.10:80/tcp, forward: dx, servers: []}\n",
            "conf.d/a.yaml:2:53: services[0].forward: \"dx\": not a word that is known here; write nat, \
             fullnat, dr or tun",
            "wrong value",
        ),
        (
            "checks:\n  tcp: {type: tcp}\n",
            "conf.d/a.yaml:2:3: checks.tcp: another file of this configuration says this too, on line 5; \
             keep one of the two",
            "twice in a mapping",
        ),
        (
            "interfaces: eth1\n",
            "conf.d/a.yaml:1:1: interfaces: another file of this configuration says this too, on line 2; \
             keep one of the two",
            "twice",
        ),
        (
            "include: b.yaml\n",
            "conf.d/a.yaml:1:1: include: an included file cannot include others; list them all in the \
             first file's include:",
            "nested",
        ),
        (
            "[1]\n",
            "conf.d/a.yaml:1:1: no keys at the top; write keys, as in the file that includes this",
            "a list",
        ),
        (
            "services: [\n",
            "conf.d/a.yaml:2:1: not YAML: while parsing a node, did not find expected node content; look \
             at this line and the one before it for indentation, quotes and brackets",
            "no YAML",
        ),
        (
            "sevrices: []\n",
            "conf.d/a.yaml:1:1: sevrices: unknown key; did you mean services?",
            "unknown",
        ),
    ];
    for (text, expected, why) in cases {
        let scratch =
            Scratch::new("faults", &[("xlvs.yaml", main.as_str()), ("conf.d/a.yaml", text)]);
        assert_eq!(scratch.load(None).expect_err(why), expected, "{why}");
    }
    let missing = format!("{HEAD}include: gone.yaml\nservices: []\n");
    let told = Scratch::new("missing", &[("xlvs.yaml", &missing)]).load(None).expect_err("missing");
    assert!(
        told.starts_with("xlvs.yaml:3:10: include: gone.yaml: cannot be read: No such file"),
        "{told}"
    );
}

#[test]
fn a_box_gets_what_is_different_there() {
    let text = format!(
        "{HEAD}workers: {{cores: [0], idle: poll}}\nservices: []\nboxes:\n  lb1: {{workers: {{cores: \
         [2, 3]}}, interfaces: [eth1]}}\n  lb2:\n  lb3: {{include: x}}\n"
    );
    let load = |name: Option<&str>| {
        let text = Text { path: "x.yaml".into(), text: text.clone() };
        understood(&[text], name, None).map_err(|faults| faults.to_string())
    };
    let one = load(Some("lb1")).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(one.workers.cores, Some(vec![2, 3]));
    assert_eq!(one.workers.idle, control::model::Idle::Poll, "mappings are laid over each other");
    assert_eq!(one.interfaces[0].name, "eth1");
    let other = load(Some("lb2")).unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(other.workers.cores, Some(vec![0]));
    assert_eq!(
        load(Some("lb3")).expect_err("not for one box"),
        "x.yaml:8:9: boxes.lb3.include: not for one box alone; write it at the top"
    );
    assert_eq!(
        load(Some("lb4")).expect_err("unknown"),
        "x.yaml:5:1: boxes: this box is lb4, and boxes: has lb1, lb2, lb3; add it, or name one of them \
         with --box"
    );
}

#[test]
fn what_is_sent_is_what_would_be_read() {
    let first = format!("{HEAD}include: conf.d/*.yaml\nservices: []\npools: {{web: []}}\n");
    let files = [("xlvs.yaml", first.as_str()), ("conf.d/a.yaml", &service("a", 80))];
    let scratch = Scratch::new("sent", &files);
    let texts = Origin::new(scratch.0.join("xlvs.yaml")).texts().expect("texts");
    assert_eq!(texts.len(), 2);
    let sent = understood(&texts, None, None).map_err(|faults| faults.to_string());
    assert_eq!(sent, scratch.load(None));
}
