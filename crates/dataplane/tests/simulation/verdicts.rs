//! One verdict for each packet.

use dataplane::{
    memory::Parts,
    stats::{Counter, Stats},
    verdict::{Answer, Drop},
};

/// Law 5: the packets that a worker's counters account for, each by one verdict: forwarded
/// or answered (a refused frame is counted as dropped only), dropped, punted.
pub(crate) fn packets(stats: &Stats, parts: Parts) -> u64 {
    let sum = |counters: &[Counter]| counters.iter().map(Counter::value).sum::<u64>();
    let refused = stats.drops[Drop::TxRingFull as usize].value();
    // Those that are not sent, and those that leave in frames of the pool.
    const OTHERS: [Answer; 4] =
        [Answer::RateLimited, Answer::Forbidden, Answer::ResetOther, Answer::Probe];
    let others: u64 = OTHERS.iter().map(|kind| stats.answers[*kind as usize].value()).sum();
    let answers = sum(&stats.answers) - others;
    let left = stats.tx_packets.value() - parts.sent + refused - parts.refused;
    left - answers + sum(&stats.drops) - refused + sum(&stats.punts)
}
