#!/bin/sh
# Usage: fetch_agent.sh FILE
# Puts the real ngrok agent 2.3 at FILE. It comes inside npm packages of the Expo project, which is
# the one way to an agent that needs no ngrok server.
set -eu

target=$1
case $(uname -m) in
  x86_64)
    package=@expo/ngrok-bin-linux-x64@2.3.42
    checksum=167d5ea780738c6642a5e5422f44d5582afcc20bda82f58a926606cc85661070
    ;;
  aarch64)
    package=@expo/ngrok-bin-linux-arm64@2.3.41
    checksum=93cff7678a5fde361d44c9da4cf51d18acd42a60c68ab30d4b77a17e1cc08bdc
    ;;
  *)
    echo "There is no ngrok agent in npm for $(uname -m)." >&2
    exit 1
    ;;
esac

echo "==> Fetching the ngrok agent with npm, 10 MB"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "$package" >/dev/null)
echo "$checksum  $(echo "$work"/*.tgz)" | sha256sum --check --quiet
tar -xzf "$work"/*.tgz -C "$work" package/ngrok
mkdir -p "$(dirname "$target")"
install -m 0755 "$work/package/ngrok" "$target"
