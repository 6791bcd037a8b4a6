//! Interfaces that come and go without an anchor, as in zero-copy, where the TAP cannot be
//! one: which socket carries the memory. Needs root.

mod net;

use net::{in_namespace, run, veth};
use xsk::{Ledger, OpenError, Pool, Port, PortConfig, Umem, UmemConfig};

const CONFIG: PortConfig =
    PortConfig { rx: 256, tx: 256, fill: 256, zero_copy: false, need_wakeup: true };
const ALL_HOME: Ledger = Ledger { total: 1024, pool: 1024, rx_lent: 0, tx_lent: 0, held: 0 };

fn umem() -> (Umem, Pool) {
    let config = UmemConfig { chunk_size: 2048, frames_per_worker: vec![1024] };
    let (umem, mut pools) = Umem::new(config).unwrap();
    (umem, pools.remove(0))
}

#[test]
fn without_an_anchor_any_port_that_is_left_carries_the_memory() {
    in_namespace(|| {
        let (umem, mut pool) = umem();
        let pool = &mut pool;
        let open = |name: &str, pool: &mut Pool| {
            veth(name, &format!("{name}p"), 1);
            Port::open(&umem, name, 0, &CONFIG).map(|mut port| {
                port.refill(pool);
                port
            })
        };
        let vanish = |port: Port, pool: &mut Pool| {
            run(&format!("ip link del {}", port.ifname()));
            assert_eq!(port.close(pool), 0, "nobody writes to them any more");
        };
        let [first, second] = ["a0", "b0"].map(|name| open(name, pool).unwrap());
        vanish(first, pool);
        let third = open("a0", pool).unwrap();
        vanish(second, pool);
        let fourth = open("b0", pool).unwrap();
        assert_eq!(pool.ledger().rx_lent, 512);
        vanish(third, pool);
        vanish(fourth, pool);
        let refusal = open("a0", pool).unwrap_err();
        assert!(matches!(refusal, OpenError::Orphaned { .. }), "{refusal}");
        assert_eq!((pool.ledger(), pool.strays()), (ALL_HOME, 0));
    });
}

#[test]
fn a_port_that_carries_the_memory_stays_bound() {
    in_namespace(|| {
        let (umem, mut pool) = umem();
        let pool = &mut pool;
        for name in ["a0", "b0", "c0"] {
            veth(name, &format!("{name}p"), 1);
        }
        let [first, mut second] =
            ["a0", "b0"].map(|name| Port::open(&umem, name, 0, &CONFIG).unwrap());
        run("ip link del a0");
        // The first one's descriptor is still in use.
        assert!(matches!(Port::open(&umem, "c0", 0, &CONFIG), Err(OpenError::Orphaned { .. })));
        first.close(pool);
        let third = Port::open(&umem, "c0", 0, &CONFIG).unwrap();
        second.refill(pool);
        assert_eq!(second.close(pool), 256, "the kernel may still write to them");
        assert_eq!(third.close(pool), 0);
        assert!(pool.ledger().holds());
    });
}
