//! By interface and queue.

use crate::{
    metrics::{families as f, page::Page},
    report::{Interface, Report, Ring, XdpMode},
};

pub(super) fn fill(page: &mut Page<'_>, report: &Report) {
    interfaces(page, &report.interfaces);
    rings(page, &report.rings);
}

fn interfaces(page: &mut Page<'_>, interfaces: &[Interface]) {
    let mut info = page.family(&f::INTERFACE);
    for interface in interfaces {
        let mode = interface.xdp_mode.map_or("none", XdpMode::name);
        let copies = if interface.zero_copy { "true" } else { "false" };
        info.add(&[&interface.name, &interface.mac, mode, copies], 1);
    }
    for (family, pick) in [
        (&f::INTERFACE_UP, (|it| it.up.into()) as fn(&Interface) -> u64),
        (&f::INTERFACE_ATTACHED, |it| it.xdp_mode.is_some().into()),
        (&f::INTERFACE_MTU, |it| it.mtu.into()),
        (&f::INTERFACE_QUEUES, |it| it.queues.into()),
        (&f::XDP_TAKEN, |it| it.taken),
        (&f::XDP_PASSED, |it| it.passed),
        (&f::XDP_OVERSIZE, |it| it.oversize),
        (&f::XDP_NO_SOCKET, |it| it.no_socket),
    ] {
        let mut samples = page.family(family);
        interfaces.iter().for_each(|it| samples.count(&[&it.name], pick(it)));
    }
}

fn rings(page: &mut Page<'_>, rings: &[Ring]) {
    let numbers = |ring: &Ring| [ring.queue.to_string(), ring.worker.to_string()];
    for (family, pick) in [
        (&f::XSK_RX_DROPPED, (|ring| ring.rx_dropped) as fn(&Ring) -> u64),
        (&f::XSK_RING_FULL, |ring| ring.rx_ring_full),
        (&f::XSK_FILL_EMPTY, |ring| ring.fill_ring_empty),
        (&f::XSK_TX_EMPTY, |ring| ring.tx_ring_empty),
    ] {
        let mut samples = page.family(family);
        for ring in rings {
            let [queue, worker] = numbers(ring);
            samples.count(&[&ring.interface, &queue, &worker], pick(ring));
        }
    }
    let mut invalid = page.family(&f::XSK_INVALID);
    for ring in rings {
        let [queue, worker] = numbers(ring);
        for (name, count) in [("rx", ring.rx_invalid), ("tx", ring.tx_invalid)] {
            invalid.count(&[&ring.interface, &queue, &worker, name], count);
        }
    }
}
