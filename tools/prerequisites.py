"""Says what is missing on this machine before anything is built: ``python3 tools/prerequisites.py``.

Standard library only. Each thing is tried, not looked for: headers by compiling and linking two lines that need them.
Prints nothing but a summary and exits 0 where everything is there; otherwise names each missing thing, what was tried,
and what to install, and exits 1.

Unlike the rest of the project this file has to be read by the old Python that it turns away: no syntax newer than 3.6.
"""

import importlib.util
import os
import platform
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from typing import Any, Dict, List, NamedTuple, Optional

OLDEST_PYTHON = (3, 10)
"""The same as `requires-python` in pyproject.toml."""

BUILD_SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "txmembio", "_openssl", "build.py")
"""Knows which OpenSSL will be built against; asked here, so that the check and the build look in the same place."""

SYSTEMS = ("Debian, Ubuntu", "Fedora", "Alpine", "macOS", "Windows")

COMPILER = "a C compiler that can build a program"

CFFI_WHEELS = {
    "linux": ("x86_64", "i686", "aarch64", "ppc64le", "s390x"),
    "darwin": ("x86_64", "arm64"),
    "win32": ("AMD64", "x86", "ARM64"),
}
"""Where pip finds cffi ready built; anywhere else it is compiled, and then needs libffi's headers."""


class Missing(NamedTuple):
    """A thing that is not there."""

    name: str
    tried: str
    """What was tried and how it went, one line."""
    install: List[str]
    """A command for each of SYSTEMS, in that order."""


def missing_python(version: Any = sys.version_info) -> Optional[Missing]:
    if tuple(version[:2]) >= OLDEST_PYTHON:
        return None
    return Missing(
        "Python %d.%d or newer" % OLDEST_PYTHON,
        "%s is Python %d.%d; choose another with `make PYTHON=...`" % (sys.executable, version[0], version[1]),
        [
            "apt-get install python3",
            "dnf install python3",
            "apk add python3",
            "brew install python",
            "winget install Python.Python.3.13",
        ],
    )


def missing_venv() -> Optional[Missing]:
    # Debian ships `venv` with Python, but keeps `ensurepip`, which it cannot work without, in a package of its own.
    absent = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if not absent:
        return None
    return Missing(
        "Python's venv",
        "%s has no module %s" % (sys.executable, " and no module ".join(absent)),
        [
            "apt-get install python3-venv",
            "dnf install python3 python-pip-wheel",
            "apk add python3 py3-pip",
            "brew install python",
            "winget install Python.Python.3.13",
        ],
    )


def compiler() -> List[str]:
    """The compiler that setuptools will call: $CC, or what Python was built with."""
    return shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")


def complaint(program: str, compile_arguments: List[str], link_arguments: Optional[List[str]] = None) -> Optional[str]:
    """Compile a program, and link it where `link_arguments` are given. None if that works, else the first complaint."""
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "prerequisite.c")
        with open(source, "w") as file:
            file.write(program)
        command = [
            *compiler(),
            *shlex.split(os.environ.get("CFLAGS", "")),
            *compile_arguments,
            source,
            "-o",
            os.path.join(folder, "prerequisite"),
        ]
        if link_arguments is None:
            command.append("-c")
        else:
            command += [*link_arguments, *shlex.split(os.environ.get("LDFLAGS", ""))]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
        except OSError as error:
            return "%s: %s" % (command[0], error.strerror)
    if done.returncode == 0:
        return None
    lines = [line.strip().replace(source, "prerequisite.c") for line in done.stdout.splitlines()]
    telling = [line for line in lines if "error" in line or "undefined" in line or "cannot find" in line]
    return (telling or lines or ["exit status %d" % done.returncode])[0]


def missing_compiler() -> Optional[Missing]:
    command = compiler()
    if shutil.which(command[0]) is None:
        tried = "%s is not on PATH; another can be named with `make CC=...`" % command[0]
    else:
        trouble = complaint('#include <stdio.h>\nint main(void) { return puts("") < 0; }\n', [], [])
        if trouble is None:
            return None
        tried = trouble
    return Missing(
        COMPILER,
        tried,
        [
            "apt-get install gcc libc6-dev",
            "dnf install gcc glibc-devel",
            "apk add gcc musl-dev",
            "xcode-select --install",
            "winget install Microsoft.VisualStudio.2022.BuildTools, with its C++ workload",
        ],
    )


