//! The command line: the verbs of xlvs and their words. Man pages and completions are made
//! of this tree.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use control::{
    api::{Server, Way},
    file,
};

mod groups;

use crate::{
    apply, capture, connections, deny, explain, export, report, server, service, stats, token,
    verify,
};

/// A layer-4 load balancer, an LVS director, in userspace on AF_XDP.
///
/// xlvs run forwards, as one YAML file says, until it is told to stop. All other verbs talk to the
/// xlvs that runs here, over its unix socket, or need none.
#[derive(Parser)]
#[command(name = "xlvs", version, after_help = EXAMPLES)]
pub(crate) struct Command {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXAMPLES: &str = "Examples:
  xlvs check --live                       is the file right, and does this box suit it?
  xlvs run                                forward; a service manager usually does this
  xlvs list                               services, servers, connections, drops
  xlvs drain web/10.0.2.11:80             no new connections for this server
  xlvs status && echo well                for scripts: the exit code tells
  xlvs report --output for-support.tar.gz everything that helps to help, without secrets

`xlvs VERB --help` says more of a verb; man xlvs-VERB says the same.";

/// The whole tree, with its verbs in groups.
pub(crate) fn tree() -> clap::Command {
    let tree = Command::command();
    let verbs = groups::list(&tree);
    tree.help_template(format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{verbs}Options:\n{{options}}{{after-help}}"
    ))
}

