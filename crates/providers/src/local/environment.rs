//! What a machine has of the environment of the program that started it: as little as a rented one. A key that
//! the client has there must not reach a function, nor what that downloads.

use std::ffi::{OsStr, OsString};

/// Of the variables, those that a machine keeps.
pub(super) fn kept(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> impl Iterator<Item = (OsString, OsString)> {
    variables.into_iter().filter(|(name, value)| keeps(name, value))
}

fn keeps(name: &OsStr, value: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    // An address with a login in it is a secret.
    let is_open = || !value.as_encoded_bytes().contains(&b'@');
    KEPT.contains(&name) || name.starts_with("LC_") || (ADDRESSES.contains(&name) && is_open())
}

/// What any login has, where temporary files go, what finds this program's libraries and the accelerators that
/// it may use, and what it is asked to tell of itself.
const KEPT: [&str; 19] = [
    "PATH",
    "LANG",
    "LANGUAGE",
    "TZ",
    "USER",
    "LOGNAME",
    "SHELL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "HIP_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES",
    "RUST_LOG",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
    "LLVM_PROFILE_FILE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Where packages come from, and by which way. Kept without a login (`…@`) in their address.
const ADDRESSES: [&str; 13] = [
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_and_no_login_is_kept() {
        let all = [
            ("PATH", "/bin", true),
            ("LC_ALL", "C.UTF-8", true),
            ("RUST_LOG", "debug", true),
            ("ROCR_VISIBLE_DEVICES", "0,1", true),
            ("https_proxy", "http://proxy.invalid:3128", true),
            ("https_proxy", "http://me:secret@proxy.invalid:3128", false),
            ("PIP_INDEX_URL", "https://token@index.invalid/simple", false),
            ("DIGITALOCEAN_TOKEN", "x", false),
            ("LAMBDA_API_KEY", "x", false),
            ("AWS_SECRET_ACCESS_KEY", "x", false),
            ("SSH_AUTH_SOCK", "/tmp/agent", false),
            ("HOME", "/root", false),
            ("SKYWARD_ROLE", "machine:7", false),
            ("PATHS", "x", false),
        ];
        for (name, value, expected) in all {
            assert_eq!(keeps(OsStr::new(name), OsStr::new(value)), expected, "{name}={value}");
        }
    }
}
