//! A datagram. Without an expected reply silence is good, as in keepalived: only ICMP tells that
//! nobody is there, and it needs time to come.

use std::time::Duration;

use super::net::{Net, receive, unreached};
use crate::{
    check::{Target, Udp},
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(
    net: &Net,
    target: &Target,
    probe: &Udp,
    timeout: Duration,
) -> Result<Good, Bad> {
    let (socket, _pin) = net.datagrams(target).await?;
    let datagram: &[u8] = if probe.send.is_empty() { &[0] } else { &probe.send };
    socket.send(datagram).await.map_err(|error| unreached(&error))?;
    let Some(expected) = &probe.expect else {
        // Ends before the deadline does: that one is a failure.
        let patience = timeout * 9 / 10;
        return match tokio::time::timeout(patience, receive(&socket)).await {
            Ok(Ok(reply)) => Ok(Good::new(format!("a reply of {} octets", reply.len()))),
            Ok(Err(bad)) => Err(bad),
            Err(_) => Ok(Good::new("no refusal")),
        };
    };
    judge(&receive(&socket).await?, expected)
}

/// Whether a reply begins as it should; `None` is any octet.
///
/// # Errors
/// It does not.
pub fn judge(reply: &[u8], expected: &[Option<u8>]) -> Result<Good, Bad> {
    let agrees = |(octet, wanted): (&u8, &Option<u8>)| wanted.is_none_or(|wanted| wanted == *octet);
    if reply.len() >= expected.len() && reply.iter().zip(expected).all(agrees) {
        return Ok(Good::new("the expected reply"));
    }
    let length = reply.len();
    Err(Bad::new(Kind::Wrong, format!("a reply of {length} octets that is not the expected one")))
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::{ask, judge};
    use crate::{
        check::{Target, Udp, Via},
        outcome::Kind,
        probe::Net,
    };

    /// ICMP's refusal is heard, whether a reply is wanted or not.
    #[tokio::test]
    async fn nobody_listens() {
        let net = Net::default();
        for address in ["127.0.0.1", "::1"] {
            let socket = UdpSocket::bind((address, 0)).expect("a port");
            let here = socket.local_addr().expect("an address");
            drop(socket);
            let target = Target {
                address: here.ip(),
                port: here.port(),
                source: None,
                interface: None,
                via: Via::Direct,
            };
            for expect in [None, Some(vec![None])] {
                let probe = Udp { send: vec![], expect };
                let asked = ask(&net, &target, &probe, Duration::from_secs(2));
                let bad = tokio::time::timeout(Duration::from_secs(1), asked).await;
                assert_eq!(bad.expect("at once").expect_err("nobody").kind, Kind::Refused);
            }
        }
    }

    #[test]
    fn replies() {
        let expected = [Some(1), None, Some(3)];
        for (reply, good) in
            [(&[1, 2, 3][..], true), (&[1, 9, 3, 4], true), (&[1, 2], false), (&[1, 2, 4], false)]
        {
            assert_eq!(judge(reply, &expected).is_ok(), good, "{reply:?}");
        }
        assert!(judge(&[], &[]).is_ok());
    }
}
