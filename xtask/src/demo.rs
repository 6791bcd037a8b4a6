//! The demo: every forwarding mode, with real clients and servers, in under two minutes.
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use crate::failure::{Outcome, fail};
use crate::lab::{ALL, Director, Lab, Page, Topology};
use crate::{setup, shell};

/// What the demo is asked for.
#[derive(Args, Debug)]
pub struct Options {
    /// Only this mode: nat, fullnat, dr, dr-routed or tun
    #[arg(long)]
    mode: Option<String>,
    /// Leave it standing, and say how to play with it (needs --mode)
    #[arg(long, requires = "mode")]
    keep: bool,
    /// RX queues of every interface, and so workers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    queues: u32,
}

const PAGES: usize = 30;

/// Installs what it needs, builds, and shows one mode after the other.
///
/// # Errors
/// When something cannot be installed, built or started, or a transfer fails.
pub fn run(options: &Options) -> Outcome {
    let modes = match &options.mode {
        Some(name) => vec![Topology::named(name)?],
        None => ALL.iter().collect(),
    };
    setup::run()?;
    let binary = build()?;
    let started = Instant::now();
    for topology in &modes {
        show(topology, &binary, options)?;
    }
    println!("\n{} mode(s) shown in {:.0} s", modes.len(), started.elapsed().as_secs_f32());
    Ok(())
}

/// The release build, or what the environment's `XLVS` names.
fn build() -> Outcome<PathBuf> {
    if let Some(named) = std::env::var_os("XLVS") {
        return Ok(named.into());
    }
    println!("build: cargo build --release -p xlvs");
    shell::stream(shell::cargo().args(["build", "--quiet", "--release", "--package", "xlvs"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| shell::repository().join("target"), PathBuf::from);
    let binary = target.join("release/xlvs");
    if binary.is_file() { Ok(binary) } else { fail(format!("no {}", binary.display())) }
}

fn show(topology: &Topology, binary: &Path, options: &Options) -> Outcome {
    let file = shell::repository().join(format!("configs/{}.yaml", topology.name));
    headline(&format!("{}: {}", topology.name, in_words(topology.name)));
    println!("{}", drawing(topology.name));
    let lab = Lab::build(topology, options.queues)?;
    println!("  xlvs run configs/{}.yaml\n", topology.name);
    let director = Director::start_with_file(&lab, binary, &file)?;
    for vip in topology.vips {
        exercise(&lab, vip)
            .map_err(|failure| failure.during(&format!("{} {vip}", topology.name)))?;
    }
    println!("\n  xlvs list");
    for line in director.list(&[])?.lines() {
        println!("    {line}");
    }
    if options.keep {
        let socket = lab.file("xlvs.sock");
        print!("\n{}", how_to_play(&lab));
        println!("  {} list --socket {}", binary.display(), socket.display());
        return lab.keep();
    }
    director.stop()
}

fn exercise(lab: &Lab, vip: &str) -> Outcome {
    let client = lab.client();
    let pages = client.fetch(vip, PAGES)?;
    println!("  {vip:<16} {PAGES} pages      {}", who(&pages));
    let server = client.upload(vip)?;
    println!("  {:<16} 10 MB up      to {server}, every byte the same", "");
    client.download(vip)?;
    println!("  {:<16} 10 MB down    every byte the same", "");
    let answers = client.ask(vip, PAGES, 32, 64)?;
    println!("  {:<16} {PAGES} datagrams  {}", "", who(&answers));
    Ok(())
}

fn who(answers: &Page) -> String {
    let counts = answers.iter().map(|(server, count)| format!("{server} {count}"));
    counts.collect::<Vec<_>>().join(", ")
}

fn headline(text: &str) {
    println!("\n{text}\n{}", "=".repeat(text.len()));
}

fn in_words(mode: &str) -> &'static str {
    match mode {
        "nat" => "the servers' gateway is the director",
        "fullnat" => "servers in another network, which see the director's address",
        "dr" => "one NIC, everything in one subnet, servers answer directly",
        "dr-routed" => "the VIP routed to the director, private servers answer by the router",
        _ => "servers behind another router with an MTU of 1400, answers go straight back",
    }
}

fn drawing(mode: &str) -> &'static str {
    match mode {
        "nat" => "  client --- router --- eth0 director eth1 ===+=== server1..3\n",
        "fullnat" => "  client --- router --- eth0 director eth1 --- router2 ===+=== server1..3\n",
        "dr" => "  client ===+=== eth0 director\n            +=== server1..3, router\n",
        "dr-routed" => {
            "  client --- router --- eth0 director eth1 ===+=== server1..3\n                \\_____________________________+\n"
        }
        _ => {
            "  client --- router --- eth0 director eth1 --- router2 ===+=== server1..3\n                \\____________________________________/\n"
        }
    }
}

/// What one can do with a lab that stands.
pub fn how_to_play(lab: &Lab) -> String {
    let (run, [v4, v6]) = (lab.run(), lab.topology().vips);
    format!(
        "It stands as {run}. To play with it:
  ip netns exec {run}-client curl http://{v4}/who
  ip netns exec {run}-client curl 'http://[{v6}]/who'
  ip netns exec {run}-director tcpdump -ni eth0
  ip netns exec {run}-server1 tail -f {}
  cargo xtask lab destroy {run}
",
        lab.file("server1/access.log").display()
    )
}
