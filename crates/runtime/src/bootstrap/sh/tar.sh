if ! command -v tar >/dev/null 2>&1; then
    echo 'no tar on this machine, which unpacks the included files: where we are root, apt(["tar"]) installs it' >&2
    exit 69
fi