def missing_python_headers() -> Optional[Missing]:
    paths = sysconfig.get_paths()
    folders = sorted({paths["include"], paths["platinclude"]})
    trouble = complaint("#include <Python.h>\nint main(void) { return 0; }\n", ["-I" + folder for folder in folders])
    if trouble is None:
        return None
    return Missing(
        "Python's headers (Python.h)",
        trouble,
        [
            "apt-get install python3-dev",
            "dnf install python3-devel",
            "apk add python3-dev",
            "brew install python",
            "winget install Python.Python.3.13",
        ],
    )


def missing_openssl() -> Optional[Missing]:
    program = (
        "#include <openssl/ssl.h>\n"
        "#if OPENSSL_VERSION_NUMBER < 0x30000000L\n"
        "#error the headers found are older than OpenSSL 3.0\n"
        "#endif\n"
        "int main(void) { return SSL_CTX_new(TLS_method()) == NULL; }\n"
    )
    try:
        settings: Dict[str, List[str]] = runpy.run_path(BUILD_SCRIPT)["openssl_settings"]()
    except ValueError as error:  # an OPENSSL_DIR that does not hold what it should
        trouble: Optional[str] = str(error)
    else:
        trouble = complaint(
            program,
            ["-I" + folder for folder in settings["include_dirs"]] + settings["extra_compile_args"],
            settings["extra_objects"]
            + ["-L" + folder for folder in settings["library_dirs"]]
            + ["-l" + name for name in settings["libraries"]]
            + settings["extra_link_args"],
        )
    if trouble is None:
        return None
    return Missing(
        "OpenSSL's headers and library, 3.0 or newer",
        trouble,
        [
            "apt-get install libssl-dev",
            "dnf install openssl-devel",
            "apk add openssl-dev",
            'brew install openssl@3 pkg-config, then export PKG_CONFIG_PATH="$(brew --prefix openssl@3)/lib/pkgconfig"',
            "vcpkg install openssl, then set OPENSSL_DIR to the folder that holds include and lib",
        ],
    )


def missing_libffi() -> Optional[Missing]:
    if sys.implementation.name == "pypy" or platform.machine() in CFFI_WHEELS.get(sys.platform, ()):
        return None
    include = []
    if shutil.which("pkg-config"):
        asked = subprocess.run(
            ["pkg-config", "--cflags", "libffi"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            universal_newlines=True,
        )
        include = shlex.split(asked.stdout)
    trouble = complaint("#include <ffi.h>\nint main(void) { return 0; }\n", include)
    if trouble is None:
        return None
    return Missing(
        "libffi's headers (cffi is not published ready built for %s on %s)" % (sys.platform, platform.machine()),
        trouble,
        [
            "apt-get install libffi-dev",
            "dnf install libffi-devel",
            "apk add libffi-dev",
            "brew install libffi",
            "none needed: cffi is published ready built",
        ],
    )


def missing() -> List[Missing]:
    """Everything that is missing. What cannot be tried without something else is not reported beside it."""
    old = missing_python()
    if old is not None:
        return [old]
    found = [missing_venv()]
    if sys.platform != "win32":  # there the compiler is not on PATH: setuptools finds it, and says so if it cannot
        no_compiler = missing_compiler()
        found.append(no_compiler)
        if no_compiler is None:
            found += [missing_python_headers(), missing_openssl(), missing_libffi()]
    return [thing for thing in found if thing is not None]


def report(things: List[Missing]) -> str:
    """What to tell the user, one paragraph for each thing."""
    lines = ["txmembio cannot be built on this machine yet; missing:"]
    for thing in things:
        lines += ["", "  " + thing.name, "    %-16s%s" % ("tried:", thing.tried)]
        lines += ["    %-16s%s" % (system + ":", command) for system, command in zip(SYSTEMS, thing.install)]
    if any(thing.name == COMPILER for thing in things):
        lines += ["", "  Not tried without a compiler: Python's headers (python3-dev) and OpenSSL's (libssl-dev)."]
    return "\n".join(lines)


def main() -> int:
    things = missing()
    if things:
        print(report(things), file=sys.stderr)
        return 1
    print("prerequisites: all there (Python %s, %s)" % (platform.python_version(), " ".join(compiler())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
