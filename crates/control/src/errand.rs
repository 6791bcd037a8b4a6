//! What the API has control's loop do, one errand after the other, each with the way back of
//! its answer. What only reads goes past it: [`crate::report`].

use tokio::sync::{mpsc, oneshot};

use crate::{
    api::export::ExportQuery,
    apply::{Applied, Loaded, Terms},
    compile::ServerKey,
    event::Event,
    front::{Answer, Ask},
    model::Model,
    order::{DenyOrder, Refused, ServerOrder, ServerOutcome},
    registry::Denial,
    stats::Stats,
};

/// The way back of an answer.
pub type Back<T> = oneshot::Sender<T>;

/// The entries of sources that are denied now, and what the operator should know of them.
pub type DeniedNow = (Vec<Denial>, Vec<String>);

/// Something to do.
#[derive(Debug)]
pub enum Errand {
    /// Something was done by the API, to be told.
    Tell(Event),
    /// What the ipvsadm front asks for.
    Ipvsadm(Ask, Back<Answer>),
    /// A configuration that was read, or why it cannot be, is to be in force.
    Apply(Result<Box<Loaded>, String>, Terms, Back<Result<Applied, String>>),
    /// The configuration that waits for it is confirmed.
    Confirm(Back<Result<Applied, String>>),
    /// The configuration before is to be in force again.
    RollBack(Back<Result<Applied, String>>),
    /// Server states and weights.
    Servers(ServerOrder, Back<Result<ServerOutcome, Refused>>),
    /// Which servers are named, of every service if true.
    Find(Vec<String>, bool, Back<Result<Vec<ServerKey>, Refused>>),
    /// Deny a source.
    Deny(DenyOrder, Back<Result<DeniedNow, Refused>>),
    /// Deny a source no more: the entries that were there.
    Allow {
        /// The network.
        source: String,
        /// The service's name; `None`: all entries of the source.
        service: Option<String>,
        /// Who wants it.
        who: String,
        /// The way back.
        back: Back<Result<Vec<Denial>, Refused>>,
    },
    /// Who is denied.
    Denials(Back<Vec<Denial>>),
    /// The configuration as it is now.
    Model(Back<Model>),
    /// The running state as a file.
    Export(ExportQuery, Back<String>),
    /// What passed, and how fast.
    Stats(Back<Stats>),
    /// Set the counts of a service, by its name, or of all to zero: which ones.
    Zero(Option<String>, Back<Result<Vec<String>, Refused>>),
}

/// Nobody takes errands any more: the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("xlvs is stopping; ask again when it runs")]
pub struct Closed;

/// Where errands are handed in.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Errand>);

/// How many errands may wait.
const QUEUE: usize = 16;

impl Desk {
    /// A desk, and where its errands come out.
    pub fn open() -> (Self, mpsc::Receiver<Errand>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Has control tell of something that was done. At the end, when nobody hears of it any more,
    /// the log does.
    pub async fn tell(&self, event: Event) {
        if let Err(mpsc::error::SendError(Errand::Tell(event))) =
            self.0.send(Errand::Tell(event)).await
        {
            log::info!("{event}");
        }
    }

    /// Hands an errand in and waits for its answer.
    ///
    /// # Errors
    /// [`Closed`].
    pub async fn ask<T>(&self, errand: impl FnOnce(Back<T>) -> Errand) -> Result<T, Closed> {
        let (back, answer) = oneshot::channel();
        self.0.send(errand(back)).await.map_err(|_| Closed)?;
        answer.await.map_err(|_| Closed)
    }
}
