//! Programs that the file names, of hooks and of exec checks: whether they are there, and may be
//! run by whom they are to be.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use health::{check::Probe, process};

use super::Finding;
use crate::model::Model;

/// What a program needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Need {
    /// `hook` or `check`.
    what: &'static str,
    program: String,
    user: String,
}

pub(super) fn judge(model: &Model) -> Vec<Finding> {
    needs(model).iter().filter_map(finding).collect()
}

/// Each program once for each user.
fn needs(model: &Model) -> BTreeSet<Need> {
    let need = |what, argv: &[String], user: &str| {
        let program = argv.first().cloned()?;
        Some(Need { what, program, user: user.to_owned() })
    };
    let hooks = model.hooks.iter().filter_map(|hook| need("hook", &hook.argv, &hook.user));
    let servers = model.services.iter().flat_map(|service| &service.servers);
    let checks = servers.flat_map(|server| &server.checks);
    let execs = checks.filter_map(|check| match &*check.question.probe {
        Probe::Exec(exec) => need("check", &exec.argv, &exec.user),
        _ => None,
    });
    hooks.chain(execs).collect()
}

fn finding(need: &Need) -> Option<Finding> {
    let Need { what, program, user } = need;
    let warning = |sentence: String, remedy: &str| {
        Some(Finding::warning(&format!("{what} {program}"), sentence, remedy))
    };
    match fs::metadata(program) {
        Err(error) => return warning(error.to_string(), "install it, or name another one"),
        Ok(found) if !found.is_file() || found.permissions().mode() & 0o111 == 0 => {
            return warning("not a program".to_owned(), "make it executable: chmod +x");
        }
        Ok(_) => {}
    }
    match process::user(user) {
        Ok(_) => None,
        Err(error) => warning(error.to_string(), "write user: and one of /etc/passwd"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_in_findings_out() {
        let rows = [
            ("/bin/sh", "root", None),
            ("/nonexistent/mail", "root", Some("No such file or directory (os error 2)")),
            ("/etc/passwd", "root", Some("not a program")),
            ("/bin", "root", Some("not a program")),
            ("/bin/sh", "nobody-of-this-name", Some("no user nobody-of-this-name")),
        ];
        for (program, user, sentence) in rows {
            let need = Need { what: "hook", program: program.into(), user: user.into() };
            let found = finding(&need);
            let told = found.as_ref().map(|finding| finding.sentence.as_str());
            assert_eq!(told, sentence, "{program} {user}");
            assert!(found.is_none_or(|f| f.subject == format!("hook {program}")));
        }
    }
}
