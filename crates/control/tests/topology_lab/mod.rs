//! Two network namespaces joined by a veth pair, made of two threads: when the threads
//! end, also by a panic, the kernel takes everything away.

use std::{process::Command, sync::mpsc, thread};

use nix::{sched, unistd};

/// The director's namespace is the thread's; `far` runs commands in the other one.
pub(crate) struct Lab {
    far: mpsc::Sender<String>,
    done: mpsc::Receiver<String>,
    far_id: String,
}

/// Runs `body` in a fresh pair of namespaces: `eth0` (up, without addresses) here, `far0`
/// (up) there.
pub(crate) fn in_lab(body: impl FnOnce(&Lab) + Send + 'static) {
    let outcome = thread::spawn(move || {
        let lab = Lab::new();
        lab.pair("eth0", "far0");
        body(&lab);
    });
    if let Err(panic) = outcome.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Lab {
    fn new() -> Self {
        sched::unshare(sched::CloneFlags::CLONE_NEWNET).expect("a namespace; are you root?");
        let (far, commands) = mpsc::channel::<String>();
        let (answer, done) = mpsc::channel();
        thread::spawn(move || {
            sched::unshare(sched::CloneFlags::CLONE_NEWNET).expect("a second namespace");
            answer.send(unistd::gettid().to_string()).expect("the lab is there");
            for command in commands {
                if answer.send(shell(&command)).is_err() {
                    break;
                }
            }
        });
        let far_id = done.recv().expect("the far namespace");
        let lab = Self { far, done, far_id };
        lab.near("ip link set lo up");
        lab.far("ip link set lo up");
        lab
    }

    /// A veth pair, one end in each namespace, both up.
    pub(crate) fn pair(&self, here: &str, there: &str) {
        self.near(&format!("ip link add {here} type veth peer name {there} netns {}", self.far_id));
        self.near(&format!("ip link set {here} up"));
        self.far(&format!("ip link set {there} up"));
    }

    /// Runs a shell command beside the director.
    pub(crate) fn near(&self, command: &str) -> String {
        shell(command)
    }

    /// Runs a shell command in the other namespace.
    pub(crate) fn far(&self, command: &str) -> String {
        self.far.send(command.to_owned()).expect("the far thread");
        self.done.recv().expect("the command succeeds there")
    }
}

fn shell(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().expect("sh");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
