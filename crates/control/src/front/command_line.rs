//! A command line of ipvsadm from its words to its texts and exit code, wherever the director
//! is: behind a socket, or in the same process.

use std::io::{self, Read, Write};

use ipvsadm::{
    Command, Denial, ListSpec, ListWhat, Program, Refusal, Resolver, help, listing, parse, restore,
    save,
};

use super::{Answer, Ask, Page};

/// Who is asked.
pub trait Desk {
    /// There is a director, and this user may ask it.
    ///
    /// # Errors
    /// [`Denial::NoProtocol`], [`Denial::NotPermitted`].
    fn reach(&mut self) -> Result<(), Denial>;

    /// One question and its answer.
    ///
    /// # Errors
    /// There is no answer.
    fn ask(&mut self, ask: &Ask) -> Result<Answer, Denial>;
}

/// Where a command line's texts come from and go to.
pub struct Terminal<'a> {
    /// Read by `-R`.
    pub input: &'a mut dyn Read,
    /// Standard output.
    pub output: &'a mut dyn Write,
    /// Standard error.
    pub error: &'a mut dyn Write,
    /// Names of hosts and ports.
    pub names: &'a dyn Resolver,
}

/// Runs it; the exit code is ipvsadm's.
///
/// # Errors
/// Reading or writing failed.
pub fn run(
    program: Program,
    argv: &[String],
    desk: &mut dyn Desk,
    terminal: &mut Terminal<'_>,
) -> io::Result<u8> {
    let parsed = parse(program, argv, terminal.names);
    let name = argv.first().map_or("ipvsadm", String::as_str);
    match parsed {
        Ok(Command::Help) => return print(terminal, &help::usage(name)),
        Ok(Command::Version) => return print(terminal, help::VERSION),
        _ => {}
    }
    // ipvsadm looks for its director before it looks at its words; ipvsadm-save is a script, and
    // looks at its own first.
    let reached = match parsed {
        Err(_) if program == Program::Save => Ok(()),
        _ => desk.reach().map_err(|denial| Refusal::unreachable(&denial)),
    };
    let result = match reached.and(parsed) {
        Ok(Command::List(spec)) => list(&spec, desk, terminal)?,
        Ok(Command::Save { numeric }) => {
            let text = rows(desk).map(|all| save::text(&all, numeric, terminal.names));
            show(text, terminal)?
        }
        Ok(Command::Restore { flush }) => restore(name, flush, desk, terminal)?,
        Ok(Command::Zero(service)) => tell(done(desk, &Ask::Zero(service)), terminal)?,
        Ok(command) => tell(done(desk, &Ask::Change(vec![command])), terminal)?,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(()) => Ok(0),
        Err(refusal) => {
            let place = refusal.line.map(|line| format!("line {line}: ")).unwrap_or_default();
            writeln!(terminal.error, "{place}{refusal}")?;
            Ok(refusal.code)
        }
    }
}

fn print(terminal: &mut Terminal<'_>, text: &str) -> io::Result<u8> {
    terminal.output.write_all(text.as_bytes())?;
    Ok(0)
}

type Done = Result<(), Refusal>;

fn show(text: Result<String, Denial>, terminal: &mut Terminal<'_>) -> io::Result<Done> {
    match text {
        Ok(text) => terminal.output.write_all(text.as_bytes()).map(Ok),
        Err(denial) => Ok(Err(Refusal::unlisted(&denial))),
    }
}

/// What the operator should know goes to standard error, as ipvsadm's own warnings do.
fn tell(done: Result<Vec<String>, Refusal>, terminal: &mut Terminal<'_>) -> io::Result<Done> {
    match done {
        Ok(warnings) => {
            for warning in warnings {
                writeln!(terminal.error, "Warning: {warning}")?;
            }
            Ok(Ok(()))
        }
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn done(desk: &mut dyn Desk, ask: &Ask) -> Result<Vec<String>, Refusal> {
    match desk.ask(ask) {
        Ok(Answer::Done(warnings)) => Ok(warnings),
        Ok(Answer::Denied { denial, .. }) | Err(denial) => Err(Refusal::denied(&denial)),
        Ok(_) => Err(Refusal::denied(&strange())),
    }
}

fn rows(desk: &mut dyn Desk) -> Result<ipvsadm::Listing, Denial> {
    match desk.ask(&Ask::List)? {
        Answer::Listing(rows) => Ok(rows),
        Answer::Denied { denial, .. } => Err(denial),
        _ => Err(strange()),
    }
}

/// The daemon answers something else than was asked.
fn strange() -> Denial {
    Denial::Other("the daemon gives another answer; is it of another version?".to_owned())
}

fn list(spec: &ListSpec, desk: &mut dyn Desk, terminal: &mut Terminal<'_>) -> io::Result<Done> {
    match &spec.what {
        ListWhat::Table { service, view } => {
            let text = rows(desk)
                .and_then(|all| listing::table(&all, *service, *view, spec, terminal.names));
            show(text, terminal)
        }
        ListWhat::Connections { engine } => connections(spec, *engine, desk, terminal),
        ListWhat::Timeouts => {
            let text = match desk.ask(&Ask::Timeouts) {
                Ok(Answer::Timeouts(timeouts)) => Ok(listing::timeouts(&timeouts)),
                Ok(_) => Err(strange()),
                Err(denial) => Err(denial),
            };
            show(text, terminal)
        }
        // There is no sync daemon: nothing to list.
        ListWhat::Daemons => show(Ok(listing::daemons(&[])), terminal),
    }
}

fn connections(
    spec: &ListSpec,
    engine: bool,
    desk: &mut dyn Desk,
    terminal: &mut Terminal<'_>,
) -> io::Result<Done> {
    terminal.output.write_all(listing::connections_title(engine).as_bytes())?;
    let mut page = Page::default();
    loop {
        match desk.ask(&Ask::Connections(page.clone())) {
            Ok(Answer::Connections { rows, next }) => {
                for row in &rows {
                    let text = listing::connection(row, spec.numeric, engine, terminal.names);
                    terminal.output.write_all(text.as_bytes())?;
                }
                match next {
                    Some(next) => page.from = next,
                    None => return Ok(Ok(())),
                }
            }
            Ok(_) => return Ok(Err(Refusal::unlisted(&strange()))),
            Err(denial) => return Ok(Err(Refusal::unlisted(&denial))),
        }
    }
}

/// All rules or none, whichever line is refused.
fn restore(
    name: &str,
    flush: bool,
    desk: &mut dyn Desk,
    terminal: &mut Terminal<'_>,
) -> io::Result<Done> {
    let mut text = String::new();
    terminal.input.read_to_string(&mut text)?;
    let rules = match restore::rules(&text, name, terminal.names) {
        Ok(rules) => rules,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let flushing = flush.then_some(Command::Flush);
    let commands = flushing.into_iter().chain(rules.iter().map(|rule| rule.command.clone()));
    let ask = Ask::Change(commands.collect());
    match desk.ask(&ask) {
        Ok(Answer::Denied { at, denial }) => {
            let rule = at.checked_sub(usize::from(flush)).and_then(|at| rules.get(at));
            let line = rule.map(|rule| rule.line);
            Ok(Err(Refusal { line, ..Refusal::denied(&denial) }))
        }
        Ok(Answer::Done(warnings)) => tell(Ok(warnings), terminal),
        Ok(_) => Ok(Err(Refusal::denied(&strange()))),
        Err(denial) => Ok(Err(Refusal::denied(&denial))),
    }
}
