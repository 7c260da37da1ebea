//! What the `ssh` client of this computer knows of a host: where it is, by which way it is reached, who logs in,
//! and by which key it is known. Its own programs are asked, so that the answer is what `ssh` would do.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use skyward_runtime::model::{HostKey, Identity, Login, SshEndpoint};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};
use tokio::process::Command;
use tokio::time::timeout;

use super::config::{Config, Host};
use super::map::{Known, Settings, known, settings};

/// How a host is reached. The servers on the way are looked up as hosts themselves.
pub(super) async fn endpoint(config: &Config, host: &Host) -> Result<SshEndpoint, ProviderError> {
    let found = asked(config, host).await?;
    let through = way(config, host, &found, MOST_JUMPS).await?;
    let mut endpoint = one(config, host, found).await?;
    endpoint.login.through = through;
    Ok(endpoint)
}

/// The servers on the way to a host, the first of them first.
async fn way(
    config: &Config,
    host: &Host,
    found: &Settings,
    most: usize,
) -> Result<Vec<SshEndpoint>, ProviderError> {
    let Some(jumps) = &found.jump else { return Ok(Vec::new()) };
    let Some(most) = most.checked_sub(1) else {
        return Err(local(format!(
            "the way to {} goes through itself, or through very many servers",
            host.name
        )));
    };
    let mut way = Vec::new();
    for (number, jump) in jumps.split(',').enumerate() {
        let jump = Host::from(jump.trim_start_matches("ssh://"));
        let found = asked(config, &jump).await?;
        // The first may be behind others; those after it are reached through it.
        if number == 0 {
            way.extend(Box::pin(self::way(config, &jump, &found, most)).await?);
        }
        way.push(one(config, &jump, found).await?);
    }
    Ok(way)
}

async fn one(config: &Config, host: &Host, found: Settings) -> Result<SshEndpoint, ProviderError> {
    if let Some(command) = &found.proxy_command {
        let message = format!(
            "{} is reached by the command {command:?} (`ProxyCommand`), which is not supported: name the server on \
             the way with `ProxyJump`",
            host.name
        );
        return Err(local(message));
    }
    let host_key = host_key(config, host, &found).await?;
    let agent = found.agent(std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from));
    let identity = Identity::Own { agent, files: found.identity_files, only: found.identities_only };
    let login = Box::new(Login { identity, ..Login::default() });
    Ok(SshEndpoint { host: found.host, port: found.port, user: found.user, host_key, login })
}

/// What `ssh -G` tells of a host.
async fn asked(config: &Config, host: &Host) -> Result<Settings, ProviderError> {
    // A name that begins with a dash would be an option.
    if host.name.is_empty() || host.name.starts_with('-') {
        return Err(local(format!("{:?} is no name of a host", host.name)));
    }
    let mut ssh = Command::new("ssh");
    ssh.arg("-G");
    if let Some(file) = &config.ssh_config {
        ssh.arg("-F").arg(file);
    }
    if let Some(user) = host.user.as_ref() {
        ssh.arg("-l").arg(user);
    }
    if let Some(port) = host.port {
        ssh.arg("-p").arg(port.to_string());
    }
    if let Some(file) = &host.identity_file {
        ssh.arg("-o").arg("IdentitiesOnly=yes").arg("-i").arg(file);
    }
    if let Some(jump) = &host.jump {
        ssh.arg("-J").arg(jump);
    }
    let said = run(ssh.arg("--").arg(&host.name)).await?;
    let mut found =
        settings(&said).ok_or_else(|| local(format!("`ssh -G {}` says too little", host.name)))?;
    // The client's settings come first; without any, `ssh` names the user of this computer.
    if let (None, Some(user)) = (&host.user, &config.user)
        && std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or("root".to_owned())
            == found.user
    {
        found.user.clone_from(user);
    }
    Ok(found)
}

/// The key by which a host is known.
async fn host_key(config: &Config, host: &Host, found: &Settings) -> Result<HostKey, ProviderError> {
    let name = found.known_as();
    let files = config.known_hosts.as_ref().map_or_else(|| found.known_hosts.clone(), |it| vec![it.clone()]);
    let mut keys = Vec::new();
    for file in files.iter().filter(|it| it.is_file()) {
        match known(&lookup(&name, file).await?) {
            Known::Keys(found) => keys.extend(found),
            Known::Revoked => {
                let message =
                    format!("refused {}: its key is marked as revoked in {}", host.name, file.display());
                return Err(local(message));
            }
        }
    }
    if !keys.is_empty() {
        return Ok(HostKey::OneOf(keys));
    }
    if config.accept_new || found.accepts_new {
        return Ok(HostKey::PinOnFirstUse);
    }
    let listed: Vec<_> = files.iter().map(|it| it.display().to_string()).collect();
    Err(local(format!(
        "refused {name}: nobody knows its key ({}); log in once with `ssh {}` and look at the key that is shown, or \
         set `accept_new`",
        listed.join(", "),
        host.name
    )))
}

/// The lines of a list that are about this name, hashed or not.
async fn lookup(name: &str, file: &Path) -> Result<String, ProviderError> {
    let mut keygen = Command::new("ssh-keygen");
    // It ends with 1 when there is none.
    let output = output(keygen.arg("-F").arg(name).arg("-f").arg(file)).await?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

async fn run(command: &mut Command) -> Result<String, ProviderError> {
    let output = output(command).await?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(local(format!("failed to ask the `ssh` client for its settings: {why}; see `ssh -G`")))
}

async fn output(command: &mut Command) -> Result<std::process::Output, ProviderError> {
    let command =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    match timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => {
            let message = "failed to start the `ssh` client, whose settings and lists are used: install it (Debian's \
                           package is openssh-client)";
            Err(local(message).because(error))
        }
        Err(_) => Err(local(format!("the `ssh` client did not tell its settings within {PATIENCE:?}"))),
    }
}

/// An error of this computer's.
pub(super) fn local(message: impl Into<String>) -> ProviderError {
    ProviderError::new(ProviderErrorKind::Local, message)
}

/// How many servers one may lead to the next through their own settings, before it must be a circle.
const MOST_JUMPS: usize = 8;

/// How long a program of the `ssh` client may take. It asks nobody, unless the user's `Match exec` does.
const PATIENCE: Duration = Duration::from_secs(20);
