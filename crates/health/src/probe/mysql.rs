//! MySQL greets.

use super::net::Net;
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(net: &Net, target: &Target) -> Result<Good, Bad> {
    let _ = (net, target);
    Err(Bad::new(Kind::Local, "not written yet"))
}
