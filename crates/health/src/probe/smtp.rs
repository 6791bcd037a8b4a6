//! A mail server greets.

use super::net::Net;
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target, helo: &str) -> Result<Good, Bad> {
    let _ = (net, target, helo);
    Err(Bad::new(Kind::Local, "not written yet"))
}
