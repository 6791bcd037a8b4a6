//! PostgreSQL answers a start-up message.

use super::net::Net;
use crate::{
    check::Target,
    outcome::{Bad, Good, Kind},
};

pub(super) async fn ask(
    net: &Net,
    target: &Target,
    user: &str,
    database: Option<&str>,
) -> Result<Good, Bad> {
    let _ = (net, target, user, database);
    Err(Bad::new(Kind::Local, "not written yet"))
}
