//! A mail server greets, takes HELO, and takes leave (RFC 5321).

use tokio::io::AsyncWriteExt;

use super::{
    lines::Lines,
    net::{Net, unreached},
    shown,
};
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, helo: &str) -> Result<Good, Bad> {
    let (stream, _pin) = net.connect(target).await?;
    let mut lines = Lines::new(stream);
    let greeting = reply(&mut lines, 220).await?;
    say(&mut lines, &format!("HELO {helo}\r\n")).await?;
    reply(&mut lines, 250).await?;
    // Good manners; the answer is known by now.
    say(&mut lines, "QUIT\r\n").await?;
    Ok(Good::new(format!("220 {greeting}")))
}

async fn say(lines: &mut Lines, words: &str) -> Result<(), Bad> {
    lines.stream().write_all(words.as_bytes()).await.map_err(|error| unreached(&error))
}

/// A reply of one or more lines; gives the text of the last one.
async fn reply(lines: &mut Lines, wanted: u16) -> Result<String, Bad> {
    loop {
        let line = lines.next().await?;
        match parse(&line)? {
            Reply { last: false, .. } => {}
            Reply { code, text, .. } if code == wanted => return Ok(text),
            Reply { code, text, .. } => {
                return Err(Bad::new(Kind::Wrong, format!("{code} {text} instead of {wanted}")));
            }
        }
    }
}

/// A line of a reply (RFC 5321 section 4.2).
#[derive(Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    last: bool,
    /// What is said, for a listing.
    pub text: String,
}

/// Reads a line of a reply.
///
/// # Errors
/// It is none.
pub fn parse(line: &[u8]) -> Result<Reply, Bad> {
    let text = String::from_utf8_lossy(line);
    let code = text.get(..3).filter(|code| code.bytes().all(|b| b.is_ascii_digit()));
    let separator = text.get(3..4).unwrap_or(" ");
    match (code.and_then(|code| code.parse().ok()), separator) {
        (Some(code), " " | "-") => {
            let last = separator == " ";
            Ok(Reply { code, last, text: shown(line.get(4..).unwrap_or_default()) })
        }
        _ => Err(Bad::new(Kind::Malformed, format!("not an answer of SMTP: {}", shown(line)))),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn lines_of_replies() {
        for (line, code, last) in [
            ("220 mx.example ESMTP Postfix", 220, true),
            ("250-mx.example", 250, false),
            ("250", 250, true),
        ] {
            let reply = parse(line.as_bytes()).expect("a reply");
            assert_eq!((reply.code, reply.last), (code, last), "{line}");
        }
        for line in ["", "22", "22x", "220_", "SSH-2.0-OpenSSH_9.2", "\u{e9}\u{e9}"] {
            assert!(parse(line.as_bytes()).is_err(), "{line}");
        }
    }
}
