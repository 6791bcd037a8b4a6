//! journald, which may be slow, or not there for a while: a thread waits for it, nobody else does.

use std::{
    io,
    sync::{
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use log::{
    Level, Record,
    kv::{Error, Key, Value, VisitSource},
};
use systemd_journal_logger::JournalLog;

/// Lines that may wait.
const WAITING: usize = 1024;
/// How long the end waits for what was said last.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The way to it.
pub(super) struct Journal {
    lines: SyncSender<Said>,
    lost: AtomicU64,
}

enum Said {
    Line(Line),
    /// All before it is to be sent.
    Flush(SyncSender<()>),
}

/// A record that waits.
struct Line {
    level: Level,
    target: String,
    module: Option<String>,
    text: String,
    fields: Fields,
}

impl Journal {
    /// Starts the thread.
    ///
    /// # Errors
    /// No socket, or no thread.
    pub(super) fn start() -> io::Result<Self> {
        let journal = JournalLog::new()?.with_syslog_identifier("xlvs".to_owned());
        let (lines, said) = sync_channel(WAITING);
        let run = move || {
            control::daemon::give_up_capabilities();
            send_all(&journal, &said);
        };
        thread::Builder::new().name("xlvs-log".to_owned()).spawn(run)?;
        Ok(Self { lines, lost: AtomicU64::new(0) })
    }

    /// Hands a record over; one for which there is no room is lost, and counted.
    pub(super) fn hand(&self, record: &Record<'_>) {
        let mut line = Line {
            level: record.level(),
            target: record.target().to_owned(),
            module: record.module_path().map(ToOwned::to_owned),
            text: record.args().to_string(),
            fields: Fields::default(),
        };
        // Gathering does not fail.
        let _ = record.key_values().visit(&mut line.fields);
        let lost = self.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            line.text.push_str(&format!(" ({lost} lines before it are lost: journald took none)"));
        }
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.lines.try_send(Said::Line(line))
        {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    /// Waits until all is sent, for a while.
    pub(super) fn flush(&self) {
        let (done, all) = sync_channel(1);
        if self.lines.try_send(Said::Flush(done)).is_ok() {
            let _ = all.recv_timeout(LAST_WORDS);
        }
    }
}

fn send_all(journal: &JournalLog, said: &Receiver<Said>) {
    for said in said {
        match said {
            // Who waited may have gone on.
            Said::Flush(done) => drop(done.try_send(())),
            Said::Line(Line { level, target, module, text, fields }) => {
                let args = format_args!("{text}");
                let sent = journal.journal_send(
                    &Record::builder()
                        .args(args)
                        .level(level)
                        .target(&target)
                        .module_path(module.as_deref())
                        .key_values(&fields.0)
                        .build(),
                );
                if sent.is_err() {
                    // stderr is the journal's too, by another way.
                    eprintln!("{text}");
                }
            }
        }
    }
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        self.0.push((key.as_str().to_owned(), value.to_string()));
        Ok(())
    }
}
