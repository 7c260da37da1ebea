//! A machine as most clouds know one: reached at its own address by SSH, or not there at all; and what its
//! accelerators are called.

use std::net::IpAddr;

use skyward_runtime::model::accelerator::Unsold;
use skyward_runtime::model::{
    Accelerator, End, HostKey, Instance, InstanceId, InstanceState, Loss, Notice, SshEndpoint,
};
use skyward_runtime::provider::{ProviderError, ProviderErrorKind};

/// A machine with an address of its own, whose bill only its owner's account can end.
pub(crate) fn reached(address: IpAddr, port: u16, user: &str) -> InstanceState {
    let ssh = SshEndpoint {
        host: address.to_string(),
        port,
        user: user.to_owned(),
        host_key: HostKey::PinOnFirstUse,
        login: Box::default(),
    };
    InstanceState::Running { ssh, address, private: None, end: End::Outside, notice: Notice::None }
}

/// A machine that a cloud does not know.
pub(crate) fn stranger(id: &InstanceId, title: &str) -> Instance {
    let reason = format!("{title} knows no machine {id}");
    Instance { id: id.clone(), state: InstanceState::Gone { reason, loss: Loss::Stopped } }
}

/// What was found; a machine that is not found is a stranger, and no error.
pub(crate) fn found_or_stranger(
    found: Result<Instance, ProviderError>,
    id: &InstanceId,
    title: &str,
) -> Result<Instance, ProviderError> {
    match found {
        Err(error) if error.kind == ProviderErrorKind::NotFound => Ok(stranger(id, title)),
        found => found,
    }
}

/// What a cloud calls an accelerator, in our words, or by its own name where nobody has written it down.
///
/// # Errors
/// Why it is left out, for people.
pub(crate) fn sold(spelling: &str) -> Result<Accelerator, String> {
    match Accelerator::as_sold(spelling) {
        Ok(accelerator) => Ok(accelerator),
        Err(refused @ Unsold::Refused { .. }) => Err(refused.to_string()),
        Err(_) => Ok(Accelerator::custom(spelling)),
    }
}
