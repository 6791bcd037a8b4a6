//! TCP connects; something may be sent, and something expected.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::net::{Net, unreached};
use crate::{
    check::{Target, Tcp},
    outcome::{Bad, Good, Kind},
};

/// What is expected must come within so many octets.
const MOST: usize = 64 * 1024;

pub(super) async fn ask(net: &Net, target: &Target, probe: &Tcp) -> Result<Good, Bad> {
    let (mut stream, _pin) = net.connect(target).await?;
    if !probe.send.is_empty() {
        stream.write_all(&probe.send).await.map_err(|error| unreached(&error))?;
    }
    if probe.expect.is_empty() {
        return Ok(Good::new("connected"));
    }
    let mut answer = Vec::new();
    let mut searched = 0;
    while answer.len() < MOST {
        let read = stream.read_buf(&mut answer).await.map_err(|error| unreached(&error))?;
        if read == 0 {
            return Err(Bad::new(Kind::Closed, "connection closed before the expected answer"));
        }
        // What is looked for may have begun in what came before.
        if find(&answer[searched..], &probe.expect) {
            return Ok(Good::new("connected, and the expected answer"));
        }
        searched = answer.len().saturating_sub(probe.expect.len() - 1);
    }
    Err(Bad::new(Kind::Wrong, format!("not the expected answer in its first {MOST} octets")))
}

/// Whether it is in there; what is looked for has an octet at least.
pub fn find(octets: &[u8], wanted: &[u8]) -> bool {
    octets.windows(wanted.len()).any(|window| window == wanted)
}
