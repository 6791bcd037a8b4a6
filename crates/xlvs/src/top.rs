//! `xlvs top`: what happens on the box, once a second, in a terminal.
//!
//! Reports and answers come from a thread that asks the daemon, so that one that is stuck does
//! not stop the keyboard. [`state`] is what keys and reports make of each other, [`view`] draws
//! it; neither does any I/O.

mod asker;
mod rates;
mod state;
#[cfg(test)]
mod tests;
mod view;

use std::{
    io::{self, IsTerminal},
    process::ExitCode,
    sync::mpsc::TryRecvError,
    time::{Duration, Instant},
};

use clap::Args;
use ratatui::{
    Terminal,
    backend::TestBackend,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
};

use self::{
    asker::{Asker, Told},
    state::{Act, Key, State},
};
use crate::{command::Socket, failure};

/// `top`.
#[derive(Args)]
pub(crate) struct Top {
    /// Only services whose name, address or servers have this in them, as with the key /.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// Print what would be drawn, once, after a second; for logs and scripts.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    socket: Socket,
}

/// How long the keyboard waits for nothing.
const PATIENCE: Duration = Duration::from_millis(100);

pub(crate) fn top(args: Top) -> ExitCode {
    let Top { filter, once, socket } = args;
    let interactive = io::stdout().is_terminal() && io::stdin().is_terminal();
    if !(once || interactive) {
        return failure(&"xlvs top needs a terminal; --once prints one picture");
    }
    let state = State::new(filter, std::env::var_os("NO_COLOR").is_none());
    let asker = Asker::start(socket.way());
    if once {
        return picture(state, &asker);
    }
    let mut terminal = ratatui::init();
    let ended = interact(&mut terminal, state, &asker);
    ratatui::restore();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failure(&format!("the terminal: {error}")),
    }
}

/// Two reports make rates.
fn picture(mut state: State, asker: &Asker) -> ExitCode {
    let begin = Instant::now();
    for _ in 0..2 {
        match asker.wait() {
            Some(Told::Report(report)) => state.report(*report, begin.elapsed()),
            Some(Told::Silent(error)) => return failure(&error),
            _ => return failure(&"no answer"),
        }
    }
    // As wide as a page, as high as it takes.
    let height = u16::try_from(state.rows() + 16).unwrap_or(u16::MAX).min(2000);
    let Ok(mut terminal) = Terminal::new(TestBackend::new(100, height));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, &state, begin.elapsed()));
    crate::print(&mut io::stdout(), &view::text(terminal.backend().buffer()))
}

fn interact(
    terminal: &mut ratatui::DefaultTerminal,
    mut state: State,
    asker: &Asker,
) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        loop {
            match asker.told() {
                Ok(Told::Report(report)) => state.report(*report, begin.elapsed()),
                Ok(Told::Silent(error)) => state.silent(error),
                Ok(Told::Connections(rows, more)) => state.connections(rows, more),
                Ok(Told::Done(said)) => state.said(said),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Ok(()),
            }
        }
        terminal.draw(|frame| view::draw(frame, &state, begin.elapsed()))?;
        if !event::poll(PATIENCE)? {
            continue;
        }
        let Event::Key(pressed) = event::read()? else { continue };
        if pressed.kind == KeyEventKind::Release {
            continue;
        }
        let control = pressed.modifiers.contains(KeyModifiers::CONTROL);
        let key = match pressed.code {
            KeyCode::Char('c') if control => return Ok(()),
            KeyCode::Char(letter) => Key::Letter(letter),
            KeyCode::Up => Key::Up,
            KeyCode::Down => Key::Down,
            KeyCode::PageUp => Key::PageUp,
            KeyCode::PageDown => Key::PageDown,
            KeyCode::Enter => Key::Enter,
            KeyCode::Esc => Key::Escape,
            KeyCode::Backspace => Key::Backspace,
            _ => continue,
        };
        match state.press(key) {
            None => {}
            Some(Act::Quit) => return Ok(()),
            Some(Act::Order { server, to }) => asker.order(server, to),
            Some(Act::Connections(service)) => asker.connections(service),
        }
    }
}
