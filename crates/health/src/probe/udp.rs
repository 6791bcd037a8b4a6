//! A datagram.

use super::net::Net;
use crate::{
    check::{Target, Udp},
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, probe: &Udp) -> Result<Good, Bad> {
    let _ = (net, target, probe);
    Err(Bad::new(Kind::Local, "not written yet"))
}
