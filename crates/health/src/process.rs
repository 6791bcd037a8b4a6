//! Programs of the operator's, as exec checks and hooks run them: no shell, an environment of
//! their own, an unprivileged user, a process group that ends with the program.

use std::{
    fs, io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// Octets of what it says that are kept.
const WORDS: usize = 200;
/// How long what it said is waited for after its end: somebody who left its group may still have
/// its standard output.
const LAST_WORDS: Duration = Duration::from_millis(50);

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// The program and its words.
    pub argv: Vec<String>,
    /// Its environment, beside PATH.
    pub environment: Vec<(&'a str, String)>,
    /// As whom it runs, if xlvs is root.
    pub user: &'a str,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` if it was still running when its time was over.
    pub status: Option<ExitStatus>,
    /// The first line on its standard output.
    pub said: Vec<u8>,
    /// The first line on its standard error.
    pub complained: Vec<u8>,
}

/// Runs a program. After `patience` its process group is asked to end; `grace` later, and also
/// when the future is dropped, it is killed. Whatever is left of the group when the program has
/// ended is killed as well.
///
/// # Errors
/// It cannot be started.
pub async fn run(program: &Program<'_>, patience: Duration, grace: Duration) -> io::Result<Ended> {
    let mut group = Group::start(program)?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
    let status = {
        let listening =
            async { tokio::join!(listen(out, &mut said), listen(err, &mut complained)) };
        tokio::pin!(listening);
        let mut heard = false;
        let ended = tokio::time::timeout(patience, async {
            tokio::select! {
                biased;
                status = group.child.wait() => return status,
                _ = &mut listening => heard = true,
            }
            group.child.wait().await
        });
        let status = match ended.await {
            Ok(status) => Some(status?),
            Err(_) => {
                group.signal(Signal::TERM);
                let _ = tokio::time::timeout(grace, group.child.wait()).await;
                None
            }
        };
        group.signal(Signal::KILL);
        if !heard {
            let _ = tokio::time::timeout(LAST_WORDS, listening).await;
        }
        status
    };
    Ok(Ended { status, said: first_line(said), complained: first_line(complained) })
}

/// Keeps the beginning of what is said, and lets the rest pass: a full pipe must not stop it.
async fn listen(from: Option<impl AsyncRead + Unpin>, words: &mut Vec<u8>) {
    let Some(mut from) = from else { return };
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let room = WORDS.saturating_sub(words.len());
        words.extend_from_slice(&buffer[..count.min(room)]);
    }
}

fn first_line(words: Vec<u8>) -> Vec<u8> {
    words.split(|octet| *octet == b'\n').next().unwrap_or_default().to_vec()
}

/// A process and all that it starts, but for what leaves its group; killed when dropped.
struct Group {
    child: Child,
    /// The group's number, which is the process's. After that was waited for, the number stays
    /// taken while anything is left of the group, and is not given again at once: the kernel goes
    /// through all others first.
    id: Option<Pid>,
}

impl Group {
    fn start(program: &Program<'_>) -> io::Result<Self> {
        let Some((name, words)) = program.argv.split_first() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no program"));
        };
        let mut command = Command::new(name);
        command
            .args(words)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(program.environment.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if rustix::process::geteuid().is_root() {
            let (user, group) = user(program.user)?;
            // As root, the standard library drops supplementary groups with the user.
            command.uid(user).gid(group);
        }
        let child = command.spawn()?;
        let id = child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        Ok(Self { child, id })
    }

    fn signal(&self, signal: Signal) {
        if let Some(id) = self.id {
            // It may have ended by itself.
            let _ = kill_process_group(id, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // One that was waited for was killed then.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

/// A user's numbers, from /etc/passwd.
///
/// # Errors
/// There is no such user.
pub fn user(name: &str) -> io::Result<(u32, u32)> {
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
