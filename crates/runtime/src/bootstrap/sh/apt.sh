as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo -n "$@"
    else
        echo "installing system packages needs root, and this user has no sudo: log in as root, or take apt out of the image" >&2
        return 77
    fi
}
apt_update() {
    # The lists have a lock of their own, which apt does not wait for in every version.
    for _ in 1 2 3 4 5; do
        if as_root apt-get -q -o DPkg::Lock::Timeout=120 update; then return 0; fi
        sleep 5
    done
    as_root apt-get -q update
}
apt_install() {
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "this machine has no apt-get: choose an image of Debian or Ubuntu, or take apt out of the image" >&2
        return 69
    fi
    as_root dpkg --configure -a
    apt_update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
        -o Acquire::Retries=3 -o Dpkg::Options::=--force-confold install --no-install-recommends "$@"
}
