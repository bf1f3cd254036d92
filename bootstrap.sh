# shellcheck shell=bash
# Brings .venv next to this file up to date; sourced by ./up and ./test. Safe and quick to repeat.

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
die() { printf '\n%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Print the first Python that can run Ansible and make virtual environments.
find_python() {
    local python
    for python in /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
        "$python" -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null &&
            { command -v "$python"; return; }
    done
    return 1
}

# bootstrap UV_SYNC_ARGUMENT...: make .venv with the locked packages.
bootstrap() {
    local python uv_version
    if ! python=$(find_python) || ! /usr/bin/python3 -c 'import apt' 2>/dev/null; then
        command -v apt-get >/dev/null || die "Python 3.11, 3.12 or 3.13 with its venv module is needed. Install it with your system's packages and try again."
        say "Installing Python from the distribution's packages"
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv python3-apt >/dev/null
        python=$(find_python) ||
            die "this system's Python is $(/usr/bin/python3 --version 2>&1); 3.11, 3.12 or 3.13 is needed. Debian 12 and Ubuntu 24.04 bring one; on Ubuntu 22.04: apt-get install python3.11-venv"
    fi

    if [ ! -x .venv/bin/python ] || ! .venv/bin/python -c '' 2>/dev/null; then
        say "Making .venv"
        "$python" -m venv --clear .venv
    fi
    uv_version=$(sed -n 's/^uv==\([0-9.]*\).*/\1/p' roles/python_release/files/uv.txt)
    if [ "$(.venv/bin/uv --version 2>/dev/null | cut -d' ' -f2)" != "$uv_version" ]; then
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r roles/python_release/files/uv.txt
    fi
    # The machine's own certificates, also those of a company's proxy
    export UV_SYSTEM_CERTS=1
    .venv/bin/uv sync --quiet --frozen --inexact "$@"
    export PATH="$PWD/.venv/bin:$PATH"
}
