"""`python -m txmembio info`: what an installation is made of, for its user and for a report of a bug.

Nothing is imported here beside the core. Twisted's default reactor and the plugin are asked for in another Python: the
modules that know them would import pyOpenSSL where there is one, and a reactor that is installed is installed for good.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from typing import Any

import txmembio
from txmembio import trust
from txmembio.cli.installed import version_of

__all__ = ["as_json", "as_text", "gather"]

GROUPS = ("X25519MLKEM768", "X25519", "P-256", "P-384", "P-521", "X448", "ffdhe2048", "ffdhe3072")
"""What today's browsers and servers agree on: the hybrid with ML-KEM (draft-ietf-tls-ecdhe-mlkem), and those of
RFC 8446, section 4.2.7."""

ASK_TWISTED = """
from twisted.internet.default import install
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
print(install.__module__)
print("membiotls" in [plugin.prefix for plugin in getPlugins(IStreamServerEndpointStringParser)])
"""
"""Run by another Python. The function that would install the default reactor is only looked at."""

TWISTED_ANSWERS_WITHIN = 60.0
"""Seconds until the other Python is given up: it takes less than one, on a machine that does nothing else."""


def gather() -> dict[str, Any]:
    """Everything, as JSON can hold it. None stands for what is not installed or cannot be known."""
    openssl = _openssl()
    return {
        "txmembio": {"version": txmembio.__version__, "folder": os.path.dirname(txmembio.__file__)},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
            "platform": platform.platform(),
        },
        # What the core has loaded by now; whether the rest of cffi is there does not matter.
        "cffi": getattr(sys.modules.get("_cffi_backend"), "__version__", None),
        "openssl": openssl,
        "twisted": _twisted(),
        "tornado": version_of("tornado", "tornado"),
        "pyopenssl": version_of("OpenSSL", "pyOpenSSL"),
    }


def _openssl() -> dict[str, Any]:
    file, folder = trust.default_verify_paths()
    return {
        "version": txmembio.OPENSSL_VERSION,
        "compiled": _version_text(txmembio.OPENSSL_BUILD_VERSION_NUMBER),
        "library": txmembio.openssl_library(),
        "features": {name: getattr(txmembio, name) for name in sorted(dir(txmembio)) if name.startswith("has_")},
        "groups": {name: _has_group(name) for name in GROUPS},
        "roots": {
            "file": file,
            "file_exists": os.path.isfile(file),
            "folder": folder,
            "folder_exists": os.path.isdir(folder),
        },
    }


def _version_text(number: int) -> str:
    """OPENSSL_VERSION_NUMBER as people write it: 0x300000d0 is 3.0.13 (OPENSSL_VERSION_NUMBER(3))."""
    return f"{number >> 28}.{number >> 20 & 0xFF}.{number >> 4 & 0xFF}"


def _has_group(name: str) -> bool:
    try:
        txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT).set_groups(name)
    except ValueError:
        return False
    return True


def _twisted() -> dict[str, Any] | None:
    version = version_of("twisted", "twisted")
    if version is None:
        return None
    found: dict[str, Any] = {"version": version, "default_reactor": None, "endpoint_strings": None, "problem": None}
    try:
        command = [sys.executable, "-c", ASK_TWISTED]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=TWISTED_ANSWERS_WITHIN, check=True)
        found["default_reactor"], strings = asked.stdout.split()
        found["endpoint_strings"] = strings == "True"
    except subprocess.CalledProcessError as error:
        found["problem"] = (error.stderr.strip().splitlines() or [f"exit status {error.returncode}"])[-1]
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        found["problem"] = str(error)
    return found


def as_json() -> str:
    """What gather() gives, indented."""
    return json.dumps(gather(), indent=2)


def as_text() -> str:
    """The same for people: a line for each thing."""
    facts = gather()
    python, openssl, twisted = facts["python"], facts["openssl"], facts["twisted"]
    roots = openssl["roots"]
    lines = [
        ("txmembio", f"{facts['txmembio']['version']} in {facts['txmembio']['folder']}"),
        ("Python", f"{python['implementation']} {python['version']}, {python['platform']}"),
        ("cffi", _or_not(facts["cffi"])),
        ("OpenSSL", f"{openssl['version']} (compiled with {openssl['compiled']})"),
        ("  its file", openssl["library"] or "not known on this platform"),
        ("  features", _marked(openssl["features"])),
        ("  groups", _marked(openssl["groups"])),
        ("  roots", f"{roots['file']}{_absent(roots['file_exists'])}"),
        ("", f"{roots['folder']}{_absent(roots['folder_exists'])}"),
        ("Twisted", _or_not(twisted and twisted["version"])),
    ]
    if twisted:
        problem = f"not known: {twisted['problem']}"
        strings = {True: "found", False: "NOT found: twisted/plugins/txmembio_endpoints.py is not on Python's path"}
        lines += [
            ("  reactor", f"{twisted['default_reactor'] or problem} by default"),
            ("  membiotls:", strings.get(twisted["endpoint_strings"], problem)),
        ]
    lines += [
        ("Tornado", _or_not(facts["tornado"])),
        ("pyOpenSSL", f"{facts['pyopenssl']}, which txmembio does not use" if facts["pyopenssl"] else "not installed"),
    ]
    return "\n".join(f"{name:<12} {value}" for name, value in lines)


def _or_not(version: str | None) -> str:
    return version or "not installed"


def _absent(exists: bool) -> str:
    return "" if exists else " (not there)"


def _marked(there: dict[str, bool]) -> str:
    has = [name for name, yes in there.items() if yes]
    lacks = [name for name, yes in there.items() if not yes]
    return ", ".join(has or ["none"]) + (f" (not {', '.join(lacks)})" if lacks else "")
