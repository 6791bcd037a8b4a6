//! What xlvs changes in the kernel, and that it takes it back. Needs root.

mod topology_lab;

use control::kernel::{
    addresses::{AddressError, Addresses, ManagedAddress},
    sysctl,
};
use topology_lab::in_lab;

fn managed(address: &str, length: u8, interface: &str) -> ManagedAddress {
    let address = address.parse().expect("an address");
    ManagedAddress { address, length, interface: interface.into() }
}

/// Runs `body` with a netlink connection of this thread's namespace.
fn with_addresses(body: impl AsyncFnOnce(Addresses)) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime").block_on(async {
        let (connection, handle, _) = rtnetlink::new_connection().expect("netlink");
        tokio::spawn(connection);
        body(Addresses::new(handle)).await;
    });
}

#[test]
fn vips_are_added_announced_and_taken_back() {
    in_lab(|lab| {
        lab.near("ip link set eth0 address 02:00:00:00:00:01");
        lab.far(
            "ip addr add 203.0.113.1/24 dev far0; ip -6 addr add 2001:db8::1/64 dev far0 nodad",
        );
        let vips = ["203.0.113.10", "2001:db8::10"];
        for vip in vips {
            lab.far(&format!("ip neigh add {vip} lladdr 02:00:00:00:00:99 dev far0 nud stale"));
        }
        let wanted = [
            managed(vips[0], 32, "eth0"),
            managed(vips[1], 128, "eth0"),
            managed(vips[0], 32, "lo"),
        ];
        let shown = || lab.near("ip -o addr show | grep -E '113[.]10/|::10/' || true");
        with_addresses(async |mut addresses| {
            for vip in &wanted {
                addresses.add(vip).await.expect("added");
            }
            let there = shown();
            assert!(there.contains("inet 203.0.113.10/32 scope global eth0"), "{there}");
            assert!(there.contains("inet6 2001:db8::10/128"), "{there}");
            assert!(!there.contains("tentative"), "{there}");
            // As a killed run leaves them.
        });
        let learnt = lab.far("sleep 0.2; ip neigh");
        for vip in vips {
            assert!(
                learnt.contains(&format!("{vip} dev far0 lladdr 02:00:00:00:00:01")),
                "{learnt}"
            );
        }
        lab.near("ip addr add 203.0.113.11/32 dev eth0; ip link set eth0 mtu 1400");
        with_addresses(async |mut addresses| {
            for vip in &wanted {
                addresses.add(vip).await.expect("adopted");
            }
            let used = managed("203.0.113.11", 32, "eth0");
            addresses.add(&used).await.expect("used");
            assert!(!addresses.remove(&used).await.expect("left alone"), "not ours");
            assert!(addresses.remove(&wanted[1]).await.expect("removed"));
            lab.near("ip addr del 203.0.113.10/32 dev lo");
            assert_eq!(addresses.remove_all().await.len(), 0, "also if one is gone already");

            let nowhere = managed(vips[0], 32, "eth7");
            let error = addresses.add(&nowhere).await.expect_err("no such interface");
            assert!(matches!(error, AddressError::NoInterface { .. }));
            assert!(error.to_string().contains("203.0.113.10: there is no interface eth7"));
        });
        assert_eq!(shown(), "");
        with_addresses(async |mut addresses| addresses.add(&wanted[0]).await.expect("left again"));
        with_addresses(async |mut addresses| {
            for left in [&wanted[0], &wanted[1], &managed("203.0.113.11", 32, "eth0")] {
                addresses.clear(left).await.expect("cleared");
            }
        });
        assert_eq!(shown(), "");
        assert!(lab.near("ip addr show dev eth0").contains("203.0.113.11/32"), "not ours: stays");
    });
}

#[test]
fn the_tap_is_prepared() {
    in_lab(|lab| {
        lab.near("ip link add tap0 type veth peer name tap1");
        let set = |key: &str, value: &str| {
            lab.near(&format!("echo {value} >/proc/sys/net/{key}"));
        };
        let get = |key: &str| lab.near(&format!("cat /proc/sys/net/{key}")).trim().to_owned();
        // rp_filter and forwarding given; rp_filter and forwarding of the TAP expected.
        let table = [("0", "0", "0", "0"), ("1", "1", "2", "1"), ("2", "0", "0", "0")];
        for (all, forwarding, rp_filter, forwards) in table {
            set("ipv4/conf/all/rp_filter", all);
            set("ipv4/conf/tap0/rp_filter", "1");
            set("ipv4/conf/eth0/forwarding", forwarding);
            set("ipv6/conf/eth0/forwarding", forwarding);
            sysctl::prepare_tap("tap0", &["eth0".into(), "eth7".into()]).expect("prepared");
            for (key, expected) in [
                ("ipv4/conf/tap0/rp_filter", rp_filter),
                ("ipv4/conf/tap0/forwarding", forwards),
                ("ipv6/conf/tap0/forwarding", forwards),
                ("ipv6/conf/tap0/accept_ra", "0"),
                ("ipv6/conf/tap0/addr_gen_mode", "1"),
            ] {
                assert_eq!(get(key), expected, "{key} with rp_filter {all}");
            }
        }
        set("ipv4/ip_local_port_range", "40000 50001");
        assert_eq!(sysctl::ephemeral_ports().expect("read"), 40000..=50001);
        lab.near("ip link set tap0 up");
        assert_eq!(lab.near("ip -6 addr show dev tap0"), "", "no address of its own");
    });
}
