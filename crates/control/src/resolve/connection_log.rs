//! The connection log and the services that it is about.

use crate::{fault::Fault, file::File, model::ConnectionLog};

pub(super) fn of(file: &File, faults: &mut Vec<Fault>) -> Option<ConnectionLog> {
    let log = file.connection_log.as_ref()?;
    let known: Vec<&str> =
        file.services.iter().filter_map(|service| Some(&*service.name.as_ref()?.value)).collect();
    for put in log.services.iter().flatten() {
        if !known.contains(&&*put.value) {
            let sentence = format!("{:?}: there is no service of that name", put.value);
            let remedy = "write the name of a service, or leave services away to log all";
            faults.push(put.spot.fault(sentence, remedy));
        }
    }
    let names =
        |names: &Vec<crate::file::Put<String>>| names.iter().map(|put| put.value.clone()).collect();
    Some(ConnectionLog {
        file: log.file.clone(),
        rate: log.rate,
        size: log.size.into(),
        services: log.services.as_ref().map(names),
    })
}
