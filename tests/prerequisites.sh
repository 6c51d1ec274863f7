#!/bin/sh
# Usage: prerequisites.sh PYTHON [PROGRAM[:PACKAGE]...]
# Installs the Debian packages that are missing, or names them in one sentence and changes nothing.
set -eu
# Where an ordinary account does not look.
PATH=$PATH:/usr/sbin:/sbin

python=$1
shift

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  echo "This needs Python 3.11 or newer, and $python is not: call make with PYTHON=/path/to/python3." >&2
  exit 1
fi

missing=
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
for program in tmux "$@"; do
  command -v "${program%:*}" >/dev/null || missing="$missing ${program#*:}"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
  as_root=
elif sudo -n true 2>/dev/null; then
  as_root="sudo -n"
else
  as_root=none
fi
if [ "$as_root" = none ] || ! command -v apt-get >/dev/null; then
  echo "This machine lacks the packages:$missing. Have them installed, then run make again." >&2
  exit 1
fi
echo "==> Installing the packages:$missing"
# shellcheck disable=SC2086 # both are lists of words
{
  $as_root apt-get update --quiet
  DEBIAN_FRONTEND=noninteractive $as_root apt-get install --quiet --yes --no-install-recommends $missing
}
