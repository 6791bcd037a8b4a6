//! Redis answers PING (RESP, a line each).

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

pub(super) async fn ask(net: &Net, target: &Target, password: Option<&str>) -> Result<Good, Bad> {
    let (stream, _pin) = net.connect(target).await?;
    let mut lines = Lines::new(stream);
    if let Some(password) = password {
        say(&mut lines, &command(&["AUTH", password])).await?;
        parse(&lines.next().await?, "OK")?;
    }
    say(&mut lines, &command(&["PING"])).await?;
    parse(&lines.next().await?, "PONG")
}

async fn say(lines: &mut Lines, octets: &[u8]) -> Result<(), Bad> {
    lines.stream().write_all(octets).await.map_err(|error| unreached(&error))
}

/// A command as an array of strings, so that a password may be anything.
fn command(words: &[&str]) -> Vec<u8> {
    let mut octets = format!("*{}\r\n", words.len());
    for word in words {
        octets += &format!("${}\r\n{word}\r\n", word.len());
    }
    octets.into_bytes()
}

/// Reads an answer of one line.
///
/// # Errors
/// It is an error (`-LOADING`, `-NOAUTH`, ...), another answer, or none of Redis.
pub fn parse(line: &[u8], wanted: &str) -> Result<Good, Bad> {
    match line.split_first() {
        Some((b'+', text)) if text == wanted.as_bytes() => Ok(Good::new(format!("+{wanted}"))),
        Some((b'+' | b'-' | b':' | b'$' | b'*', _)) => {
            Err(Bad::new(Kind::Wrong, format!("{} instead of +{wanted}", shown(line))))
        }
        _ => Err(Bad::new(Kind::Malformed, format!("not an answer of Redis: {}", shown(line)))),
    }
}

#[cfg(test)]
mod tests {
    use super::{command, parse};
    use crate::outcome::Kind;

    #[test]
    fn answers() {
        assert_eq!(command(&["AUTH", "a b"]), b"*2\r\n$4\r\nAUTH\r\n$3\r\na b\r\n");
        assert!(parse(b"+PONG", "PONG").is_ok());
        for (line, kind) in [
            (&b"-LOADING Redis is loading the dataset in memory"[..], Kind::Wrong),
            (b"-NOAUTH Authentication required.", Kind::Wrong),
            (b"+OK", Kind::Wrong),
            (b"HTTP/1.1 400 Bad Request", Kind::Malformed),
            (b"", Kind::Malformed),
        ] {
            assert_eq!(parse(line, "PONG").expect_err("not good").kind, kind);
        }
    }
}
