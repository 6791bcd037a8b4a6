//! The picks of Debian's 6.1 kernel: servers 11, 12, 13 added in that order with the weights
//! given, then connections from new clients. `X` is "no destination".

mod service;

use sched::Kind;
use service::Service;

#[test]
fn fresh_services() {
    let cases: [(Kind, &[u32], &str); 10] = [
        (Kind::Rr, &[1, 1, 1], "13 12 11 13 12 11 13"),
        (Kind::Rr, &[1, 0, 1], "13 11 13 11"),
        (Kind::Rr, &[0, 0], "X X"),
        (Kind::Wrr, &[1, 2, 4], "13 12 11 | 13 13 13 12 13 12 11 | 13 13 13 12 13 12 11"),
        (Kind::Wrr, &[4, 3, 2], "13 12 11 | 11 12 11 13 12 11 | 13 12 11"),
        (Kind::Wrr, &[5, 1, 1], "13 12 11 11 11 11 11 13 12 11"),
        (Kind::Wrr, &[10, 20, 30], "13 12 11 13 13 12 13 12 11 13 13 12 13 12"),
        (Kind::Wrr, &[7, 3], "12 11 11 11 11 11 12 11 12 11 12 11 11 11 11 11"),
        (Kind::Wrr, &[0, 2, 1], "13 12 12 13 12 12"),
        (Kind::Wrr, &[0, 0], "X X"),
    ];
    for (kind, weights, picks) in cases {
        Service::new(kind, weights).expect(picks);
        Service::one_by_one(kind, weights).expect(picks);
    }
}
