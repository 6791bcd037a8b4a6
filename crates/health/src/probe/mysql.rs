//! MySQL and MariaDB greet (protocol 10) before anybody has said a word. We answer by a login, which
//! they may refuse: who hears the greeting and goes counts as an error of this box, and after
//! `max_connect_errors` (100) of them they would let nobody of it in any more.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    net::{Net, unreached},
    shown,
};
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

/// Greetings and errors are some hundred octets long.
const MOST: usize = 4096;
/// First octets of packets: a greeting, an error, another way to log in.
const GREETING: u8 = 10;
const ERROR: u8 = 0xff;
const SWITCH: u8 = 0xfe;
/// Errors of one who does not serve: out of memory, too many connections, no resources, shutting
/// down, the host is blocked, no thread. Others refuse the user.
const UNWELL: [u16; 7] = [1037, 1038, 1040, 1041, 1053, 1129, 1135];

pub(super) async fn ask(net: &Net, target: &Target) -> Result<Good, Bad> {
    let (mut stream, _pin) = net.connect(target).await?;
    let (_, greeting) = hear(&mut stream).await?;
    let good = greets(&greeting)?;
    say(&mut stream, 1, &login()).await?;
    let (number, mut answer) = hear(&mut stream).await?;
    if answer.first() == Some(&SWITCH) {
        // No password, whatever it would like to do with it.
        say(&mut stream, number.wrapping_add(1), &[]).await?;
        (_, answer) = hear(&mut stream).await?;
    }
    judge(&answer)?;
    // COM_QUIT, if we are in; the answer is known by now.
    let _ = say(&mut stream, 0, &[1]).await;
    Ok(good)
}

/// The next packet and its number.
async fn hear(stream: &mut TcpStream) -> Result<(u8, Vec<u8>), Bad> {
    let mut octets = Vec::new();
    loop {
        match packet(&octets) {
            Some(Ok((number, body))) => return Ok((number, body.to_vec())),
            Some(Err(bad)) => return Err(bad),
            None => {}
        }
        let read = stream.read_buf(&mut octets).await.map_err(|error| unreached(&error))?;
        if read == 0 {
            return Err(Bad::new(Kind::Closed, "connection closed in the middle of an answer"));
        }
    }
}

async fn say(stream: &mut TcpStream, number: u8, body: &[u8]) -> Result<(), Bad> {
    let mut octets = (body.len() as u32).to_le_bytes();
    octets[3] = number;
    let octets = [&octets, body].concat();
    stream.write_all(&octets).await.map_err(|error| unreached(&error))
}

/// `HandshakeResponse41` of the user `xlvs` without a password.
fn login() -> Vec<u8> {
    /// Long password, protocol 41, secure connection, plugins of authentication.
    const ABLE: u32 = 0x1 | 0x200 | 0x8000 | 0x8_0000;
    const UTF8: u8 = 33;
    let mut octets = ABLE.to_le_bytes().to_vec();
    octets.extend((MOST as u32).to_le_bytes());
    octets.push(UTF8);
    octets.extend([0; 23]);
    // The name; the length of the answer to the greeting's challenge; the plugin.
    octets.extend(b"xlvs\0\0mysql_native_password\0");
    octets
}

/// Takes a packet: three octets of length, a number, and the body. `None`: it is not all there yet.
fn packet(octets: &[u8]) -> Option<Result<(u8, &[u8]), Bad>> {
    let [a, b, c, number, ..] = *octets else { return None };
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    if length == 0 || length > MOST {
        return Some(Err(other(octets)));
    }
    Some(Ok((number, octets.get(4..4 + length)?)))
}

fn other(octets: &[u8]) -> Bad {
    Bad::new(Kind::Malformed, format!("not an answer of MySQL: {}", shown(octets)))
}

/// Reads the first packet. `None`: it is not all there yet.
pub fn parse(octets: &[u8]) -> Option<Result<Good, Bad>> {
    Some(packet(octets)?.and_then(|(_, body)| greets(body)))
}

/// A greeting, or an error.
fn greets(body: &[u8]) -> Result<Good, Bad> {
    match body {
        [GREETING, rest @ ..] if rest.contains(&0) => {
            let version = rest.split(|octet| *octet == 0).next().unwrap_or_default();
            Ok(Good::new(format!("MySQL {}", shown(version))))
        }
        [ERROR, low, high, rest @ ..] => Err(error(u16::from_le_bytes([*low, *high]), rest)),
        _ => Err(other(body)),
    }
}

/// Reads what it says to a login.
///
/// # Errors
/// It cannot serve anybody.
pub fn judge(body: &[u8]) -> Result<(), Bad> {
    match body {
        [ERROR, low, high, rest @ ..] => match u16::from_le_bytes([*low, *high]) {
            code if UNWELL.contains(&code) => Err(error(code, rest)),
            _ => Ok(()),
        },
        [] => Err(other(body)),
        _ => Ok(()),
    }
}

/// Behind the code, and a mark and a state of five letters, is the message.
fn error(code: u16, rest: &[u8]) -> Bad {
    let message = match rest {
        [b'#', _, _, _, _, _, message @ ..] => message,
        all => all,
    };
    Bad::new(Kind::Wrong, format!("MySQL error {code}: {}", shown(message)))
}

#[cfg(test)]
mod tests {
    use super::{judge, login, parse};

    fn packet(octets: &[u8]) -> Vec<u8> {
        let mut packet = vec![octets.len() as u8, 0, 0, 0];
        packet.extend(octets);
        packet
    }

    #[test]
    fn greetings() {
        let greeting = packet(b"\x0a5.5.5-10.11.6-MariaDB\x00\x1f\x00\x00\x00rest");
        let good = parse(&greeting).expect("all of it").expect("good");
        assert_eq!(good.text, "MySQL 5.5.5-10.11.6-MariaDB");
        for end in 0..greeting.len() {
            assert!(parse(&greeting[..end]).is_none(), "{end}");
        }
        let full = packet(b"\xff\x10\x04Too many connections");
        let bad = parse(&full).expect("all of it").expect_err("an error");
        assert_eq!(bad.text, "MySQL error 1040: Too many connections");
        let blocked = packet(b"\xff\x69\x04#HY000Host is blocked");
        let bad = parse(&blocked).expect("all of it").expect_err("an error");
        assert_eq!(bad.text, "MySQL error 1129: Host is blocked");
        for other in [&b"HTTP/1.1 400 Bad Request\r\n"[..], &[0, 0, 0, 0], &packet(&[9, 1, 0])] {
            assert!(parse(other).expect("all of it").is_err(), "{other:?}");
        }
    }

    /// As MariaDB 10.11 says it to a socket.
    #[test]
    fn answers_to_a_login() {
        let login = login();
        assert_eq!((login.len(), &login[..4]), (32 + 5 + 1 + 22, &[1, 0x82, 8, 0][..]));
        let denied = b"\xff\x15\x04#28000Access denied for user 'xlvs'@'a' (using password: NO)";
        for fine in [&denied[..], b"\0\0\0\x02\0\0\0", b"\xff\x1a\x06#28000Access denied"] {
            assert_eq!(judge(fine), Ok(()));
        }
        let bad = judge(b"\xff\x10\x04#08004Too many connections").expect_err("full");
        assert_eq!(bad.text, "MySQL error 1040: Too many connections");
        assert!(judge(b"").is_err());
    }
}
