//! The connection table from outside: against a model, under concurrency, over time, full.

mod capacity;
mod concurrent;
mod expiry;
mod model;

use dataplane::{
    forward::{Address, Forward, Protocol, Tuple, V4, V6},
    table::{Connection, Keys, Secret, Table, TableConfig, TemplateRef},
};

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, limit: usize) -> usize {
        self.next() as usize % limit
    }
}

/// Addresses of either family for tests.
trait Family: Address {
    fn number(n: u32) -> Self;
}

impl Family for V4 {
    fn number(n: u32) -> Self {
        Self(0x0a00_0000 + n)
    }
}

impl Family for V6 {
    fn number(n: u32) -> Self {
        Self(0x2001_0db8 << 96 | u128::from(n) << 61 | u128::from(n))
    }
}

fn table<A: Address>(capacity: usize, seed: u64) -> Table<A> {
    let mut random = Random::new(seed);
    let secret = Secret(std::array::from_fn(|_| random.next() << 32 ^ random.next()));
    Table::new(TableConfig { capacity, secret }).expect("memory")
}

/// Connection number `n`, with keys that no other number has.
fn connection<A: Family>(n: u32, forward: Forward) -> Connection<A> {
    let client = A::number(1 + n / 50_000);
    let cport = (n % 50_000) as u16;
    let full = forward == Forward::FullNat;
    Connection {
        client,
        cport,
        vip: A::number(1 << 20),
        vport: 80,
        server: A::number((1 << 21) + n % 7),
        rport: 8080,
        local: if full { A::number((1 << 22) + n / 50_000) } else { client },
        lport: if full { cport + 10_000 } else { cport },
        protocol: if n.is_multiple_of(3) { Protocol::Udp } else { Protocol::Tcp },
        forward,
        server_id: n % 7,
        flags: n as u8,
        keys: Keys::Both,
        template: TemplateRef::NONE,
    }
}

/// All keys of a connection.
fn keys<A: Address>(connection: &Connection<A>) -> impl Iterator<Item = Tuple<A>> {
    std::iter::once(connection.forward_key()).chain(connection.reverse_key())
}
