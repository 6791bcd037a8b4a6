//! MySQL and MariaDB greet (protocol 10) before anybody has said a word.

use tokio::io::AsyncReadExt;

use super::{
    net::{Net, unreached},
    shown,
};
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

/// Greetings are some hundred octets long.
const MOST: usize = 4096;

pub(super) async fn ask(net: &Net, target: &Target) -> Result<Good, Bad> {
    let (mut stream, _pin) = net.connect(target).await?;
    let mut octets = Vec::new();
    loop {
        if let Some(answer) = parse(&octets) {
            return answer;
        }
        let read = stream.read_buf(&mut octets).await.map_err(|error| unreached(&error))?;
        if read == 0 {
            return Err(Bad::new(Kind::Closed, "connection closed in the middle of the greeting"));
        }
    }
}

/// Reads the first packet: three octets of length, a number, and the greeting or an error.
/// `None`: it is not all there yet.
pub fn parse(octets: &[u8]) -> Option<Result<Good, Bad>> {
    let [a, b, c, _number, ..] = *octets else { return None };
    let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
    if length == 0 || length > MOST {
        let sentence = format!("not a greeting of MySQL: {}", shown(octets));
        return Some(Err(Bad::new(Kind::Malformed, sentence)));
    }
    let packet = octets.get(4..4 + length)?;
    Some(match packet {
        [10, rest @ ..] if rest.contains(&0) => {
            let version = rest.split(|octet| *octet == 0).next().unwrap_or_default();
            Ok(Good::new(format!("MySQL {}", shown(version))))
        }
        // The code, and behind a mark and a state of five letters the message.
        [0xff, low, high, message @ ..] => {
            let code = u16::from_le_bytes([*low, *high]);
            let message = match message {
                [b'#', _, _, _, _, _, rest @ ..] => rest,
                all => all,
            };
            Err(Bad::new(Kind::Wrong, format!("MySQL error {code}: {}", shown(message))))
        }
        other => {
            let sentence = format!("not a greeting of MySQL: {}", shown(other));
            Err(Bad::new(Kind::Malformed, sentence))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::parse;

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
}
