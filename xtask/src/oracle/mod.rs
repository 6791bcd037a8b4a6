//! `cargo xtask oracle`: what a kernel with IPVS does in the scenarios of `tests/oracle`.
//!
//! Without options it plays them all and compares with the recordings; `--record` writes
//! those anew. The scenarios' language and the recordings' format are in the crate `oracle`.
mod director;
mod ground;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use oracle::recording::{Recording, Transcript};
use oracle::{Scenario, scenario};

use crate::failure::{Failure, Outcome, fail};
use crate::guest::Release;
use crate::{setup, shell};
use director::Director;

/// What of the oracle is asked for.
#[derive(Args, Debug)]
pub struct Options {
    /// Scenario files by name; all if none is given
    topics: Vec<String>,
    /// Write down what the kernel does, instead of comparing with what was written down
    #[arg(long)]
    record: bool,
    /// Only scenarios whose names contain this; prints what they do, and records nothing
    #[arg(long, conflicts_with = "record")]
    only: Option<String>,
    /// Which of Debian's kernels, instead of the one that scenarios ask for: bookworm's if they
    /// name none
    #[arg(long, value_enum)]
    kernel: Option<Release>,
    /// Seconds after which a guest is ended
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

/// Seconds by which two looks at one expiry time may differ: the emulated machine is slow, and
/// its programs start in a tenth of a second.
const SLACK: i64 = 3;

/// Boots the kernel and plays.
///
/// # Errors
/// When the kernel does something else than what is recorded, or a scenario cannot be played.
pub fn run(options: &Options) -> Outcome {
    setup::run()?;
    let topics = topics(&options.topics)?;
    let lifetime = Duration::from_secs(options.seconds);
    let mut running: Option<(Release, Director)> = None;
    let mut differing = 0;
    for topic in &topics {
        let started = Instant::now();
        let mut scenarios = topic.scenarios()?;
        if let Some(only) = &options.only {
            scenarios.retain(|scenario| scenario.name.contains(only));
        }
        let wanted = options.kernel.map_or_else(|| release(&scenarios), Ok)?;
        let mut director = match running.take() {
            Some((release, director)) if release == wanted => director,
            _ => Director::boot(&wanted.kernel()?, lifetime)?,
        };
        let played = play(&mut director, &scenarios)?;
        running = Some((wanted, director));
        let (name, count) = (&topic.name, scenarios.len());
        println!("oracle: {name}: {count} scenarios in {:.0} s", started.elapsed().as_secs_f32());
        if options.record {
            fs::write(&topic.recording, played.write())?;
        } else if options.only.is_some() {
            print!("{}", played.write());
        } else {
            differing += compare(topic, &scenarios, &played)?;
        }
    }
    match differing {
        0 => Ok(()),
        count => fail(format!("{count} scenarios differ from their recordings")),
    }
}

/// A scenario file and its recording.
struct Topic {
    name: String,
    scenarios: PathBuf,
    recording: PathBuf,
}

impl Topic {
    fn scenarios(&self) -> Outcome<Vec<Scenario>> {
        let place = self.scenarios.display();
        let text = fs::read_to_string(&self.scenarios)
            .map_err(|error| Failure::from(format!("{place}: {error}")))?;
        scenario::read(&text).map_err(|why| Failure::from(format!("{place}: {why}")))
    }

    fn recording(&self) -> Outcome<Recording> {
        let place = self.recording.display();
        let text = fs::read_to_string(&self.recording).map_err(|error| {
            Failure::from(format!("{place}: {error}: cargo xtask oracle --record {}", self.name))
        })?;
        Recording::read(&text).map_err(|why| Failure::from(format!("{place}: {why}")))
    }
}

fn topics(wanted: &[String]) -> Outcome<Vec<Topic>> {
    let home = shell::repository().join("tests/oracle");
    let mut names = wanted.to_vec();
    if names.is_empty() {
        for entry in fs::read_dir(home.join("scenarios"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == "yaml") {
                names.push(stem(&path));
            }
        }
        names.sort();
    }
    fs::create_dir_all(home.join("recorded"))?;
    let topic = |name: String| Topic {
        scenarios: home.join(format!("scenarios/{name}.yaml")),
        recording: home.join(format!("recorded/{name}.txt")),
        name,
    };
    Ok(names.into_iter().map(topic).collect())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The kernel that a file's scenarios ask for.
fn release(scenarios: &[Scenario]) -> Outcome<Release> {
    match scenarios.iter().find_map(|scenario| scenario.kernel.as_deref()) {
        None => Ok(Release::Bookworm),
        Some(name) => Release::from_str(name, false).map_err(Failure::from),
    }
}

fn play(director: &mut Director, scenarios: &[Scenario]) -> Outcome<Recording> {
    let mut transcripts = Vec::new();
    for scenario in scenarios {
        let lines = director.play(scenario).map_err(|why| why.during(&scenario.name))?;
        let texts = scenario.steps.iter().map(|step| step.text.clone());
        let steps = texts.zip(lines).collect();
        transcripts.push(Transcript { name: scenario.name.clone(), steps });
    }
    let (kernel, ipvsadm) = director.versions()?;
    Ok(Recording { kernel, ipvsadm, transcripts })
}

/// How many scenarios differ; each is shown with its first difference.
fn compare(topic: &Topic, scenarios: &[Scenario], played: &Recording) -> Outcome<usize> {
    let recording = topic.recording()?;
    let differs = |(scenario, transcript): &(&Scenario, &Transcript)| {
        let Some(recorded) = recording.transcript(&transcript.name) else {
            println!("oracle: {}: not recorded", transcript.name);
            return true;
        };
        let mut both = recorded.steps.iter().zip(&transcript.steps);
        let found = both.find_map(|((was, lines), (step, actual))| {
            if was == step {
                scenario.difference(step, lines, actual, SLACK)
            } else {
                Some(format!("the step was `{was}` and is `{step}`"))
            }
        });
        let found = found.or_else(|| {
            (recorded.steps.len() != transcript.steps.len())
                .then(|| "recorded with another number of steps".to_owned())
        });
        if let Some(found) = &found {
            println!("oracle: {}:\n{found}", transcript.name);
        }
        found.is_some()
    };
    Ok(scenarios.iter().zip(&played.transcripts).filter(differs).count())
}
