//! What the script may touch, before and after.
use xtask::guest::Guest;

/// Everything that the script may touch, line by line.
pub(super) struct Settings {
    devices: Vec<String>,
    lines: Vec<String>,
}

impl Settings {
    pub(super) fn of(guest: &mut Guest) -> Self {
        let mut lines = |command: &str| -> Vec<String> {
            guest.run(command).unwrap().lines().map(str::to_owned).collect()
        };
        let devices = lines("ls -1 /sys/class/net");
        let lines = lines(
            "ip -o address; ip -4 route show table all; ip -6 route show table all; ip -o -d link; ip fou show 2>/dev/null
            grep -rs . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf || true",
        );
        Self { devices, lines }
    }

    /// The lines that are gone and those that are new. A device that came with a module
    /// meanwhile may stay, with what belongs to it, but not up; one of the script's may not.
    pub(super) fn changes_since(&self, before: &Self) -> Vec<String> {
        let came = |name: &&String| !before.devices.contains(name) && !name.starts_with("xlvs");
        let newcomers: Vec<&String> = self.devices.iter().filter(came).collect();
        let is_harmless = |line: &String| {
            newcomers.iter().any(|name| line.contains(name.as_str())) && !line.contains(",UP")
        };
        let new = self.lines.iter().filter(|line| !before.lines.contains(line));
        let new = new.filter(|line| !is_harmless(line)).map(|line| format!("new: {line}"));
        let gone = before.lines.iter().filter(|line| !self.lines.contains(line));
        gone.map(|line| format!("gone: {line}")).chain(new).collect()
    }
}
