//! Where and of what the figures are: CPU, kernel, commit, day. No host names.

use std::{fs, process::Command};

use serde::{Deserialize, Serialize};

/// The facts that belong next to every figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// A short name for the runs' directory.
    pub name: String,
    /// The CPU as the kernel names it.
    pub cpu: String,
    /// How many the machine has.
    pub cpus: usize,
    /// `uname -r`.
    pub kernel: String,
    /// What the kernel does with huge pages when asked for them.
    pub transparent_huge_pages: String,
    /// Pages of the hugetlb pool (`vm.nr_hugepages`); runs of old do not say.
    #[serde(default)]
    pub huge_pages: Option<u32>,
    /// The commit; with `+` if the tree differs from it.
    pub commit: String,
    /// The day, UTC.
    pub date: String,
    /// Processes that were running or waiting to run at the beginning.
    pub load: String,
    /// How the bench was called.
    pub command: String,
}

impl Machine {
    /// Looks around.
    pub fn here() -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let field = |name: &str| {
            let line =
                cpuinfo.lines().find(|line| line.split(':').next().unwrap_or("").trim() == name);
            line.and_then(|line| line.split(':').nth(1)).unwrap_or("").trim().to_owned()
        };
        let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
        let cpu = format!(
            "{} (family {}, model {}, L2 {}, L3 {})",
            field("model name"),
            field("cpu family"),
            field("model"),
            cache(2),
            cache(3)
        );
        let flags = field("flags");
        let kind = if flags.contains("hypervisor") { "vcpu-vm" } else { "cpu" };
        let code = code_name(&field("cpu family"), &field("model"), &flags, &field("model name"));
        Self {
            name: format!("{cpus}{kind}-{code}"),
            cpu,
            cpus,
            kernel: read("/proc/sys/kernel/osrelease"),
            transparent_huge_pages: read("/sys/kernel/mm/transparent_hugepage/enabled"),
            huge_pages: read("/proc/sys/vm/nr_hugepages").parse().ok(),
            commit: commit(),
            date: said("date", &["-u", "+%F"]),
            load: read("/proc/loadavg"),
            command: command(),
        }
    }
}

/// The name by which a generation is known; else the model name as one word. A hypervisor may
/// give a model number that is not the processor's: what the processor can do tells more.
fn code_name(family: &str, model: &str, flags: &str, name: &str) -> String {
    let has = |flag: &str| flags.split(' ').any(|word| word == flag);
    match (family, model) {
        ("6", "173" | "174") => "granite-rapids".into(),
        ("6", "143" | "207") => "sapphire-rapids".into(),
        // Nothing older has AMX, and which of the two it is cannot be seen.
        ("6", _) if has("amx_tile") => "xeon-with-amx".into(),
        ("25", "17") => "epyc-genoa".into(),
        ("25", "1") => "epyc-milan".into(),
        ("6", "106") => "ice-lake".into(),
        ("6", "167") => "rocket-lake".into(),
        _ => {
            let words = name.split(|c: char| !c.is_ascii_alphanumeric());
            words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-").to_lowercase()
        }
    }
}

/// The size of a cache of the first CPU, as the kernel writes it.
fn cache(level: u8) -> String {
    let index = (0..5).map(|index| format!("/sys/devices/system/cpu/cpu0/cache/index{index}"));
    let mut of_level = index.filter(|place| read(&format!("{place}/level")) == level.to_string());
    of_level.next().map(|place| read(&format!("{place}/size"))).unwrap_or_default()
}

/// The words of the command line; places below this directory are named from here.
fn command() -> String {
    let here = std::env::current_dir().map(|place| format!("{}/", place.display()));
    let here = here.unwrap_or_default();
    let words = std::env::args().skip(1);
    let words = words.map(|word| word.strip_prefix(&here).map_or(word.clone(), str::to_owned));
    words.collect::<Vec<_>>().join(" ")
}

fn commit() -> String {
    // What the parts before this one wrote changes nothing that is measured.
    let but_runs =
        ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)bench/runs"];
    let changed = !said("git", &but_runs).is_empty();
    said("git", &["rev-parse", "--short=12", "HEAD"]) + if changed { "+" } else { "" }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// What a command says; nothing if it cannot.
fn said(command: &str, words: &[&str]) -> String {
    let output = Command::new(command).args(words).output();
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}

/// Binds this thread to a CPU, counted from 0.
pub fn pin(cpu: usize) {
    // Not looked up in the list of CPUs: a thread that was bound before sees one only.
    if !core_affinity::set_for_current(core_affinity::CoreId { id: cpu }) {
        eprintln!("bench: not pinned to CPU {cpu}, expect more noise");
    }
}
