//! A thread that answers clients: of its own, so that none of them takes time of control's loop.

use std::{
    io,
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use crate::daemon::privileges::{self, Task};

/// What a thread is, and what it may do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Its name, for `ps -L`.
    pub(super) name: &'static str,
    /// Its capabilities.
    pub(super) task: Task,
    /// How many requests that ask for much are answered at a time; further ones wait.
    pub(super) at_once: usize,
}

/// Clients are answered for as long as it is not dropped.
#[derive(Debug)]
pub struct Served {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    /// Runs what `doors` opens. It is called within the runtime of the new thread.
    ///
    /// # Errors
    /// Those of `doors`, and where there is no thread.
    pub(super) fn start<F>(terms: Terms, doors: impl FnOnce() -> io::Result<F>) -> io::Result<Self>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .thread_name(terms.name)
            .max_blocking_threads(terms.at_once)
            .build()?;
        let entered = runtime.enter();
        let doors = doors()?;
        drop(entered);
        let (stop, stopped) = oneshot::channel::<()>();
        let work = move || {
            privileges::limit(terms.task);
            runtime.block_on(async {
                tokio::select! {
                    () = doors => {}
                    _ = stopped => {}
                }
            });
            // Who is still looked up for gets no answer.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name(terms.name.to_owned()).spawn(work)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::error!("API: its thread broke down; that is a bug of xlvs");
        }
    }
}
