#!/usr/bin/env bash
# `make test` and `make demo` in a clone inside a minimal Debian that holds what the README asks for and no more.
# The release is the first argument: bookworm (Debian 12, OpenSSL 3.0), trixie (13, OpenSSL 3.5), sid.
#
# Needs root and debootstrap. Takes minutes and about 1 GB below $TMPDIR, removed afterwards.
# DEBIAN_MIRROR chooses another mirror than debootstrap's own. What is tested is the last commit.
# pip inside uses this machine's configuration and certificates, wherever those point.
set -euo pipefail

release=${1:-bookworm}
packages=python3-venv,gcc,libc6-dev,python3-dev,libssl-dev,libffi-dev,make,git,ca-certificates

fail() {
  echo "test-chroot: $1" >&2
  exit 1
}

[ "$(id -u)" = 0 ] || fail "needs root, to run debootstrap and chroot; run it with sudo"
command -v debootstrap >/dev/null || fail "debootstrap is not installed; apt-get install debootstrap"
repository=$(cd "$(dirname "$0")/.." && pwd)
git -C "$repository" rev-parse --quiet --verify HEAD >/dev/null || fail "$repository has no commit to clone"

root=$(mktemp -d "${TMPDIR:-/tmp}/txmembio-chroot.XXXXXX")
clean_up() {
  umount "$root/proc" 2>/dev/null || true
  if grep -q " $root/" /proc/mounts; then
    echo "test-chroot: something is still mounted below $root; left as it is" >&2
  else
    rm -rf --one-file-system "$root"
  fi
}
trap clean_up EXIT

echo "test-chroot: a minimal Debian ($release) in $root"
debootstrap --variant=minbase --include="$packages" "$release" "$root" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} \
  >"$root.log" 2>&1 || { tail -n 20 "$root.log" >&2; fail "debootstrap failed (log: $root.log)"; }
rm -f "$root.log"
mount -t proc proc "$root/proc" 2>/dev/null || mount --bind /proc "$root/proc" || fail "cannot mount /proc in $root"

# Names, certificates and pip's configuration are this machine's: same paths inside, nothing written down here.
carry() {
  [ -f "$1" ] || return 0
  mkdir -p "$root$(dirname "$1")"
  cp -L "$1" "$root$1"
}
for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf /etc/xdg/pip/pip.conf \
  "$HOME/.config/pip/pip.conf" "$HOME/.pip/pip.conf" \
  "${PIP_CONFIG_FILE:-}" "${PIP_CERT:-}" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}"; do
  carry "$file"
done
passed=()
while IFS= read -r name; do
  passed+=("$name=${!name}")
done < <(compgen -e | grep -E '^(PIP_.*|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)$')

git clone --quiet --no-hardlinks "$repository" "$root/source"

echo "test-chroot: make test, make demo"
chroot "$root" /usr/bin/env -i HOME="$HOME" LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin "${passed[@]}" sh -euc '
  mkdir -p "$HOME"
  git config --global --add safe.directory /source/.git
  git clone --quiet /source /clone
  cd /clone
  make test
  make demo
'
echo "test-chroot: passed"
