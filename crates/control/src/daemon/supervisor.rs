//! systemd, as far as it started this process (sd_notify(3)): readiness, a line of status, and a
//! watchdog that is fed only while control and every worker make progress.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use dataplane::engine::{Handle, Order, SocketStats};
use sd_notify::NotifyState;

use super::{StartError, workers};

/// Who started the daemon and wants to know how it is; maybe nobody.
pub(super) struct Supervisor {
    listens: bool,
    beat: Arc<Mutex<Instant>>,
    said: String,
}

impl Supervisor {
    /// Starts the thread that feeds the watchdog, if there is one.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn start(workers: &[Handle]) -> Result<Self, StartError> {
        let beat = Arc::new(Mutex::new(Instant::now()));
        let listens = std::env::var_os("NOTIFY_SOCKET").is_some();
        if let Some(patience) = sd_notify::watchdog_enabled().filter(|_| listens) {
            let watch = Watch {
                patience,
                workers: workers.to_vec(),
                asked: workers.iter().map(|_| None).collect(),
                beat: Arc::clone(&beat),
                complained: false,
            };
            workers::spawn("xlvs-watchdog".to_owned(), move || watch.run())?;
        }
        Ok(Self { listens, beat, said: String::new() })
    }

    /// Somebody reads what is said.
    pub(super) fn listens(&self) -> bool {
        self.listens
    }

    /// Control's loop turns.
    pub(super) fn beat(&self) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Packets are forwarded; also the end of a reload.
    pub(super) fn ready(&self) {
        tell(&[NotifyState::Ready]);
    }

    /// A reload begins; [`ready`](Self::ready) ends it.
    pub(super) fn reloading(&self) {
        let now = NotifyState::monotonic_usec_now();
        match now {
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(_) => tell(&[NotifyState::Reloading]),
        }
    }

    /// The end begins, and takes that long.
    pub(super) fn stopping(&self, grace: Duration) {
        let time = (grace + STOP_TIME).as_micros().try_into().unwrap_or(u32::MAX);
        let status = format!("stopping: forwards for {} s", grace.as_secs_f32());
        let status = NotifyState::Status(&status);
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(time), status]);
    }

    /// The line that `systemctl status` shows.
    pub(super) fn say(&mut self, status: String) {
        if status != self.said {
            tell(&[NotifyState::Status(&status)]);
            self.said = status;
        }
    }
}

/// What the end takes beside the grace: hooks run on for a while, programs are detached.
const STOP_TIME: Duration = Duration::from_secs(30);

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::debug!("systemd: {error}");
    }
}

/// Feeds the watchdog.
struct Watch {
    /// systemd's: it ends a process that was silent for longer.
    patience: Duration,
    workers: Vec<Handle>,
    /// What a worker was asked and has not answered yet: it is not asked again, so that a stuck
    /// one does not collect questions.
    asked: Vec<Option<Receiver<SocketStats>>>,
    beat: Arc<Mutex<Instant>>,
    complained: bool,
}

impl Watch {
    /// As long as the process lives.
    fn run(mut self) {
        let period = self.patience / 4;
        loop {
            let turn = Instant::now();
            match self.stuck(turn + period / 2) {
                None => {
                    tell(&[NotifyState::Watchdog]);
                    self.complained = false;
                }
                Some(who) if !self.complained => {
                    self.complained = true;
                    let seconds = self.patience.as_secs_f32();
                    log::error!(
                        "{who} does not answer; after {seconds} s systemd ends the process"
                    );
                    tell(&[NotifyState::Status(&format!("{who} does not answer"))]);
                }
                Some(_) => {}
            }
            std::thread::sleep(period.saturating_sub(turn.elapsed()));
        }
    }

    /// Who makes no progress.
    fn stuck(&mut self, deadline: Instant) -> Option<String> {
        for (worker, asked) in self.workers.iter().zip(&mut self.asked) {
            if asked.is_none() {
                let (sender, receiver) = bounded(1);
                *asked = worker.try_order(Order::Report(sender)).then_some(receiver);
            }
        }
        let mut silent = None;
        for (number, asked) in self.asked.iter_mut().enumerate() {
            let answers = |from: &Receiver<_>| from.recv_deadline(deadline).is_ok();
            if asked.as_ref().is_some_and(answers) {
                *asked = None;
            } else if silent.is_none() {
                silent = Some(format!("worker {number}"));
            }
        }
        let beat = *self.beat.lock().unwrap_or_else(PoisonError::into_inner);
        let control = beat.elapsed() > self.patience / 2;
        silent.or_else(|| control.then(|| "control".to_owned()))
    }
}
