//! From the model to what the workers read. Total: a [`Model`] has passed every check, so
//! nothing here can fail.

mod ids;

pub use ids::{Ids, ServerKey};

use dataplane::{
    forward::{Forward, ServiceKey},
    snapshot::{self, ServerId, ServiceId, Services, Settings},
};

use crate::model::{Compat, Model, Server, Service};

/// Compiles the model. Ids of services and servers that were there before stay; new ones are
/// given in file order. What left the file stays as long as [`Ids`] says, out of `by_key` and
/// out of every candidate list.
///
/// Every server comes out up and undrained, the sorry server among the others: the owners of
/// these states overlay them before publication.
pub fn compile(model: &Model, ids: &mut Ids) -> Services {
    ids.begin();
    let mut services = Services {
        settings: Settings {
            compat_lvs: model.compat == Compat::Lvs,
            access: model.access.clone(),
            defence: model.defence,
            logged: model.connection_log.as_ref().and_then(|log| log.services.clone()),
        },
        marks: model.marks.clone(),
        probe_sources: model.probe_sources.clone(),
        ..Services::default()
    };
    for service in &model.services {
        let id = ids.service(service.key);
        let servers = candidates(service, id, model.compat, ids);
        ids.set_service(id, record(service, servers));
        services.by_key.insert(service.key, id);
    }
    ids.finish();
    services.services = ids.services().to_vec();
    services.servers = ids.servers().to_vec();
    services.derive();
    services
}

/// Gives the service's servers their ids and returns these in scheduling order: that of the
/// file, or, as in the kernel, of addition with the newest first.
fn candidates(service: &Service, id: ServiceId, compat: Compat, ids: &mut Ids) -> Vec<ServerId> {
    let mut order: Vec<ServerId> = service
        .servers
        .iter()
        .chain(&service.health.sorry)
        .map(|server| place(server, (service.key, id), compat, ids))
        .collect();
    if compat == Compat::Lvs {
        order.reverse();
    }
    order
}

fn place(
    server: &Server,
    (service, id): (ServiceKey, ServiceId),
    compat: Compat,
    ids: &mut Ids,
) -> ServerId {
    let key = ServerKey { service, address: server.address, port: server.port };
    let mut record = snapshot::Server {
        weight: server.weight,
        tunnel: server.tunnel,
        upper: server.upper,
        lower: server.lower,
        mac: server.mac,
        edition: server.edition,
        ..snapshot::Server::new(id, server.address, server.port, server.forward)
    };
    if let Some(before) = ids.record(&key) {
        record.former = before.former.and(before.forward);
        // The kernel has one tunnel for a server: an edit to another method makes it IP in IP,
        // for live connections, too (`__ip_vs_update_dest`).
        if record.forward != Forward::Tun && compat != Compat::Lvs {
            record.tunnel = before.tunnel;
        }
    }
    ids.server(key, record)
}

fn record(service: &Service, servers: Vec<ServerId>) -> snapshot::Service {
    snapshot::Service {
        name: service.name.clone(),
        key: service.key,
        servers,
        policy: service.policy.clone(),
    }
}
