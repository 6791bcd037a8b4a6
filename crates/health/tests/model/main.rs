//! What becomes of answers: by the code, and by a model that is written from README's "Health
//! checks" alone. A million events in seeded stories; after each both must say the same of every
//! check, every server and the service.
//!
//! A seed that fails prints itself, the shortest story found that still fails, and what differs;
//! `XLVS_SEED=<seed>` runs that one alone.

mod chance;
mod coverage;
mod reference;
mod slow;
mod story;
mod subject;

use coverage::Coverage;
use reference::Reference;
use story::Story;
use subject::Subject;

const SEEDS: u64 = 2_500;
const EVENTS: usize = 500;

/// Plays a story to both: after how many events they differ, and in what.
fn difference(story: &Story, coverage: &mut Coverage) -> Option<(usize, String)> {
    let (mut reference, mut subject) = (Reference::new(story), Subject::new(story));
    for (at, event) in story.events.iter().enumerate() {
        let (expected, found) = (reference.play(event), subject.play(event));
        if expected != found {
            return Some((at + 1, format!("expected {expected:#?}\nfound {found:#?}")));
        }
        coverage.note(&found);
    }
    None
}

/// The story without what it does not need to fail.
fn shrunk(mut story: Story) -> Story {
    let mut piece = story.events.len() / 2;
    while piece > 0 {
        let mut from = 0;
        while from < story.events.len() {
            let mut shorter = story.clone();
            shorter.events.drain(from..(from + piece).min(story.events.len()));
            match difference(&shorter, &mut Coverage::default()) {
                Some((events, _)) => {
                    shorter.events.truncate(events);
                    story = shorter;
                }
                None => from += piece,
            }
        }
        piece /= 2;
    }
    story
}

#[test]
fn a_million_events_end_as_the_model_says() {
    let only: Option<u64> =
        std::env::var("XLVS_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let seeds = only.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut coverage = Coverage::default();
    for seed in seeds {
        let mut story = Story::new(seed, EVENTS);
        if let Some((events, _)) = difference(&story, &mut coverage) {
            story.events.truncate(events);
            let story = shrunk(story);
            let said = difference(&story, &mut Coverage::default()).map(|(_, said)| said);
            let said = said.unwrap_or_default();
            panic!("XLVS_SEED={seed} repeats it\n{story:#?}\n{said}");
        }
    }
    if only.is_none() {
        coverage.check();
    }
}
