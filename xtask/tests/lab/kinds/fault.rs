//! How servers fail, and how they are set right again.

use std::time::Instant;

use xtask::failure::Outcome;

use super::place::Place;
use super::server::Server;

/// What may happen to a server. Lines are for a shell on its host.
pub(super) enum Fault {
    /// A line begins it, another one ends it.
    Shell(&'static str, &'static str),
    /// A rule of nftables at a hook.
    Rule(&'static str, &'static str),
    /// It is stopped (SIGSTOP): the kernel takes connections, and nobody answers.
    Stop,
    /// It ends, and is started again.
    End,
    /// It dies, and another one takes its port.
    Instead(&'static Server),
    /// So many connections are held (the words for `hold.py` behind the port).
    Hold(&'static str),
    /// The same; then it is asked to end, and waits for them.
    Closing(&'static str),
    /// A line goes on for some time.
    Lasts(&'static str),
}

impl Fault {
    /// Begins; gives since when it is so.
    pub(super) fn begin(&self, place: &mut Place<'_>) -> Outcome<Instant> {
        let now = Instant::now();
        match self {
            Self::Shell(begin, _) => place.shell(begin).map(|()| now),
            Self::Rule(hook, rule) => place.rule(hook, rule).map(|()| now),
            Self::Stop => place.signal("STOP").map(|()| now),
            Self::End => {
                place.signal("TERM")?;
                place.wait_until_nothing_listens()
            }
            Self::Instead(other) => {
                place.kill()?;
                let dead = Instant::now();
                place.start(other)?;
                Ok(dead)
            }
            Self::Hold(words) => {
                place.hold(words)?;
                Ok(Instant::now())
            }
            Self::Closing(words) => {
                place.hold(words)?;
                let held = Instant::now();
                place.signal("TERM")?;
                Ok(held)
            }
            Self::Lasts(line) => place.beside(line).map(|()| now),
        }
    }

    /// Ends; gives since when all is well again.
    pub(super) fn end(&self, place: &mut Place<'_>) -> Outcome<Instant> {
        match self {
            Self::Shell(_, end) => place.shell(end)?,
            Self::Rule(..) => place.no_rule()?,
            Self::Stop => place.signal("CONT")?,
            Self::End => place.restart()?,
            Self::Instead(_) => {
                place.kill()?;
                place.restart()?;
            }
            Self::Hold(_) => place.let_go()?,
            Self::Closing(_) => {
                place.let_go()?;
                place.restart()?;
            }
            Self::Lasts(_) => place.wait_for_that_beside()?,
        }
        Ok(Instant::now())
    }
}
