//! A program of the operator's ([`process`]).

use std::{process::ExitStatus, time::Duration};

use super::shown;
use crate::{
    check::{Exec, Target},
    outcome::{Bad, Good, Kind},
    process::{self, Program},
};

pub(super) async fn ask(target: &Target, probe: &Exec, timeout: Duration) -> Result<Good, Bad> {
    let (address, port) = (target.address.to_string(), target.port.to_string());
    let filled = |word: &String| word.replace("{address}", &address).replace("{port}", &port);
    let program = Program {
        argv: probe.argv.iter().map(filled).collect(),
        environment: vec![("XLVS_ADDRESS", address.clone()), ("XLVS_PORT", port.clone())],
        user: &probe.user,
    };
    // Asked to end a little before the deadline, and killed before it: with the answer nothing is
    // left.
    let patience = timeout * 9 / 10;
    let ended = process::run(&program, patience, timeout / 20).await.map_err(|error| {
        let name = probe.argv.first().map_or("", String::as_str);
        Bad::new(Kind::Local, format!("{name}: {error}"))
    })?;
    match ended.status {
        // Who says nothing may have complained.
        Some(status) if ended.said.is_empty() => judge(status, &ended.complained, probe.weight),
        Some(status) => judge(status, &ended.said, probe.weight),
        None => {
            let sentence = format!("still running after {} ms", patience.as_millis());
            Err(Bad::new(Kind::Timeout, sentence))
        }
    }
}

/// What an exit status and the words before it say.
///
/// # Errors
/// It is not well.
pub fn judge(status: ExitStatus, said: &[u8], weight: bool) -> Result<Good, Bad> {
    let said = shown(said);
    let said = if said.is_empty() { said } else { format!(": {said}") };
    match status.code() {
        Some(0) => Ok(Good::new(format!("exit code 0{said}"))),
        Some(code @ 2..) if weight => {
            let weight = Some(code as u32 - 2);
            Ok(Good { text: format!("exit code {code}{said}"), weight })
        }
        Some(code) => Err(Bad::new(Kind::Wrong, format!("exit code {code}{said}"))),
        None => Err(Bad::new(Kind::Wrong, format!("ended by a signal{said}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::check::Via;

    fn target() -> Target {
        Target {
            address: [10, 0, 0, 1].into(),
            port: 80,
            source: None,
            interface: None,
            via: Via::Direct,
        }
    }

    async fn run(argv: &[&str], weight: bool) -> Result<Good, Bad> {
        let argv = argv.iter().map(|word| (*word).to_owned()).collect();
        let probe = Exec { argv, user: "nobody".to_owned(), weight };
        ask(&target(), &probe, Duration::from_millis(500)).await
    }

    #[tokio::test]
    async fn exit_codes() {
        let code = |code: u32| format!("echo $XLVS_ADDRESS $1; exit {code}");
        for (exit, weight, good) in
            [(0, false, Some(None)), (1, true, None), (2, false, None), (70, true, Some(Some(68)))]
        {
            let answer = run(&["/bin/sh", "-c", &code(exit), "sh", "{port}"], weight).await;
            assert_eq!(answer.clone().ok().map(|good| good.weight), good, "{exit}");
            let text = answer.map_or_else(|bad| bad.text, |good| good.text);
            assert_eq!(text, format!("exit code {exit}: 10.0.0.1 80"));
        }
        assert_eq!(run(&["/nonexistent"], false).await.expect_err("none").kind, Kind::Local);
        assert_eq!(run(&["/etc/passwd"], false).await.expect_err("none").kind, Kind::Local);
    }

    /// Neither it, nor what it started, nor what does not want to end; also if only the first one
    /// ends, when it is asked to or by itself.
    #[tokio::test]
    async fn nothing_is_left_of_one_that_hangs() {
        // A word that no other process has.
        let sleep = &format!("sleep 61.{}", std::process::id());
        let late = "still running after 450 ms";
        for (script, patience, answer) in [
            ("trap '' TERM; SLEEP & SLEEP", 2000, Some(late)),
            ("trap '' TERM; SLEEP & SLEEP", 200, None),
            ("(trap '' TERM; SLEEP) & SLEEP", 2000, Some(late)),
            ("SLEEP & echo left; exit 0", 2000, Some("exit code 0: left")),
            ("SLEEP >/dev/null 2>&1 & exit 3", 2000, Some("exit code 3")),
        ] {
            let script = &script.replace("SLEEP", sleep);
            let argv = ["/bin/sh", "-c", script];
            // Where it has an end: nobody wants the answer any more.
            let patience = Duration::from_millis(patience);
            let asked = tokio::time::timeout(patience, run(&argv, false)).await;
            let text = asked.ok().map(|asked| asked.map_or_else(|bad| bad.text, |good| good.text));
            assert_eq!(text.as_deref(), answer, "{script}");
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(running(sleep), 0, "{script}");
        }
    }

    /// How many processes have these words in their command line.
    fn running(words: &str) -> usize {
        let all = fs::read_dir("/proc").expect("proc").flatten();
        let is_one = |place: &Path| {
            let line = fs::read(place.join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).replace('\0', " ").contains(words)
        };
        all.filter(|entry| is_one(&entry.path())).count()
    }

    #[tokio::test]
    async fn it_is_nobody() {
        if rustix::process::geteuid().is_root() {
            let answer = run(&["/bin/sh", "-c", "id -u; id -G"], false).await.expect("good");
            let (nobody, _) = process::user("nobody").expect("nobody");
            assert_eq!(answer.text, format!("exit code 0: {nobody}"));
        }
    }

    #[tokio::test]
    async fn much_to_say_does_not_stop_it() {
        let answer = run(&["/bin/sh", "-c", "yes | head -c 1000000"], false).await.expect("good");
        assert_eq!(answer.text, "exit code 0: y");
    }
}
