//! What the daemon tells of itself, and what the kernel tells of it.

use std::{fs, path::Path, time::Duration};

use control::api::{fetch_within, follow};

use super::{archive::Archive, program};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked, and where it goes.
const ANSWERS: [(&str, &str); 5] = [
    ("daemon/status.json", "/v1/status"),
    ("daemon/report.json", "/v1/report"),
    ("daemon/stats.json", "/v1/stats"),
    ("daemon/deny.json", "/v1/deny"),
    ("daemon/metrics.txt", "/metrics"),
];

/// Properties of the unit; not its environment, which may have secrets.
const PROPERTIES: &str = "--property=ActiveState,SubState,Result,ExecMainStatus,ExecMainStartTimestamp,NRestarts,MemoryCurrent,WatchdogUSec,LimitMEMLOCK,LimitNOFILE,User,StatusText,FragmentPath,DropInPaths";

pub(super) fn collect(archive: &mut Archive, socket: &Path) {
    for (part, path) in ANSWERS {
        let answer = fetch_within(socket, path, PATIENCE);
        let text = answer.map(|octets| String::from_utf8_lossy(&octets).into_owned());
        archive.add(part, text.map_err(|error| error.to_string()));
    }
    let mut events = String::new();
    let told = follow(socket, "/v1/events?after=0", &mut |line: &str| {
        events.push_str(line);
        events.push('\n');
        true
    });
    archive.add("daemon/events.jsonl", told.map(|()| events).map_err(|error| error.to_string()));
    for (process, name) in processes() {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}"));
        let limits = read("limits").map_err(|error| error.to_string());
        archive.add(&format!("daemon/{name}-{process}-limits.txt"), limits);
        archive.add(&format!("daemon/{name}-{process}-threads.txt"), threads(process));
    }
    for (part, words) in [
        ("daemon/unit.txt", vec!["systemctl", "show", "--no-pager", PROPERTIES, "xlvs.service"]),
        (
            "log/xlvs.txt",
            vec![
                "journalctl",
                "--no-pager",
                "--output=short-iso",
                "--lines=2000",
                "--unit=xlvs.service",
            ],
        ),
        (
            "log/kernel.txt",
            vec!["journalctl", "--no-pager", "--output=short-iso", "--lines=500", "--dmesg"],
        ),
    ] {
        archive.add(part, program::run(&words));
    }
}

/// Every xlvs that runs, but this one.
fn processes() -> Vec<(u32, String)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_one = |number: &u32| {
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        name.trim() == "xlvs" && *number != std::process::id()
    };
    numbers.filter(is_one).map(|number| (number, "xlvs".to_owned())).collect()
}

/// Name, state, cores, capabilities and switches of each thread.
fn threads(process: u32) -> Result<String, String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).map_err(|error| error.to_string())?;
    let mut text = String::new();
    for task in tasks.flatten() {
        // One that has ended meanwhile.
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        let wanted = [
            "Name",
            "State",
            "Pid",
            "Cpus_allowed_list",
            "CapEff",
            "CapBnd",
            "VmRSS",
            "voluntary",
            "nonvoluntary",
        ];
        let lines = status.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word)));
        text.push_str(&lines.collect::<Vec<_>>().join("  "));
        text.push('\n');
    }
    Ok(text)
}
