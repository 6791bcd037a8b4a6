//! A DNS question by UDP.

use super::net::Net;
use crate::{
    check::{Dns, Target},
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, probe: &Dns) -> Result<Good, Bad> {
    let _ = (net, target, probe);
    Err(Bad::new(Kind::Local, "not written yet"))
}
