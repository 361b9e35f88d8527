#!/bin/sh
# Builds the environment: `sh tools/setup.sh .venv`. Needs Python 3.11 to 3.13 with venv; works with HOME empty or unset.
set -eu
venv=$1
py=$venv/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }
fits() { "$1" -c 'import sys; raise SystemExit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1; }

# An interpreter built without profile-guided optimisation runs the service a third slower. Distributions and python.org build with it,
# version managers often do not.
quick() {
    case $(command -v "$1") in /usr/bin/*) return 0 ;; esac
    "$1" -c 'import sysconfig; raise SystemExit("--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""))' >/dev/null 2>&1
}

find_python() {
    found=
    slower=
    for name in ${PYTHON:-} python3.13 python3.12 python3.11 python3 python /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 /usr/bin/python3; do
        fits "$name" || continue
        if "$name" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            if [ "$name" = "${PYTHON:-}" ] || quick "$name"; then
                printf '%s' "$name"
                return
            fi
            slower=${slower:-$name}
        else
            found=$name
        fi
    done
    if [ -n "$slower" ]; then
        printf '%s' "$slower"
        return
    fi
    if [ -n "$found" ]; then
        say "setup: $found cannot make virtual environments: its ensurepip module is missing."
        say "       On Debian or Ubuntu: apt-get install python3-venv; then run make again."
    else
        say "setup: no Python 3.11, 3.12 or 3.13 found; install one, or name it: make setup PYTHON=/path/to/python3.12"
    fi
    exit 1
}

if ! { [ -x "$py" ] && fits "$py" && "$py" -c 'import pip' >/dev/null 2>&1; }; then
    base=$(find_python)
    say "setup: making $venv with $("$base" -V)"
    rm -rf "$venv"
    "$base" -m venv "$venv"
fi

# uv installs in seconds what takes pip minutes; where it has no wheel or cannot reach anything, pip does the same.
# By itself uv trusts its own list of authorities; behind a company's proxy only the machine's list will do.
install() {
    if "$py" -m uv --version >/dev/null 2>&1 || "$py" -m pip install -q --require-hashes --only-binary :all: -r requirements/uv.txt; then
        if [ -z "${HOME:-}" ] || ! [ -w "$HOME" ]; then export UV_NO_CACHE=1; fi
        if "$py" -m uv pip install -q --python "$py" "$@" 2>/dev/null; then return; fi
        if "$py" -m uv pip install -q --python "$py" --system-certs "$@"; then return; fi
        say "setup: uv did not do it; pip takes a few minutes"
    fi
    "$py" -m pip install -q --no-input "$@"
}

say "setup: installing the pinned packages (about 1.4 GB on disk)"
install --require-hashes -r requirements/dev.txt
"$py" -m pip install -q --no-input --no-deps --no-build-isolation --no-index -e .

say "setup: ready"
