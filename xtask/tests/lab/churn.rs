//! The short form of `cargo xtask churn`.
use std::time::Duration;

use crate::alone;

#[test]
fn connections_that_come_and_go_leave_memory_and_frames_as_they_were() {
    let _alone = alone();
    let report = xtask::churn::exercise(Duration::from_secs(20)).unwrap();
    println!("{report}");
    report.judge().unwrap();
    assert!(report.opened > 10_000 && report.errors > 0, "{report}");
}
