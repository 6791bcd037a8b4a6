//! The options of `-L`.

use super::legal::{Field, Given};
use super::options::ListOption;
use crate::command::{ListSpec, ListWhat, ServiceRef, View};
use crate::refusal::Refusal;

/// What has been read of a listing; the rest is in [`Given`].
#[derive(Debug, Default)]
pub(super) struct ListPart {
    pub(super) numeric: bool,
    exact: bool,
    unsorted: bool,
}

impl ListPart {
    pub(super) fn take(&mut self, option: ListOption) {
        match option {
            ListOption::Numeric => self.numeric = true,
            ListOption::Exact => self.exact = true,
            ListOption::NoSort => self.unsorted = true,
            _ => {}
        }
    }

    pub(super) fn spec(
        &self,
        given: &Given,
        service: Option<ServiceRef>,
    ) -> Result<ListSpec, Refusal> {
        let no_table = given.has_any(&[Field::Connection, Field::Timeout, Field::Daemon]);
        let columns = given.has_any(&[Field::Stats, Field::Rate, Field::Thresholds]);
        let settings = given.has_any(&[Field::Timeout, Field::Daemon]);
        if no_table && columns || settings && given.has(Field::PersistentConn) {
            return Err(Refusal::usage("options conflicts in the list command"));
        }
        let what = if given.has(Field::Connection) {
            ListWhat::Connections { engine: given.has(Field::PersistentConn) }
        } else if given.has(Field::Timeout) {
            ListWhat::Timeouts
        } else if given.has(Field::Daemon) {
            ListWhat::Daemons
        } else {
            ListWhat::Table { service, view: view(given) }
        };
        Ok(ListSpec { what, numeric: self.numeric, exact: self.exact, sorted: !self.unsorted })
    }
}

/// Of several views the first in this order is shown.
fn view(given: &Given) -> View {
    [
        (Field::Stats, View::Stats),
        (Field::Rate, View::Rate),
        (Field::Thresholds, View::Thresholds),
        (Field::PersistentConn, View::PersistentConn),
        (Field::TunInfo, View::TunInfo),
    ]
    .into_iter()
    .find(|(field, _)| given.has(*field))
    .map_or(View::Plain, |(_, view)| view)
}
