# First the old environment goes: the env file puts it before everything else.
rm -rf "$SKYWARD_HOME/venv"
mkdir -p "$SKYWARD_HOME/uv/bin"
if command -v uv >/dev/null 2>&1; then
    ln -sf "$(command -v uv)" "$SKYWARD_HOME/uv/bin/uv"
elif [ ! -x "$SKYWARD_HOME/uv/bin/uv" ]; then
    if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
        install_venv
    fi
    if ! command -v python3 >/dev/null 2>&1; then
        echo 'no python3 on this machine: install uv or python3 with its venv module on it; where we are root, apt(["python3-venv"]) does' >&2
        exit 69
    fi
    if ! python3 -m venv "$SKYWARD_HOME/uv"; then
        echo 'python3 on this machine cannot make an environment: install uv or the venv module (python3-venv) on it' >&2
        exit 69
    fi
    "$SKYWARD_HOME/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv
fi
