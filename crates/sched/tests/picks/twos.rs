//! twos for every pair of numbers that the kernel may draw, against its rule in plain words. What a
//! kernel's draws come to is in `tests/oracle/recorded/picks_twos.txt`.

use sched::{Candidate, Kind, Load, Plan, Request, Scheduler};

use crate::{
    random::Random,
    service::{REQUEST, server},
};

/// `ip_vs_twos_schedule`: of two servers the second one, if it has fewer connections for its
/// weight. `draws` are from 0 to the sum of the weights, both included.
fn model(servers: &[Candidate], loads: &[Load], draws: [i64; 2]) -> Option<usize> {
    let takes = |at: &usize| servers[*at].weight > 0 && !loads[*at].overloaded;
    let list: Vec<usize> = (0..servers.len()).filter(takes).collect();
    let weight = |at: usize| i64::from(servers[at].weight);
    // (active << 8) + all: A.6.
    let busy =
        |at: usize| i64::from(loads[at].active * 256 + loads[at].active + loads[at].inactive);
    let reached = |draw: i64| {
        let sum_to = |last: usize| list[..=last].iter().map(|&at| weight(at)).sum::<i64>();
        (0..list.len()).find(|&place| draw - sum_to(place) <= 0).map(|place| list[place])
    };
    let (one, two) = (reached(draws[0])?, reached(draws[1])?);
    Some(if weight(two) * busy(one) > weight(one) * busy(two) { two } else { one })
}

/// Random bits that give `draw` of `0..=total`: the kernel divides what it gets and takes the rest,
/// we scale it; each number is as likely either way.
fn bits_of(draw: i64, total: i64) -> u64 {
    let (draw, total) = (draw as u64, total as u64);
    (draw << 32).div_ceil(total + 1)
}

fn compare_all_draws(servers: &[Candidate], loads: &[Load]) {
    let mut scheduler = Scheduler::new(Plan::new(Kind::Twos), servers);
    let load_of = |id: u32| {
        let at = servers.iter().position(|server| server.id == id).expect("a server");
        loads[at]
    };
    let takes = |(at, server): (usize, &Candidate)| {
        if loads[at].overloaded { 0 } else { i64::from(server.weight) }
    };
    let total: i64 = servers.iter().enumerate().map(takes).sum();
    for one in 0..=total {
        for two in 0..=total {
            let random = (bits_of(two, total) << 32) | bits_of(one, total);
            let picked = scheduler.pick(servers, &Request { random, ..REQUEST }, &load_of);
            let expected = if total == 0 { None } else { model(servers, loads, [one, two]) };
            assert_eq!(picked, expected, "{one} {two} of {servers:?} {loads:?}");
        }
    }
}

#[test]
fn every_draw_of_random_services() {
    for seed in 1..=400 {
        let mut random = Random(seed);
        let count = 1 + random.below(5);
        let servers: Vec<Candidate> =
            (11..).take(count).map(|id| server(id, random.below(7) as u32)).collect();
        // Few enough connections that ties come up, and the active ones weigh.
        let loads: Vec<Load> = (0..count)
            .map(|_| Load {
                active: random.below(3) as u32,
                inactive: random.below(4) as u32 * 100,
                overloaded: random.below(6) == 0,
            })
            .collect();
        compare_all_draws(&servers, &loads);
    }
}

#[test]
fn every_draw_of_two_and_of_very_unequal_weights() {
    let load = |active, inactive| Load { active, inactive, ..Load::default() };
    for weights in [[1, 1], [1, 2], [1, 100], [100, 1], [0, 3], [3, 0], [0, 0]] {
        let servers = [server(12, weights[0]), server(11, weights[1])];
        for loads in
            [[load(0, 0), load(0, 0)], [load(1, 0), load(0, 0)], [load(0, 256), load(1, 0)]]
        {
            compare_all_draws(&servers, &loads);
        }
    }
}
