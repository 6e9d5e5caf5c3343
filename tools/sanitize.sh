#!/usr/bin/env bash
# The unit tests on an extension built with AddressSanitizer and UndefinedBehaviorSanitizer: what they find ends the run.
#
#   tools/sanitize.sh                                  all of tests/unit
#   tools/sanitize.sh tests/unit/test_pump.py -k eof   what pytest is to run, from the repository's folder
#   PYTHON=.venv/bin/python tools/sanitize.sh          with this Python, which needs the test extra, cffi and setuptools
#
# Builds a copy of the sources below $TMPDIR, removed afterwards; the checkout is left alone. Linux with gcc or clang ($CC).
# Python itself and OpenSSL are not instrumented, but their memory is: PYTHONMALLOC=malloc and OpenSSL's own malloc go through
# the sanitizer. Leaks are left to tests/unit/test_lives.py, since the interpreter frees little when it ends.
set -euo pipefail

fail() {
  echo "sanitize: $1" >&2
  exit 1
}

python=${PYTHON:-python3}
cc=${CC:-gcc}
command -v "$python" >/dev/null || fail "$python (PYTHON) is not on PATH"
command -v "$cc" >/dev/null || fail "$cc (CC) is not on PATH; apt-get install gcc"
python=$("$python" -c 'import sys; print(sys.executable)')
"$python" -c 'import cffi, hypothesis, pytest, setuptools, trustme' || fail "$python lacks what the tests need: pip install '.[test]' cffi"
case $("$cc" --version) in
  *clang*) runtime=$("$cc" -print-file-name=libclang_rt.asan-"$(uname -m)".so) shared=-shared-libasan ;;
  *) runtime=$("$cc" -print-file-name=libasan.so) shared= ;;
esac
[ -f "$runtime" ] || fail "$cc has no library for AddressSanitizer; apt-get install libasan8 (gcc), libclang-rt-dev (clang)"

repository=$(cd "$(dirname "$0")/.." && pwd)
copy=$(mktemp -d "${TMPDIR:-/tmp}/txmembio-sanitize.XXXXXX")
trap 'rm -rf "$copy"' EXIT
tar -C "$repository" --exclude='*.so' --exclude=__pycache__ --exclude='./.*' --exclude=./build -cf - . | tar -C "$copy" -xf -
cd "$copy"

flags="-fsanitize=address,undefined -fno-sanitize-recover=undefined $shared"
echo "sanitize: building with $cc $flags"
CC=$cc CFLAGS="-g -O1 -fno-omit-frame-pointer $flags" LDFLAGS="$flags" \
  "$python" setup.py --quiet build_ext --inplace >build.log 2>&1 || { cat build.log >&2; fail "the build failed"; }

# The interpreter is not linked with the sanitizer, so its library has to be there first; child Pythons inherit all this.
export LD_PRELOAD=$runtime PYTHONMALLOC=malloc PYTHONPATH=$copy PYTHONDONTWRITEBYTECODE=1
export ASAN_OPTIONS=detect_leaks=0:abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
if [ $# = 0 ]; then
  set -- tests/unit
fi
"$python" -m pytest -p no:cacheprovider "$@"
