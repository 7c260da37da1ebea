//! Who asks: the account's key from the settings, the environment, a profile, or the AWS CLI, which knows every
//! other way (single sign-on, roles, machines that have one) and hands out what it comes to.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::{self, ProvideCredentials, error::CredentialsError, future};
use serde::Deserialize;
use skyward_runtime::model::{KeyPrint, Secret};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::process::Command;
use tokio::time::timeout;

use super::config::{CREDENTIALS, Config, KEYS};
use super::{TITLE, profile};
use crate::cloud::{Found, print};

/// The key in use, kept until shortly before it ends.
#[derive(Debug)]
pub(super) struct Keys {
    config: Config,
    kept: Mutex<Option<Credentials>>,
}

impl Keys {
    pub(super) const fn new(config: Config) -> Self {
        Self { config, kept: Mutex::new(None) }
    }

    /// The secret, and where it was found, without running or asking anything.
    ///
    /// # Errors
    /// `Auth` when there is none.
    pub(super) fn found(&self) -> Result<Found, ProviderError> {
        match self.lying_about()? {
            Some((key, place)) => Ok(Found { key: Secret::new(key.secret_access_key().to_owned()), place }),
            None => match cli() {
                Some(path) => {
                    let place = format!("what {} hands out", path.display());
                    Ok(Found { key: Secret::new(String::new()), place })
                }
                None => {
                    let message = format!(
                        "failed to find a key for {TITLE}: it is in none of {KEYS}, and there is no AWS CLI to ask"
                    );
                    Err(ProviderError::new(ProviderErrorKind::Auth, message))
                }
            },
        }
    }

    /// The key to sign with now.
    ///
    /// # Errors
    /// `Auth` when there is none.
    pub(super) async fn now(&self) -> Result<Credentials, ProviderError> {
        if let Some(kept) = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
            && kept.expiry().is_none_or(|it| it > SystemTime::now() + MARGIN)
        {
            return Ok(kept);
        }
        let found = match self.lying_about()? {
            // Whoever writes the key of a session into a file writes the next one there, too: it is read each time.
            Some((key, _)) if key.session_token().is_some() => return Ok(key),
            Some((key, _)) => key,
            None => {
                self.found()?;
                self.handed_out().await?
            }
        };
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }

    /// What tells the account from others: the print of a key that stays, or of the account that the profile names.
    /// Nothing for a key of a session that does not say whose it is.
    pub(super) fn print(&self) -> Option<KeyPrint> {
        // The one that is asked with, whatever the files say by now.
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(kept) = kept.filter(|it| it.session_token().is_none()) {
            return Some(print(kept.secret_access_key()));
        }
        match self.lying_about().ok()? {
            Some((key, _)) if key.session_token().is_none() => Some(print(key.secret_access_key())),
            // Those of the environment are no profile's.
            Some((_, place)) if !place.starts_with("the profile") => None,
            Some(_) | None => {
                let (profile, _) = self.profile();
                let texts = [config_file(), credentials_file()]
                    .into_iter()
                    .filter_map(|(path, _)| std::fs::read_to_string(path?).ok());
                texts.into_iter().find_map(|text| {
                    let said = |name: &str| profile::value(&text, &profile, name);
                    // arn:aws:iam::123456789012:role/name
                    let of_role = || said("role_arn")?.split(':').nth(4).map(str::to_owned);
                    said("sso_account_id").or_else(of_role).map(|it| print(&it))
                })
            }
        }
    }

    /// The profile to look at, and whether somebody named it.
    fn profile(&self) -> (String, bool) {
        let named = self.config.profile.clone().or_else(|| variable("AWS_PROFILE"));
        let is_named = named.is_some();
        (named.unwrap_or_else(|| "default".to_owned()), is_named)
    }

    /// A key that needs nobody: of the settings, the environment, or a file.
    fn lying_about(&self) -> Result<Option<(Credentials, String)>, ProviderError> {
        let config = &self.config;
        if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
            return Ok(Some((credentials(id, secret.reveal(), None), "the settings".to_owned())));
        }
        if config.access_key_id.is_some() != config.secret_access_key.is_some() {
            let message = "failed to find a key for AWS: the settings have one of access_key_id and \
                           secret_access_key; set both, or neither";
            return Err(ProviderError::new(ProviderErrorKind::Auth, message));
        }
        // Who names a profile in the settings means it.
        if config.profile.is_none()
            && let (Some(id), Some(secret)) =
                (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"))
        {
            let key = credentials(&id, &secret, variable("AWS_SESSION_TOKEN"));
            return Ok(Some((key, "the variable AWS_SECRET_ACCESS_KEY".to_owned())));
        }
        let (profile, _) = self.profile();
        for (path, shown) in [credentials_file(), config_file()] {
            let Some(text) = path.and_then(|it| std::fs::read_to_string(it).ok()) else { continue };
            let said = |name: &str| profile::value(&text, &profile, name);
            if let (Some(id), Some(secret)) = (said("aws_access_key_id"), said("aws_secret_access_key")) {
                let key = credentials(&id, &secret, said("aws_session_token"));
                return Ok(Some((key, format!("the profile {profile} in {shown}"))));
            }
        }
        Ok(None)
    }

