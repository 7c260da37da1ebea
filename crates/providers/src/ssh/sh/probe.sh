# What this host has, a line for each thing.
patient() {
    if command -v timeout >/dev/null 2>&1; then timeout 20 "$@"; else "$@"; fi
}
echo "skyward system $(uname -s)"
echo "skyward processor $(uname -m)"
echo "skyward vcpus $(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
echo "skyward memory_kb $(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo 2>/dev/null)"
echo "skyward disk_kb $(df -Pk "$HOME" 2>/dev/null | awk 'NR == 2 { print $4 }')"
if command -v nvidia-smi >/dev/null 2>&1; then
    patient nvidia-smi --query-gpu=name,memory.total --format=csv,noheader,nounits 2>/dev/null | sed 's/^/skyward nvidia /'
fi
if command -v rocm-smi >/dev/null 2>&1; then
    echo "skyward amd $(patient rocm-smi --showproductname --showmeminfo vram --json 2>/dev/null | tr '\n' ' ')"
fi
