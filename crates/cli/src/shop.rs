//! The providers that this program can ask, and what they said before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::join_all;
use serde_json::json;
use skyward::catalog::{Catalog, RefreshError, Settings, refresh};
use skyward::provider::Capabilities;
use skyward::provider::cloud::{self, CLOUDS};
use skyward::{InvalidRequest, Local, Provider, Timing};

use crate::providers::key;
use crate::{Failed, chain};

/// The catalog, and who can fill it.
pub(crate) struct Shop {
    pub(crate) catalog: Arc<Catalog>,
    settings: Settings,
    providers: Vec<Box<dyn Provider>>,
    /// Who was asked in vain, and why.
    failed: Vec<(String, String)>,
}

impl Shop {
    /// Opens the user's catalog.
    pub(crate) fn open() -> Result<Self, Failed> {
        let settings = Settings::of_user()?;
        let catalog = Arc::new(Catalog::open(settings.clone())?);
        let mut providers: Vec<Box<dyn Provider>> = vec![Box::new(Local::default())];
        // Clouds whose key is not found cannot be asked.
        let clouds = CLOUDS.iter().filter_map(|it| (it.open)(json!({})).ok());
        providers.extend(clouds.filter(|it| it.key().is_ok()).map(|it| it as Box<dyn Provider>));
        Ok(Self { catalog, settings, providers, failed: Vec::new() })
    }

    /// The names of all providers that can be asked, or were before, in order.
    pub(crate) fn known(&self) -> Result<Vec<String>, Failed> {
        let sources = self.catalog.sources()?.into_iter().map(|it| it.provider);
        let mut known: Vec<_> = sources.chain(self.providers.iter().map(|it| it.name().to_owned())).collect();
        known.sort_unstable();
        known.dedup();
        Ok(known)
    }

    /// Refuses a name that nobody has, and a cloud that cannot be asked for want of a key.
    pub(crate) fn check(&self, names: &[String]) -> Result<(), Failed> {
        let known = self.known()?;
        let Some(other) = names.iter().find(|it| !known.contains(it)) else { return Ok(()) };
        Err(match cloud::named(other) {
            Some(cloud) => format!(
                "{other} has no key: there is {}; `sky providers list` says where each is looked for, and \
                 docs/providers/{other}.md how to make one",
                key(cloud).map_or_else(|why| why, |it| it.place)
            )
            .into(),
            None => {
                let clouds = CLOUDS.iter().map(|it| it.name.to_owned());
                let names: BTreeSet<_> = known.into_iter().chain(clouds).collect();
                let names = names.into_iter().collect::<Vec<_>>().join(", ");
                InvalidRequest::new("provider", other, format!("must be one of {names}")).into()
            }
        })
    }

    /// Why a provider that was asked did not answer.
    pub(crate) fn failed(&self, name: &str) -> Option<&str> {
        self.failed.iter().find(|(failed, _)| failed == name).map(|(_, why)| why.as_str())
    }

    /// What machines of a provider can. Of one that cannot be asked, nothing is taken for granted.
    pub(crate) fn capabilities(&self, name: &str) -> Capabilities {
        let found = self.providers.iter().find(|it| it.name() == name);
        found.map_or(Capabilities::NONE, |it| it.capabilities())
    }

    /// Asks those of the named providers (none named: all) whose offers are too old, and says what is to
    /// be known of the rest. One that fails is told and does not spoil the others.
    pub(crate) fn freshen(&mut self, names: &[String], cached: bool) -> Result<Vec<String>, Failed> {
        let mut notes: Vec<_> = self.catalog.rebuilt().iter().map(|it| anew(it)).collect();
        if cached {
            return Ok(notes);
        }
        let now = SystemTime::now();
        let known = self.known()?;
        let wanted: Vec<&str> = known
            .iter()
            .map(String::as_str)
            .filter(|it| names.is_empty() || names.iter().any(|name| name == it))
            .collect();
        let stale = self.catalog.stale(&wanted, now)?;
        let mut failed = Vec::new();
        for (name, asked) in self.ask(|it| stale.contains(&it))? {
            if let Err(error) = asked {
                let why = chain(&error);
                let old = if self.catalog.offers_of(&name)?.is_empty() {
                    ""
                } else {
                    "; its offers of before are used"
                };
                notes.push(format!("warning: {why}{old}"));
                failed.push((name, why));
            }
        }
        if names.is_empty() {
            let without: Vec<_> =
                CLOUDS.iter().map(|it| it.name).filter(|it| !known.iter().any(|name| name == it)).collect();
            if !without.is_empty() {
                let without = without.join(", ");
                notes
                    .push(format!("note: not asked, for want of a key: {without}; see `sky providers list`"));
            }
        }
        for source in self.catalog.sources()? {
            let age = now.duration_since(source.read_at).unwrap_or_default();
            let can_be_asked = self.providers.iter().any(|it| it.name() == source.provider);
            if stale.contains(&source.provider.as_str()) && !can_be_asked {
                let (name, age) = (&source.provider, people(age));
                notes.push(format!(
                    "note: the offers of {name} are {age} old, and this program cannot ask {name}"
                ));
            }
        }
        self.failed = failed;
        Ok(notes)
    }

    /// Asks all providers of which that is wanted, at once: it takes as long as the slowest.
    pub(crate) fn ask(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Asked>, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let within = Timing::default().offers;
        let asked = self.providers.iter().filter(|it| wanted(it.name())).map(async |it| {
            let found = refresh(&self.catalog, it.as_ref(), within).await;
            (it.name().to_owned(), found)
        });
        Ok(runtime.block_on(join_all(asked)))
    }

    /// Where the catalog is, for messages.
    pub(crate) fn place(&self) -> String {
        self.settings.folder.display().to_string()
    }
}

/// A provider that was asked, and how many offers it has.
pub(crate) type Asked = (String, Result<usize, RefreshError>);

fn anew(why: &str) -> String {
    format!(
        "warning: the catalog of offers was damaged ({why}) and was made anew; `sky offers refresh` fills it"
    )
}

/// A length of time in its largest unit.
fn people(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    unit.map_or_else(|| format!("{seconds} s"), |(length, name)| format!("{} {name}", seconds / length))
}