/// What the command line says; ends the process if that is nothing.
pub(crate) fn parse() -> Command {
    let matches = tree().get_matches();
    Command::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

#[derive(Subcommand)]
pub(crate) enum Verb {
    /// Forward, as a configuration says, until SIGTERM or SIGINT.
    #[command(after_help = RUN)]
    Run {
        #[command(flatten)]
        config: Config,
        /// Add the rules that ipvsadm-save wrote, as in /etc/ipvsadm.rules (Debian) or
        /// /etc/sysconfig/ipvsadm (Red Hat), to the configuration: all of them or none.
        #[arg(long, value_name = "RULES")]
        rules: Option<PathBuf>,
        /// Where is kept what operators order while it runs: drained servers, denied sources.
        #[arg(long, value_name = "DIR", default_value = STATE)]
        state: PathBuf,
        #[command(flatten)]
        socket: Listen,
    },
    /// Check a configuration; every fault is printed with its place and its remedy.
    #[command(after_help = CHECK)]
    Check {
        #[command(flatten)]
        config: Config,
        /// Check this box too: interfaces, offloads, queues, capabilities, routes.
        #[arg(long)]
        live: bool,
        /// Check the rules that ipvsadm-save wrote too, as `run --rules` adds them to the
        /// configuration.
        #[arg(long, value_name = "RULES")]
        rules: Option<PathBuf>,
        #[command(flatten)]
        socket: Listen,
    },
    /// Put a changed configuration into force while traffic flows: all of it, or nothing.
    Apply(apply::Apply),
    /// Short for `xlvs apply` of the daemon's own file, as SIGHUP does it.
    Reload(apply::Reload),
    /// Print what `xlvs apply` would change; exit code 0: nothing, 3: something, 1: it is refused.
    Diff(apply::Diff),
    /// Keep what `xlvs apply --confirm` put into force.
    Confirm(apply::Plain),
    /// Go back to the configuration before; again: to the one before that.
    Rollback(apply::Plain),
    /// List services and servers of the xlvs that runs here, or its connections.
    #[command(after_help = LIST)]
    List {
        /// Print everything that it tells, as JSON.
        #[arg(long)]
        json: bool,
        /// List connections and persistence templates, as they come: those that all filters below
        /// let through.
        #[arg(long)]
        connections: bool,
        #[command(flatten)]
        only: connections::Only,
        #[command(flatten)]
        socket: Socket,
    },
    /// Watch it: rates, connections, health, workers, drops, each second; drain servers.
    Top(crate::top::Top),
    /// Say whether the xlvs that runs here is well; the exit code tells, too.
    #[command(after_help = STATUS)]
    Status {
        /// Services that must have their quorum, by name; all if none is named.
        #[arg(long, value_name = "SERVICE", num_args = 0..)]
        quorum: Option<Vec<String>>,
        /// An interface that must forward, instead of all; may be repeated.
        #[arg(long = "interface", value_name = "NAME")]
        interfaces: Vec<String>,
        /// How long to wait for the answer.
        #[arg(long, value_name = "TIME", default_value = "1s", value_parser = file::duration)]
        timeout: Duration,
        /// Print everything that it tells, as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Print what happened lately on the xlvs that runs here, one event a line.
    #[command(after_help = EVENTS)]
    Events {
        /// Go on with each event as it comes.
        #[arg(long)]
        follow: bool,
        /// Only events with a greater number.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        after: u64,
        /// Print each as an object of JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        socket: Socket,
    },
    /// Show packets as they came in and as they left, and what became of them. tcpdump sees none
    /// of them: XDP takes them before.
    Capture {
        #[command(flatten)]
        packets: Box<capture::Packets>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Drain servers, put them into maintenance, weigh them; list and show them.
    Server {
        #[command(subcommand)]
        verb: server::ServerVerb,
    },
    /// Short for `xlvs server drain`: no new connections, those they have go on.
    Drain(server::Drain),
    /// Short for `xlvs server maint`: out as if they were down, and not asked.
    Maint(server::Maint),
    /// Short for `xlvs server ready`: drain and maintenance are over.
    Ready(server::Ready),
    /// Short for `xlvs server weight`: SERVER... WEIGHT, or SERVER... file.
    Weight(server::Weight),
    /// List and show services.
    Service {
        #[command(subcommand)]
        verb: service::ServiceVerb,
    },
    /// Tell how servers and their checks are, and why.
    Health(service::Which),
    /// Deny sources for a while, in front of `access:` of the file.
    Deny {
        #[command(subcommand)]
        verb: deny::DenyVerb,
    },
    /// Say who may use the API over TCP.
    Token {
        #[command(subcommand)]
        verb: token::TokenVerb,
    },
    /// List, count and end connections.
    #[command(visible_alias = "connection")]
    Conn {
        #[command(subcommand)]
        verb: connections::ConnVerb,
    },
    /// Say what would happen to a packet now, step by step: which service and server, how it is
    /// rewritten, by which next hop it leaves; or why it is dropped and what to do about it.
    Explain(explain::ExplainArgs),
    /// Verify that it works, from end to end: this box, each server by the way that clients' packets
    /// take, what becomes of new clients and of answers. Exit code 0 all is well, 1 it is not.
    Verify(verify::VerifyArgs),
    /// Make a request through the datapath, as a client's: this box cannot make one to its own VIP.
    /// Needs probe_sources. Exit code 0 it was answered, 1 it was not.
    Probe(verify::ProbeArgs),
    /// Print what passed each service and server, or passes a second.
    Stats(stats::StatsArgs),
    /// Print the running services as a file.
    Export {
        #[command(subcommand)]
        verb: export::ExportVerb,
    },
    /// Print what Prometheus scrapes from the xlvs that runs here.
    Metrics {
        /// Only these groups: director, workers, interfaces, services, servers, checks, node_ipvs.
        #[arg(long, value_name = "GROUP", value_delimiter = ',')]
        collect: Vec<String>,
        #[command(flatten)]
        socket: Socket,
    },
    /// Translate what another program has configured.
    Import {
        #[command(subcommand)]
        from: From,
    },
    /// Collect in an archive what helps to help with this xlvs, without secrets.
    ///
    /// Versions, the box, its network, the configuration, state, counters, events, log. It works
    /// without a daemon, too, and says what is missing.
    Report(report::ReportArgs),
    /// Print what completes the words of xlvs in a shell.
    #[command(after_help = COMPLETIONS)]
    Completions {
        /// Which.
        shell: Shell,
    },
    /// Write man pages into a directory, for packages.
    #[command(hide = true)]
    Generate {
        #[command(subcommand)]
        what: Generate,
    },
    /// Be ipvsadm 1.31, for the xlvs that runs here.
    ///
    /// Also by links named ipvsadm, ipvsadm-save and ipvsadm-restore. XLVS_SOCKET names another
    /// socket.
    #[command(disable_help_flag = true)]
    Ipvsadm {
        /// Its words.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum From {
    /// Print the marks entries that do what netfilter's MARK rules do for LVS; rules that they
    /// cannot express are named in comments.
    Iptables {
        /// Output of iptables-save, ip6tables-save or nft list ruleset; else standard input.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Print the file of xlvs that does what the LVS part of a keepalived.conf does; what has no
    /// equal is named in comments and on standard error.
    Keepalived {
        /// keepalived.conf.
        #[arg(value_name = "FILE", default_value = "/etc/keepalived/keepalived.conf")]
        file: PathBuf,
        /// Where to write what is left of it for keepalived, which moves the VIPs; else it
        /// follows in comments.
        #[arg(long, value_name = "FILE")]
        vrrp_out: Option<PathBuf>,
        /// What @ lines are compared with; the name of this host up to its first dot unless
        /// given.
        #[arg(long, value_name = "ID")]
        config_id: Option<String>,
        #[command(flatten)]
        around: Around,
    },
    /// Print the file of xlvs that does what ipvsadm-save has written; what has no equal is named
    /// in comments and on standard error.
    Ipvsadm {
        /// Output of ipvsadm-save or ipvsadm -S; else standard input.
        #[arg(value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        around: Around,
    },
    /// Print the file of xlvs that does what an ldirectord.cf does; what has no equal is named in
    /// comments and on standard error.
    Ldirectord {
        /// ldirectord.cf.
        #[arg(value_name = "FILE", default_value = "/etc/ha.d/ldirectord.cf")]
        file: PathBuf,
        #[command(flatten)]
        around: Around,
    },
}

/// What the files of other programs do not tell.
#[derive(Args)]
pub(crate) struct Around {
    /// An interface to serve; may be repeated. Without it the result has none, and is refused
    /// until it has.
    #[arg(long = "interface", value_name = "NAME")]
    pub(crate) interfaces: Vec<String>,
    /// Rules of netfilter that give packets marks, as for `import iptables`; they are written
    /// under marks: if a service needs one.
    #[arg(long, value_name = "RULES")]
    pub(crate) marks: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Generate {
    /// One page for each verb, and xlvs.yaml(5).
    Man {
        /// Where to.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

const RUN: &str = "Examples:
  xlvs run                                 /etc/xlvs/xlvs.yaml, as the systemd unit does
  xlvs run --rules /etc/ipvsadm.rules      and what ipvsadm-save wrote
  RUST_LOG=debug xlvs run box.yaml         and say more";

const CHECK: &str = "Examples:
  xlvs check --live                        before a start: the file, and this box
  xlvs check new.yaml && xlvs apply new.yaml

Exit codes:
  0  no fault (warnings and notes are none)
  1  faults, each in a line FILE:LINE:COLUMN: PATH: WHAT; REMEDY
  2  the command line is wrong";

const LIST: &str = "Examples:
  xlvs list                                as ipvsadm -Ln, with health and drops
  watch -n 1 xlvs list
  xlvs list --json | jq '.services[] | {name, servers}'
  xlvs list --connections --service 203.0.113.10:80/tcp --state ESTABLISHED";

const EVENTS: &str = "Examples:
  xlvs events                              the last 1,000
  xlvs events --follow --json | jq 'select(.kind == \"server\")'";

const STATUS: &str = "Exit codes:
  0  it is well: it answers, all workers do, all served interfaces forward
  1  it cannot be told: not allowed, another version, or no service or interface of that name
  2  the command line is wrong
  3  no daemon runs
  4  it runs and does not answer in time: stuck, stopped, or still starting
  5  it was told to stop, and forwards for its stop_grace only
  6  a worker does not answer
  7  an interface is down, gone, or without its XDP program
  8  with --quorum: a service is below its quorum, or waits for its servers' first answers

Examples:
  xlvs status --quorum web --timeout 500ms
  vrrp_script xlvs { script \"/usr/sbin/xlvs status\" interval 1 timeout 2 fall 2 rise 2 }

The second line is for keepalived, whose track_script it may be.";

const COMPLETIONS: &str = "Examples:
  xlvs completions bash >/etc/bash_completion.d/xlvs
  xlvs completions zsh >/usr/local/share/zsh/site-functions/_xlvs
  xlvs completions fish >/etc/fish/completions/xlvs.fish";

#[derive(Args)]
pub(crate) struct Config {
    /// The configuration.
    #[arg(value_name = "FILE", default_value = "/etc/xlvs/xlvs.yaml")]
    pub(crate) file: PathBuf,
    /// Which of the file's boxes: this is; its host name if absent.
    #[arg(long = "box", value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Args)]
pub(crate) struct Socket {
    /// The unix socket of the daemon.
    #[arg(long = "socket", value_name = "PATH", default_value = SOCKET)]
    path: PathBuf,
    /// Ask an xlvs elsewhere, such as https://192.0.2.1:9443; without it and --socket: the one that
    /// XLVS_REMOTE names.
    #[arg(long, value_name = "URL", conflicts_with = "path")]
    remote: Option<String>,
    /// The file with the token that goes there; without it: the one that XLVS_TOKEN_FILE names.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The authorities (PEM) that its certificate is to be of; without it: the system's.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Socket {
    /// Where the daemon is asked. What cannot be ends the process as any wrong argument does.
    pub(crate) fn way(&self) -> Way {
        let elsewhere = || std::env::var("XLVS_REMOTE").ok().filter(|url| !url.is_empty());
        let here = self.path != Path::new(SOCKET);
        let server = self.remote.clone().or_else(|| if here { None } else { elsewhere() });
        let Some(url) = server else { return Way::Socket(self.path.clone()) };
        let named = || std::env::var_os("XLVS_TOKEN_FILE").map(PathBuf::from);
        let token = self.token_file.clone().or_else(named);
        match Server::new(&url, token, self.ca.clone()) {
            Ok(server) => server.into(),
            Err(error) => clap::Error::raw(ErrorKind::ValueValidation, format!("{error}\n")).exit(),
        }
    }
}

/// Where the daemon listens.
#[derive(Args)]
pub(crate) struct Listen {
    /// The unix socket of the daemon.
    #[arg(long = "socket", value_name = "PATH", default_value = SOCKET)]
    pub(crate) path: PathBuf,
}

/// Where the daemon's socket is, unless the operator says otherwise.
pub(crate) const SOCKET: &str = "/run/xlvs/xlvs.sock";

/// Where is kept what operators order, unless they say otherwise.
const STATE: &str = "/var/lib/xlvs";
