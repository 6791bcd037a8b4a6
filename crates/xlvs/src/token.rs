//! `xlvs token add|list|del`: who may use the API over TCP. The file is changed, not the daemon
//! asked: it reads the file anew by itself.

use std::{
    io::stdout,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use control::api::{
    Role,
    tokens::{self, TokenError},
};

use crate::{columns::columns, daemon::print_json, failure, print};

/// Where the tokens are, unless the operator says otherwise.
const FILE: &str = "/etc/xlvs/tokens";

/// What to do with tokens.
#[derive(Subcommand)]
pub(crate) enum TokenVerb {
    /// Make a token, and print it: this once, it is kept nowhere.
    Add(Add),
    /// List names and roles.
    #[command(visible_alias = "ls")]
    List {
        /// Print them as JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        file: File,
    },
    /// Take a token away: it is refused from then on.
    #[command(visible_alias = "delete")]
    Del {
        /// Its name.
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        file: File,
    },
}

/// `add`.
#[derive(Args)]
pub(crate) struct Add {
    /// Whose it is, for `xlvs events` and the log: letters, digits, dots, dashes, underscores.
    #[arg(value_name = "NAME")]
    name: String,
    /// viewer: read; operator: drain, weigh, kill, zero too; admin: change the configuration too.
    #[arg(long, value_parser = PossibleValuesParser::new(Role::ALL.map(Role::name)))]
    role: String,
    #[command(flatten)]
    file: File,
}

/// The file.
#[derive(Args)]
pub(crate) struct File {
    /// The file of `api: tokens:`.
    #[arg(long = "file", value_name = "FILE", default_value = FILE)]
    path: PathBuf,
}

pub(crate) fn run(verb: TokenVerb) -> ExitCode {
    let done = match verb {
        TokenVerb::Add(Add { name, role, file }) => add(&file.path, &name, &role),
        TokenVerb::List { json, file } => list(&file.path, json),
        TokenVerb::Del { name, file } => {
            tokens::remove(&file.path, &name).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| failure(&error))
}

fn add(path: &Path, name: &str, role: &str) -> Result<ExitCode, TokenError> {
    // clap knows the same words.
    let role = Role::named(role).unwrap_or(Role::Viewer);
    Ok(print(&mut stdout(), &tokens::add(path, name, role)?))
}

fn list(path: &Path, json: bool) -> Result<ExitCode, TokenError> {
    let all = tokens::list(path)?;
    if json {
        let facts = |entry: &tokens::Entry| serde_json::json!({"name": entry.name, "role": entry.role.name()});
        return Ok(print_json(&all.iter().map(facts).collect::<Vec<_>>()));
    }
    let row = |entry: &tokens::Entry| [entry.name.clone(), entry.role.name().to_owned()];
    let rows: Vec<_> = all.iter().map(row).collect();
    Ok(print(&mut stdout(), &columns(["Name", "Role"], [false; 2], &rows).join("\n")))
}
