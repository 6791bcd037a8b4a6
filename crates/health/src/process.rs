//! Programs of the operator's, as exec checks and hooks run them: no shell, an environment of
//! their own, an unprivileged user, a process group that ends with the program.

use std::{
    fs, io,
    os::fd::OwnedFd,
    pin::pin,
    process::{ExitStatus, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::{
    io::{AsyncRead, AsyncReadExt, unix::AsyncFd},
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
/// when the future is dropped, it is killed. Whatever is left of the group when the program itself
/// has ended is killed as well.
///
/// # Errors
/// It cannot be started.
pub async fn run(program: &Program<'_>, patience: Duration, grace: Duration) -> io::Result<Ended> {
    let mut group = Group::start(program)?;
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let (out, err) = (group.leader.stdout.take(), group.leader.stderr.take());
    let in_time = {
        let heard_all = AtomicBool::new(false);
        let mut heard = pin!(async {
            tokio::join!(listen(out, &mut said), listen(err, &mut complained));
            heard_all.store(true, Ordering::Relaxed);
        });
        let ended = tokio::time::timeout(patience, group.ended_beside(heard.as_mut())).await;
        if ended.is_err() {
            group.signal(Signal::TERM);
            let _ = tokio::time::timeout(grace, group.ended()).await;
        }
        group.signal(Signal::KILL);
        if !heard_all.load(Ordering::Relaxed) {
            let _ = tokio::time::timeout(LAST_WORDS, heard).await;
        }
        ended.is_ok()
    };
    let status = group.leader.wait().await?;
    Ok(Ended {
        status: in_time.then_some(status),
        said: first_line(&said),
        complained: first_line(&complained),
    })
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

fn first_line(words: &[u8]) -> Vec<u8> {
    words.split(|octet| *octet == b'\n').next().unwrap_or_default().to_vec()
}

/// A process and all that it starts, but for what leaves its group; killed when dropped.
struct Group {
    leader: Child,
    /// Readable once the leader has ended, and before it was waited for: until then its number,
    /// which is the group's, is nobody else's.
    end: AsyncFd<OwnedFd>,
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
        Self::of(command.spawn()?)
    }

    fn of(leader: Child) -> io::Result<Self> {
        let id = leader.id().and_then(|id| Pid::from_raw(id.try_into().ok()?));
        let id = id.ok_or_else(|| io::Error::other("ended before it began"))?;
        let end = pidfd_open(id, PidfdFlags::empty())?;
        #[expect(
            deprecated,
            reason = "what replaces it needs a promise that only OwnedFd itself can give"
        )]
        let end = AsyncFd::new(end)?;
        Ok(Self { leader, end })
    }

    /// The end of the leader, while something else goes on.
    async fn ended_beside(&self, other: impl Future<Output = ()>) {
        tokio::select! {
            () = self.ended() => {}
            () = async { other.await; std::future::pending().await } => {}
        }
    }

    async fn ended(&self) {
        // Only a runtime that ends fails it, and then nothing is waited for any more.
        let _ = self.end.readable().await;
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
