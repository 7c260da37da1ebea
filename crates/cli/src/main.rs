//! `sky`: what clouds have for rent, what a pool of it would cost, and what was rented and is nobody's. Rents nothing.
//!
//! arguments → a command → its answer on stdout, what else is to be said on stderr → exit code

mod arguments;
mod attach;
mod offers;
mod plan;
mod providers;
mod range;
mod reap;
mod rented;
mod shop;
mod state;
mod table;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use skyward::InvalidRequest;
use skyward::catalog::CatalogError;
use skyward::journal::JournalError;

use arguments::{Command, OffersCommand, ProvidersCommand, Sky};

/// What a command has to say.
pub(crate) struct Answer {
    /// For stdout: a table, or JSON.
    pub(crate) text: String,
    /// For stderr, a line each: what is good to know, and no part of the answer.
    pub(crate) notes: Vec<String>,
    /// Whether what was asked for was found.
    pub(crate) found: bool,
}

/// Why there is no answer: what failed, and what to do.
pub(crate) type Failed = Box<dyn std::error::Error>;

/// 0: done. 1: failed, or nothing fits. 2: what was typed is wrong, which mostly clap says.
fn main() -> ExitCode {
    let sky = Sky::parse();
    let answer = match &sky.command {
        Command::Offers(OffersCommand::List(it)) => offers::list(it),
        Command::Offers(OffersCommand::Cheapest(it)) => offers::cheapest(it),
        Command::Offers(OffersCommand::Summary(it)) => offers::summary(it),
        Command::Offers(OffersCommand::Sql(it)) => offers::sql(it),
        Command::Offers(OffersCommand::Refresh(it)) => offers::refresh(it),
        Command::Plan(it) => plan::plan(it),
        Command::Providers(ProvidersCommand::List(it)) => providers::list(it),
        Command::Providers(ProvidersCommand::Check(it)) => providers::check(it),
        Command::Attach(it) => attach::attach(it),
        Command::Reap(it) => reap::reap(it),
    };
    let told = match answer {
        Ok(answer) => answer.tell(),
        Err(error) => {
            let code = if is_usage(error.as_ref()) { ExitCode::from(2) } else { ExitCode::FAILURE };
            writeln!(io::stderr(), "error: {}", chain(error.as_ref())).map(|()| code)
        }
    };
    // Who reads no further, such as `head`, has what it wanted.
    told.unwrap_or(ExitCode::SUCCESS)
}

impl Answer {
    fn tell(&self) -> io::Result<ExitCode> {
        for note in &self.notes {
            writeln!(io::stderr(), "{note}")?;
        }
        let mut out = io::stdout().lock();
        out.write_all(self.text.as_bytes())?;
        out.flush()?;
        Ok(if self.found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Whether what was typed is wrong, though clap could not see it.
fn is_usage(error: &(dyn std::error::Error + 'static)) -> bool {
    let wrong = matches!(error.downcast_ref(), Some(CatalogError::Filter(_) | CatalogError::Sql { .. }));
    wrong || error.is::<InvalidRequest>()
}

/// An error of the library, which knows what it was made from.
pub(crate) fn failed(error: skyward::Error) -> Failed {
    if let Some(wrong) = error.downcast_ref::<InvalidRequest>() {
        return wrong.clone().into();
    }
    match error.downcast_ref::<JournalError>() {
        Some(why) => state::unusable(why.clone()),
        None => error.boxed(),
    }
}

/// An error with all that caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    let mut text = error.to_string();
    for cause in causes.map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
