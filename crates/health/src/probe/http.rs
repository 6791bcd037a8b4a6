//! A page by HTTP/1.0, 1.1 or 2, plain or over TLS.

use super::net::Net;
use crate::{
    check::{Http, Target},
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, probe: &Http) -> Result<Good, Bad> {
    let _ = (net, target, probe);
    Err(Bad::new(Kind::Local, "not written yet"))
}
