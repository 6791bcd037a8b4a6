//! A program of the operator's: no shell, an environment of its own, an unprivileged user, a
//! process group that ends with the probe.

use std::{
    fs, io,
    os::fd::OwnedFd,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::{
    io::{AsyncReadExt, unix::AsyncFd},
    process::{Child, ChildStdout, Command},
};

use super::shown;
use crate::{
    check::{Exec, Target},
    outcome::{Bad, Good, Kind},
};

/// Octets of what it says that are kept.
const WORDS: u64 = 200;

pub(super) async fn ask(target: &Target, probe: &Exec, timeout: Duration) -> Result<Good, Bad> {
    let begun = tokio::time::Instant::now();
    let mut group = Group::of(start(target, probe)?).map_err(|error| failed(probe, &error))?;
    // Asked to end a little before the deadline; at the deadline, when nobody wants the answer any
    // more, or when it has ended and left others behind, the group is killed.
    let patience = timeout * 9 / 10;
    let ended = tokio::time::timeout(patience, group.finish()).await;
    let Ok(ended) = ended else {
        group.signal(Signal::TERM);
        // A time of the clock: on a busy machine both may be over at once.
        let _ = tokio::time::timeout_at(begun + timeout * 19 / 20, group.ended()).await;
        let sentence = format!("still running after {} ms", patience.as_millis());
        return Err(Bad::new(Kind::Timeout, sentence));
    };
    let (status, words) = ended.map_err(|error| failed(probe, &error))?;
    judge(status, &words, probe.weight)
}

fn failed(probe: &Exec, error: &io::Error) -> Bad {
    Bad::new(Kind::Local, format!("{}: {error}", probe.argv.first().map_or("", String::as_str)))
}

fn start(target: &Target, probe: &Exec) -> Result<Child, Bad> {
    let (address, port) = (target.address.to_string(), target.port.to_string());
    let filled = |word: &String| word.replace("{address}", &address).replace("{port}", &port);
    let words: Vec<String> = probe.argv.iter().map(filled).collect();
    let Some((program, words)) = words.split_first() else {
        return Err(Bad::new(Kind::Local, "no program"));
    };
    let mut command = Command::new(program);
    command
        .args(words)
        .env_clear()
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .env("XLVS_ADDRESS", &address)
        .env("XLVS_PORT", &port)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    if rustix::process::geteuid().is_root() {
        let (user, group) = user(&probe.user).map_err(|error| failed(probe, &error))?;
        // As root, the standard library drops supplementary groups with the user.
        command.uid(user).gid(group);
    }
    command.spawn().map_err(|error| failed(probe, &error))
}

/// A user's numbers, from /etc/passwd.
fn user(name: &str) -> io::Result<(u32, u32)> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    let line = |line: &str| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then_some(())?;
        Some((fields.nth(1)?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    passwd
        .lines()
        .find_map(line)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no user {name}")))
}

/// A process and all that it starts; killed when dropped.
struct Group {
    leader: Child,
    /// Readable once the leader has ended, and before it was waited for: until then its number, which
    /// is the group's, is nobody else's.
    end: AsyncFd<OwnedFd>,
}

impl Group {
    fn of(leader: Child) -> io::Result<Self> {
        let id = leader.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let id = id.ok_or_else(|| io::Error::other("ended before it began"))?;
        let end = pidfd_open(id, PidfdFlags::empty())?;
        #[expect(deprecated, reason = "register is unsafe; an OwnedFd is always the same one")]
        let end = AsyncFd::new(end)?;
        Ok(Self { leader, end })
    }

    /// The leader's exit status and the beginning of what it said; nobody of the group is left.
    async fn finish(&mut self) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut words = Vec::new();
        if let Some(stdout) = self.leader.stdout.take() {
            let mut heard = pin!(hear(stdout, &mut words));
            tokio::select! {
                end = &mut heard => end?,
                end = self.ended() => {
                    end?;
                    self.signal(Signal::KILL);
                    heard.await?;
                }
            }
        }
        self.ended().await?;
        self.signal(Signal::KILL);
        Ok((self.leader.wait().await?, words))
    }

    async fn ended(&self) -> io::Result<()> {
        self.end.readable().await.map(drop)
    }

    fn signal(&self, signal: Signal) {
        // After it was waited for there is no number.
        let id = self.leader.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        if let Some(id) = id {
            // They may have ended by themselves.
            let _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// Keeps the beginning; a full pipe must not stop who goes on.
async fn hear(mut stdout: ChildStdout, words: &mut Vec<u8>) -> io::Result<()> {
    (&mut stdout).take(WORDS).read_to_end(words).await?;
    tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.map(drop)
}

/// What an exit status says.
fn judge(status: ExitStatus, words: &[u8], weight: bool) -> Result<Good, Bad> {
    let said = shown(words.split(|octet| *octet == b'\n').next().unwrap_or_default());
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
    use std::{path::Path, time::Instant};

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
        for (script, answer) in [
            ("trap '' TERM; SLEEP & SLEEP", "still running after 450 ms"),
            ("(trap '' TERM; SLEEP) & SLEEP", "still running after 450 ms"),
            ("SLEEP & echo left; exit 0", "exit code 0: left"),
            ("SLEEP >/dev/null & exit 3", "exit code 3"),
        ] {
            let script = &script.replace("SLEEP", sleep);
            let started = Instant::now();
            let argv = ["/bin/sh", "-c", script];
            let text = run(&argv, false).await.map_or_else(|bad| bad.text, |good| good.text);
            assert_eq!(text, answer, "{script}");
            assert!(started.elapsed() < Duration::from_secs(5));
            tokio::time::sleep(Duration::from_millis(200)).await;
            assert_eq!(running(sleep), 0, "{script}");
        }
    }

    /// How many processes have these words in their command line.
    fn running(words: &str) -> usize {
        let all = std::fs::read_dir("/proc").expect("proc").flatten();
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
            let (nobody, _) = user("nobody").expect("nobody");
            assert_eq!(answer.text, format!("exit code 0: {nobody}"));
        }
    }

    #[tokio::test]
    async fn much_to_say_does_not_stop_it() {
        let answer = run(&["/bin/sh", "-c", "yes | head -c 1000000"], false).await.expect("good");
        assert_eq!(answer.text, "exit code 0: y");
    }
}
