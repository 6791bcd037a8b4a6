//! Services on port 0 beside what listens on this box: they would swallow its packets.

use dataplane::forward::Endpoint;

use super::Surroundings;
use crate::{
    fault::Fault,
    file::{File, Put, Takes},
};

/// Reports ports of this box that a service on port 0 would take without being told so.
pub(super) fn check(file: &File, around: &Surroundings, faults: &mut Vec<Fault>) {
    for service in &file.services {
        let Takes::Listen(listen) = &service.takes else { continue };
        let except = service.except_ports.as_ref().map(|put| put.value.as_slice());
        let except = except.unwrap_or_default();
        for Put { value: endpoint, spot } in listen.iter().filter(|put| put.value.port == 0) {
            let ports = around.sockets.losing(endpoint.address, |socket| {
                socket.protocol == endpoint.protocol
                    && !except.iter().any(|range| range.contains(&socket.port))
                    && !listens(file, endpoint, socket.port)
            });
            if ports.is_empty() {
                continue;
            }
            let ports = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
            faults.push(spot.fault(
                format!("{endpoint} would take what this box's own sockets get on port {ports}"),
                format!("add except_ports: [{ports}], or stop listening there"),
            ));
        }
    }
}

/// A service of the file has that port of the VIP anyway.
fn listens(file: &File, wild: &Endpoint, port: u16) -> bool {
    let exact = Endpoint { port, ..*wild };
    file.services.iter().any(|service| match &service.takes {
        Takes::Listen(listen) => listen.iter().any(|put| put.value == exact),
        Takes::Mark { .. } => false,
    })
}