    /// What the AWS CLI hands out.
    async fn handed_out(&self) -> Result<Credentials, ProviderError> {
        let failed = |why: String| {
            let message = format!(
                "failed to find a key for {TITLE}: `aws configure export-credentials` {why}; run `aws sso login` \
                 or `aws configure`"
            );
            ProviderError::new(ProviderErrorKind::Auth, message)
        };
        let mut command = Command::new("aws");
        command.args(["configure", "export-credentials", "--format", "process"]);
        if let (profile, true) = self.profile() {
            command.args(["--profile", &profile]);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        let told = timeout(PATIENCE, command.output()).await;
        let told = told.map_err(|_| failed(format!("took longer than {PATIENCE:?}")))?;
        let told = told.map_err(|error| failed(format!("could not be run: {error}")))?;
        if !told.status.success() {
            let said = String::from_utf8_lossy(&told.stderr);
            return Err(failed(format!("failed: {}", said.trim())));
        }
        let key: Exported = serde_json::from_slice(&told.stdout)
            .map_err(|error| failed(format!("said something else than a key: {error}")))?;
        Ok(key.into_credentials())
    }
}

impl ProvideCredentials for Keys {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let now = async { self.now().await.map_err(|it| CredentialsError::provider_error(it.to_string())) };
        future::ProvideCredentials::new(async { provider::Result::from(now.await) })
    }
}

/// The region that the environment or the profile names.
pub(super) fn region(config: &Config) -> Option<String> {
    let variables = || variable("AWS_REGION").or_else(|| variable("AWS_DEFAULT_REGION"));
    let profile = config.profile.clone().or_else(|| variable("AWS_PROFILE"));
    let profile = profile.unwrap_or_else(|| "default".to_owned());
    let written = || {
        let (path, _) = config_file();
        profile::value(&std::fs::read_to_string(path?).ok()?, &profile, "region")
    };
    variables().or_else(written)
}

/// What the AWS CLI hands out, as it documents for such helpers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Exported {
    access_key_id: String,
    secret_access_key: Secret<String>,
    session_token: Option<String>,
    expiration: Option<String>,
}

impl Exported {
    fn into_credentials(self) -> Credentials {
        use aws_smithy_types::DateTime;
        use aws_smithy_types::date_time::Format;
        let ends =
            self.expiration.as_deref().and_then(|it| DateTime::from_str(it, Format::DateTimeWithOffset).ok());
        // One that does not say when it ends is asked for again soon.
        let ends = ends.and_then(|it| SystemTime::try_from(it).ok());
        let ends = ends.or_else(|| Some(SystemTime::now() + UNSAID));
        let secret = self.secret_access_key.reveal().clone();
        Credentials::new(self.access_key_id, secret, self.session_token, ends, "aws-cli")
    }
}

fn credentials(id: &str, secret: &str, token: Option<String>) -> Credentials {
    Credentials::new(id.trim(), secret.trim(), token, None, "skyward")
}

pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|it| it.trim().to_owned()).filter(|it| !it.is_empty())
}

/// A file of the AWS CLI, and how it is shown.
type Shown = (Option<PathBuf>, String);

fn credentials_file() -> Shown {
    file("AWS_SHARED_CREDENTIALS_FILE", CREDENTIALS)
}

fn config_file() -> Shown {
    file("AWS_CONFIG_FILE", ".aws/config")
}

fn file(name: &str, usual: &str) -> Shown {
    match variable(name) {
        Some(path) => (Some(PathBuf::from(&path)), path),
        None => (std::env::home_dir().map(|it| it.join(usual)), format!("~/{usual}")),
    }
}

/// Where the AWS CLI is, where it is installed.
fn cli() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|it| it.join("aws")).find(|it| it.is_file())
}

/// How long before its end a key is not used any more.
const MARGIN: Duration = Duration::from_secs(120);

/// How long a key is used that does not say how long it lasts.
const UNSAID: Duration = Duration::from_secs(600);

/// How long the AWS CLI may take: it may have to ask somebody itself.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_come_first_and_half_of_a_key_is_none() {
        let config = Config {
            access_key_id: Some("AKIA".into()),
            secret_access_key: Some(Secret::new("hunter2".into())),
            ..Config::default()
        };
        let found = Keys::new(config.clone()).found().expect("a key");
        assert_eq!((found.key.reveal().as_str(), found.place.as_str()), ("hunter2", "the settings"));
        let half = Keys::new(Config { secret_access_key: None, ..config });
        assert_eq!(half.found().expect_err("half a key").kind, ProviderErrorKind::Auth);
        assert!(!format!("{half:?}").contains("hunter2"));
    }

    #[test]
    fn what_the_cli_hands_out_is_a_key_that_ends() {
        let text = r#"{"Version": 1, "AccessKeyId": "ASIA", "SecretAccessKey": "s", "SessionToken": "t",
                       "Expiration": "2026-11-22T08:00:00+00:00"}"#;
        let key: Exported = serde_json::from_str(text).expect("a key");
        let key = key.into_credentials();
        assert_eq!((key.access_key_id(), key.session_token()), ("ASIA", Some("t")));
        assert_eq!(key.expiry(), Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_334_400)));
        let endless: Exported =
            serde_json::from_str(r#"{"AccessKeyId": "A", "SecretAccessKey": "s"}"#).expect("a key");
        assert!(endless.into_credentials().expiry().is_some());
    }
}
