#!/bin/sh
# Usage: fetch_aws.sh PYTHON DIRECTORY
# Puts the collection amazon.aws into DIRECTORY, a place for collections. It comes inside the Python package "ansible",
# which is the one way to it that needs no ansible-galaxy server.
set -eu

python=$1
target=$2
package=ansible==12.3.0
checksum=cd156f82fa87f7a899212b0efa9f7ca3a24d609212de9f78428a572eb01e5414

echo "==> Fetching the collection amazon.aws with pip, 52 MB"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "$package --hash=sha256:$checksum" >"$work/requirements.txt"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
  --dest "$work" --requirement "$work/requirements.txt"
"$python" - "$work"/*.whl "$work" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    wanted = [name for name in wheel.namelist() if name.startswith("ansible_collections/amazon/aws/")]
    wheel.extractall(sys.argv[2], wanted)
PYTHON
rm -rf "$target/ansible_collections/amazon"
mkdir -p "$target/ansible_collections"
mv "$work/ansible_collections/amazon" "$target/ansible_collections/amazon"
