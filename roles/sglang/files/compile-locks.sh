#!/usr/bin/env bash
# Makes the locks of SGLang's environments again. Downloads metadata only, except for the CPU PyTorch's wheel.
#
#   ./compile-locks.sh DIRECTORY_OR_URL    where the wheel of the CPU PyTorch lies: a directory that holds it, or
#                                          PyTorch's own page of CPU wheels
#
# Needs uv. The locks are complete, so the environments are installed with
#   uv pip install --no-deps --require-hashes --only-binary :all: -r LOCK [--find-links DIRECTORY_OR_URL]
set -euo pipefail
cd "$(dirname "$0")"

if [[ $# -ne 1 ]]; then
  echo "usage: $0 DIRECTORY_OR_URL (where the wheel of the CPU PyTorch lies)" >&2
  exit 2
fi
torch_wheels=$1

# glibc 2.34 is what SGLang's own wheels need.
compile() {
  uv pip compile --quiet --generate-hashes --only-binary :all: --no-header --no-annotate \
    --python-platform x86_64-manylinux_2_34 "$@"
}

header() {
  echo "# Made by compile-locks.sh: do not edit. Install with --no-deps --require-hashes --only-binary :all:"
}

lock_cpu() {
  header
  compile --find-links "$torch_wheels" --python-version 3.11 cpu-0.5.23.in
  echo "sglang==0.5.23" | compile --no-deps --python-version 3.11 -
}

# SGLang names pre-releases among its dependencies; without --prerelease=allow uv goes back to an old SGLang.
lock_cuda() {
  header
  echo "sglang==$1" | compile --prerelease=allow --python-version 3.12 -
}

# replace LOCK COMMAND…: the old lock stays unless the new one is complete.
replace() {
  local lock=$1 new
  shift
  new=$(mktemp "$lock.XXXXXX")
  # shellcheck disable=SC2064  # the name of today's file, not of a later one
  trap "rm -f '$new'" EXIT
  "$@" >"$new"
  chmod 644 "$new"
  mv "$new" "$lock"
}

replace cpu-0.5.23.txt lock_cpu
replace cuda13-0.5.23.txt lock_cuda 0.5.23
replace cuda12-0.5.10.post1.txt lock_cuda 0.5.10.post1
