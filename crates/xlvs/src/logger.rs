//! The daemon's log: one line a fact. To stderr, or, where stderr is the journal's, to journald
//! with priorities and fields; there `journalctl SERVICE=web` finds what happened to a service.
//! The same line again and again is told now and then only.

mod journal;
mod repeats;

use env_logger::{Builder, Env, Logger, TimestampPrecision};
use log::{Log, Metadata, Record};
use systemd_journal_logger::connected_to_journal;

use journal::Journal;
use repeats::{Repeats, Told};

/// Starts it, at level info unless `RUST_LOG` says otherwise.
pub(crate) fn start() {
    let lines = Builder::from_env(Env::default().default_filter_or("info"))
        .format_timestamp(Some(TimestampPrecision::Seconds))
        .format_target(false)
        .build();
    log::set_max_level(lines.filter());
    let journal = if connected_to_journal() { Journal::start().ok() } else { None };
    let log = DaemonLog { lines, journal, repeats: Repeats::default() };
    // Nobody else starts one.
    let _ = log::set_boxed_logger(Box::new(log));
}

struct DaemonLog {
    /// Says what is wanted, and writes it to stderr.
    lines: Logger,
    journal: Option<Journal>,
    repeats: Repeats,
}

impl DaemonLog {
    fn write(&self, record: &Record<'_>) {
        match &self.journal {
            Some(journal) => journal.hand(record),
            None => self.lines.log(record),
        }
    }
}

impl Log for DaemonLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.lines.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.lines.matches(record) {
            return;
        }
        // Events have fields. Each of them is a change, however often it comes.
        if record.key_values().count() > 0 {
            return self.write(record);
        }
        match self.repeats.hear(record.level(), &record.args().to_string()) {
            Told::Now => self.write(record),
            Told::Not => {}
            Told::Again(times) => {
                self.write(record);
                let module = record.module_path();
                self.write(
                    &Record::builder()
                        .args(format_args!(
                            "the last line came {times} times more since it was told"
                        ))
                        .level(record.level())
                        .target(record.target())
                        .module_path(module)
                        .build(),
                );
            }
        }
    }

    fn flush(&self) {
        match &self.journal {
            Some(journal) => journal.flush(),
            None => self.lines.flush(),
        }
    }
}
