//! Programs of the box that tell about it, for a few seconds each.

use std::{
    io::Read,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it prints.
///
/// # Errors
/// It is not there, does not end, or fails; then with what it complained of.
pub(super) fn run(words: &[&str]) -> Result<String, String> {
    let [program, rest @ ..] = words else { return Err("no program".to_owned()) };
    let mut child = Command::new(program)
        .args(rest)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let said = hear(child.stdout.take());
    let complained = hear(child.stderr.take());
    let Ok(said) = said.recv_timeout(PATIENCE) else {
        // It may have ended just now.
        let _ = child.kill();
        let _ = child.wait();
        return Err(format!("{program}: does not end within {} s", PATIENCE.as_secs()));
    };
    let status = child.wait().map_err(|error| format!("{program}: {error}"))?;
    if status.success() || !said.is_empty() {
        return Ok(said);
    }
    let complained = complained.recv_timeout(PATIENCE).unwrap_or_default();
    Err(format!("{}: {status}: {}", words.join(" "), complained.trim()))
}

fn hear(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let mut octets = Vec::new();
        if let Some(mut pipe) = pipe {
            // What came before an error still tells something.
            let _ = pipe.read_to_end(&mut octets);
        }
        let _ = tell.send(String::from_utf8_lossy(&octets).into_owned());
    });
    told
}
