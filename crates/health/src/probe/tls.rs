//! A TLS handshake.

use super::net::Net;
use crate::{
    check::{Target, Tls},
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, probe: &Tls) -> Result<Good, Bad> {
    let _ = (net, target, probe);
    Err(Bad::new(Kind::Local, "not written yet"))
}
