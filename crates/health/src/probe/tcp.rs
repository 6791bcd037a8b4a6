//! TCP connects; something may be sent, and something expected.

use super::net::Net;
use crate::{
    check::{Target, Tcp},
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, probe: &Tcp) -> Result<Good, Bad> {
    let _ = (net, target, probe);
    Err(Bad::new(Kind::Local, "not written yet"))
}
