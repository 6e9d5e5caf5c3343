#!/usr/bin/env bash
# Installs the Debian packages of a list: `tools/apt_packages.sh tests/apt-packages.txt`. One to a line, with a comment on what it
# is for. What is there already is left alone; whoever is not root is told what is missing; elsewhere than on Debian nothing is done.
set -euo pipefail

command -v dpkg-query >/dev/null || exit 0
missing=()
while read -r package _; do
  case "$package" in '' | '#'*) continue ;; esac
  [ "$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done <"$1"
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" = 0 ]; then
  apt-get update
  DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}"
else
  echo "not root, so not installed; tests that need them will skip: ${missing[*]}" >&2
fi
