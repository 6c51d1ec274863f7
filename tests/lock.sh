#!/bin/sh
# Usage: lock.sh UV
# Pins the dependency groups of pyproject.toml, for every Python and machine each is used on.
set -eu

compile() {
  group=$1 python=$2 output=$3
  shift 3
  "$uv" pip compile --quiet --upgrade --universal --generate-hashes --no-header --no-annotate \
    --group "$group" --python-version "$python" --output-file "$output" "$@"
}

uv=$1
compile jupyter 3.9 roles/jupyter/files/requirements.txt
compile demo 3.11 requirements.txt
# The keeper is tested with the releases that hosts get.
compile test 3.11 tests/requirements.txt --constraint requirements.txt --constraint roles/jupyter/files/requirements.txt
compile aws 3.11 tests/aws-requirements.txt --constraint requirements.txt
