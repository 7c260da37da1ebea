//! The container image that is taken where nobody names one.

/// NVIDIA's image of this version of Ubuntu with this version of CUDA, from NVIDIA's own registry, which
/// asks for no account and counts nobody's downloads.
///
/// ```
/// use skyward_providers::cloud::ubuntu;
/// assert_eq!(ubuntu("24.04", "12.9.1"), "nvcr.io/nvidia/cuda:12.9.1-runtime-ubuntu24.04");
/// ```
pub fn ubuntu(version: &str, cuda: &str) -> String {
    format!("nvcr.io/nvidia/cuda:{cuda}-runtime-ubuntu{version}")
}
