//! What fits, and what it costs.

use dataplane::{
    forward::{Forward, V4, V6},
    table::{InsertError, Table, TableConfig},
};

use crate::{Family, connection, keys, table};

/// Every entry can be had, also when all connections have two keys, and again after all ended.
fn fill<A: Family>(capacity: usize, forward: Forward) {
    let table = table::<A>(capacity, capacity as u64);
    for round in 0..2 {
        for n in 0..capacity as u32 {
            let result = table.insert(&connection(n, forward), 1, 900, 0);
            assert!(result.is_ok(), "{n} of {capacity} in round {round}: {result:?}");
        }
        let one_more = table.insert(&connection(capacity as u32, forward), 1, 900, 0);
        assert_eq!(one_more, Err(InsertError::Full));
        assert_eq!(table.len(), capacity);
        for n in 0..capacity as u32 {
            for key in keys(&connection::<A>(n, forward)) {
                assert_eq!(table.find(&key).map(|f| f.connection), Some(connection(n, forward)));
            }
        }
        table.for_each(&mut |found| assert!(table.remove(&found)));
        assert_eq!((table.len(), table.keys()), (0, 0));
    }
}

#[test]
fn all_of_the_capacity_can_be_used() {
    for capacity in [1, 2, 3, 63, 64, 65, 1000, 100_000] {
        fill::<V4>(capacity, Forward::Nat);
        fill::<V4>(capacity, Forward::FullNat);
        fill::<V6>(capacity, Forward::Nat);
    }
    fill::<V4>(1000, Forward::Dr);
    fill::<V6>(1000, Forward::Tun);
}

/// The goals: 96 bytes for an IPv4 connection in all, 160 for IPv6.
#[test]
fn memory_per_connection() {
    for capacity in [50_000, 100_000, 1_000_000] {
        let (v4, v6) = (table::<V4>(capacity, 1).bytes(), table::<V6>(capacity, 1).bytes());
        assert!(v4 <= capacity * 96, "IPv4: {} of {capacity}", v4 as f64 / capacity as f64);
        assert!(v6 <= capacity * 160, "IPv6: {} of {capacity}", v6 as f64 / capacity as f64);
    }
}

#[test]
fn impossible_capacities_are_refused() {
    let secret = dataplane::table::Secret::random();
    for capacity in [0, 1 << 31, usize::MAX] {
        let error = Table::<V4>::new(TableConfig { capacity, secret }).err().expect("refused");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}
