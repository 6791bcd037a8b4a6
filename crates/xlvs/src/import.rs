//! `xlvs import`.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use ::import::{Imported, Settings, ipvsadm, keepalived, ldirectord};
use control::netfilter;

use crate::{
    command::{Around, From},
    failure,
    ipvsadm::System,
};

/// Prints what a file of another program is in xlvs's words. What has no equal is a failure: the
/// rest of it may do something else without it.
pub(crate) fn import(from: From) -> ExitCode {
    let done = match from {
        From::Iptables { file } => iptables(file.as_deref()),
        From::Ipvsadm { file, around } => rules(file.as_deref(), &around),
        From::Ldirectord { file, around } => ldirectord(&file, &around),
        From::Keepalived { file, vrrp_out, config_id, around } => {
            keepalived(&file, vrrp_out.as_deref(), config_id, &around)
        }
    };
    done.unwrap_or_else(|error| failure(&error))
}

/// `marks:` entries for the MARK rules of a save.
fn iptables(file: Option<&Path>) -> Result<ExitCode, String> {
    let (name, text) = read_or_stdin(file)?;
    let ruleset = netfilter::read(&text).map_err(|error| format!("{name}: {error}"))?;
    let imported = netfilter::import::import(&ruleset);
    let printed = crate::print(&mut io::stdout(), &imported.yaml().trim_end());
    Ok(match imported.refused() {
        0 => printed,
        1 => failure(&format!("{name}: 1 rule is not translated")),
        rules => failure(&format!("{name}: {rules} rules are not translated")),
    })
}

fn rules(file: Option<&Path>, around: &Around) -> Result<ExitCode, String> {
    let (name, text) = read_or_stdin(file)?;
    let imported = ipvsadm::import(&name, &text, &System, &settings(around)?);
    Ok(tell(&imported.yaml, &imported))
}

fn ldirectord(file: &Path, around: &Around) -> Result<ExitCode, String> {
    let (name, text) = read(file)?;
    let imported = ldirectord::import(&name, &text, &System, &settings(around)?);
    Ok(tell(&imported.yaml, &imported))
}

fn keepalived(
    file: &Path,
    vrrp_out: Option<&Path>,
    id: Option<String>,
    around: &Around,
) -> Result<ExitCode, String> {
    let (name, text) = read(file)?;
    let id = id.or_else(host);
    let settings = settings(around)?;
    let translated = keepalived::import(&name, &text, id.as_deref(), &included, &settings);
    let mut yaml = translated.imported.yaml.clone();
    match (&translated.vrrp, vrrp_out) {
        (Some(vrrp), Some(out)) => {
            fs::write(out, vrrp)
                .map_err(|error| format!("cannot write {}: {error}", out.display()))?;
        }
        (Some(vrrp), None) => yaml.push_str(&keepalived::commented(vrrp)),
        (None, Some(out)) => {
            eprintln!("{name}: nothing of VRRP in it; {} is not written", out.display());
        }
        (None, None) => {}
    }
    Ok(tell(&yaml, &translated.imported))
}

/// The YAML on standard output, the notes on standard error.
fn tell(yaml: &str, imported: &Imported) -> ExitCode {
    let printed = crate::print(&mut io::stdout(), &yaml.trim_end());
    imported.notes.iter().for_each(|note| eprintln!("{note}"));
    match imported.lost() {
        0 => printed,
        1 => failure(&"1 thing is not translated"),
        things => failure(&format!("{things} things are not translated")),
    }
}

fn settings(around: &Around) -> Result<Settings, String> {
    let marks = around.marks.as_deref().map(marks).transpose()?;
    Ok(Settings { interfaces: around.interfaces.clone(), marks })
}

/// The entries only, without their key.
fn marks(file: &Path) -> Result<String, String> {
    let (name, text) = read(file)?;
    let ruleset = netfilter::read(&text).map_err(|error| format!("{name}: {error}"))?;
    let yaml = netfilter::import::import(&ruleset).yaml();
    let entries = yaml.lines().filter(|line| !line.starts_with("marks:"));
    Ok(entries.map(|line| line.trim_start().to_owned() + "\n").collect())
}

/// The files that a pattern names, as keepalived finds them: beside the file that includes.
fn included(from: &str, pattern: &str) -> Result<Vec<(String, String)>, String> {
    let path = Path::new(from).parent().unwrap_or(Path::new("")).join(pattern);
    let found = glob::glob(&path.to_string_lossy()).map_err(|error| error.to_string())?;
    let files: Vec<PathBuf> = found.filter_map(Result::ok).collect();
    files.iter().map(|file| read(file)).collect()
}

/// What keepalived compares `@` lines with unless it is told.
fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    name.trim().split('.').next().map(str::to_owned)
}

fn read(file: &Path) -> Result<(String, String), String> {
    let name = file.display().to_string();
    match fs::read(file) {
        // A comment in another encoding should not stop anybody.
        Ok(octets) => Ok((name, String::from_utf8_lossy(&octets).into_owned())),
        Err(error) => Err(format!("cannot read {name}: {error}")),
    }
}

fn read_or_stdin(file: Option<&Path>) -> Result<(String, String), String> {
    if let Some(file) = file.filter(|file| *file != Path::new("-")) {
        return read(file);
    }
    let mut text = String::new();
    let name = "standard input".to_owned();
    match io::stdin().read_to_string(&mut text) {
        Ok(_) => Ok((name, text)),
        Err(error) => Err(format!("cannot read {name}: {error}")),
    }
}
