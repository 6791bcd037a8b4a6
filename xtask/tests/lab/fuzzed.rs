//! A fuzzer that knows the API's OpenAPI document asks the running director whatever fits it, and
//! what does not, with traffic beside it.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;
use xtask::lab::{Director, Lab};
use xtask::setup::fuzzer;

use crate::load::{Load, add_sources};
use crate::{server, stage};

const LISTEN: &str = "127.0.0.1:9443";

/// Seconds of each run, and what the fuzzer's choices come from.
const TIME: &str = "30";
const SEED: &str = "5";

/// Requests a second of the traffic beside it.
const RATE: u32 = 100;

/// What a request may be answered with: as the document says, and never the director's fault.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
                      response_schema_conformance,unsupported_method,ignored_auth";

/// Streams that go on until their reader has enough: the fuzzer waits for an answer's end.
const SETTINGS: &str = "
[[operations]]
include-operation-id = \"events\"
parameters = { follow = false }
";

fn yaml(lab: &Lab, tokens: &str) -> String {
    let interfaces = lab.topology().interfaces.join(", ");
    let vip = lab.topology().vips[0];
    let servers =
        [1, 2, 3].map(|number| format!("{{address: {}}}", server(lab, number, 0))).join(", ");
    format!(
        "version: 1\n\
         interfaces: [{interfaces}]\n\
         api: {{listen: [\"{LISTEN}\"], tokens: {tokens}}}\n\
         services:\n  \
         - {{name: web, listen: \"{vip}:80/tcp\", forward: nat, servers: [{servers}]}}\n"
    )
}

/// A director that is asked, and by whom.
struct Fuzzed<'lab> {
    lab: &'lab Lab,
    director: Director<'lab>,
    tokens: PathBuf,
}

impl<'lab> Fuzzed<'lab> {
    fn start(lab: &'lab Lab) -> Self {
        let tokens = lab.file("tokens");
        fs::write(&tokens, "").unwrap();
        fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
        let text = yaml(lab, &tokens.to_string_lossy());
        let director = Director::start_with_text(lab, &text).unwrap();
        Self { lab, director, tokens }
    }

    fn xlvs(&self, words: &[&str]) -> Output {
        let mut command = self.director.command(words);
        command.output().unwrap()
    }

    /// A new token of this role.
    fn token(&self, role: &str) -> String {
        let binary = xtask::lab::debug_binary().unwrap();
        let mut add = Command::new(binary);
        add.args(["token", "add", role, "--role", role, "--file"]).arg(&self.tokens);
        let token = xtask::shell::output(&mut add).unwrap();
        token.trim().to_owned()
    }

    /// The fuzzer with a token of this role and some operations left out; what it says of it.
    fn fuzz(&self, role: &str, without: &[&str]) -> String {
        let settings = self.lab.file("schemathesis.toml");
        fs::write(&settings, SETTINGS).unwrap();
        let host = self.lab.director();
        let mut fuzzer = host.command(&fuzzer::program().unwrap().to_string_lossy());
        fuzzer.env("NO_COLOR", "1").env("HOME", self.lab.file("")).current_dir(self.lab.file(""));
        fuzzer.arg("--config-file").arg(&settings).args(["run", "--checks", CHECKS]);
        fuzzer.args(["--max-time", TIME, "--seed", SEED, "--no-shrink", "--continue-on-failure"]);
        fuzzer.args(["--request-timeout", "20", "--warnings", "off"]);
        fuzzer.args(without.iter().flat_map(|id| ["--exclude-operation-id", id]));
        fuzzer.arg("--header").arg(format!("Authorization: Bearer {}", self.token(role)));
        fuzzer.arg(format!("http://{LISTEN}/v1/openapi.json"));
        let said = fuzzer.output().unwrap();
        let words = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success(), "{words}{}", String::from_utf8_lossy(&said.stderr));
        words
    }

    /// The director is well and serves.
    fn is_well(&self) {
        let status = self.xlvs(&["status", "--json"]);
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stdout));
        let report: Value = self.director.json().unwrap();
        assert!(report["workers"].as_array().unwrap().iter().all(|worker| worker["alive"] == true));
    }
}

#[test]
fn an_operator_who_asks_anything_disturbs_no_traffic() {
    let lab = stage("nat", 2);
    add_sources(&lab);
    let fuzzed = Fuzzed::start(&lab);
    let vip = lab.topology().vips[0];
    let load = Load::start(&lab, vip, 80, RATE);
    // Ending connections is what an operator may do; streams have no end to wait for.
    println!("{}", fuzzed.fuzz("operator", &["kill_connections", "capture"]));
    let requests = load.finish();
    let failed: Vec<_> = requests.iter().filter(|request| request.failed()).collect();
    println!("{} requests, {} of them failed", requests.len(), failed.len());
    assert!(failed.is_empty(), "{failed:?}");
    fuzzed.is_well();
    fuzzed.director.settled_ledgers().unwrap();
    fuzzed.director.stop().unwrap();
}

#[test]
fn an_admin_who_asks_anything_gets_an_answer_and_the_file_brings_all_back() {
    let lab = stage("nat", 2);
    let fuzzed = Fuzzed::start(&lab);
    println!("{}", fuzzed.fuzz("admin", &["capture"]));
    let applied = fuzzed.xlvs(&["apply", "--prune"]);
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
    lab.client().fetch(lab.topology().vips[0], 6).unwrap();
    fuzzed.is_well();
    fuzzed.director.settled_ledgers().unwrap();
    fuzzed.director.stop().unwrap();
}
