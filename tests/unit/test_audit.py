"""`python -m txmembio audit`: who requires pyOpenSSL, who imports it, which names they use, and which are supplied."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest

from support.process import DEADLINE, environment
from support.unreadable import unreadable
from txmembio.cli import audit_files, audit_supply, audit_uses, main
from txmembio.cli.audit import Module, as_json, as_text, audit
from txmembio.cli.audit_requirements import Requirement, applies, requirements_of

#: A name that pyOpenSSL never had, and so nobody supplies.
NOT_THERE = "SSL.NO_SUCH_THING"


def audited(folder: Path, source: str) -> Module:
    """What is found in one file with this source."""
    path = folder / "audited.py"
    path.write_text(dedent(source), encoding="utf-8")
    (module,) = audit([str(path)]).modules
    return module


def names(folder: Path, source: str) -> set[str]:
    return {name.name for name in audited(folder, source).names}


def project(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, source in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
    return folder


def installed(folder: Path, name: str, *requires: str, extras: tuple[str, ...] = (), version: str = "1.0") -> None:
    """A distribution's metadata."""
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {line}" for line in requires] + [f"Provides-Extra: {extra}" for extra in extras]
    (about / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")


def requirements(folder: Path) -> dict[str, Requirement]:
    found = requirements_of("pyOpenSSL", distributions(path=[str(folder)]))
    return {requirement.distribution: requirement for requirement in found}


def command(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m txmembio audit …` in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-m", "txmembio", "audit", *map(str, arguments)],
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


# --- imports


@pytest.mark.parametrize(
    ("source", "module", "when"),
    [
        ("import OpenSSL", "OpenSSL", "module"),
        ("import os, OpenSSL.SSL as tls", "OpenSSL.SSL", "module"),
        ("from OpenSSL import SSL", "OpenSSL", "module"),
        ("from OpenSSL.crypto import X509", "OpenSSL.crypto", "module"),
        ("def f():\n    from OpenSSL import SSL", "OpenSSL", "function"),
        ("class C:\n    from OpenSSL import SSL", "OpenSSL", "module"),
        ("try:\n    from OpenSSL import SSL\nexcept ImportError:\n    SSL = None", "OpenSSL", "optional"),
        ("try:\n    import OpenSSL.SSL\nexcept:\n    pass", "OpenSSL.SSL", "optional"),
        ("try:\n    import OpenSSL.SSL\nexcept KeyError:\n    pass", "OpenSSL.SSL", "module"),
        ("try:\n    pass\nexcept ImportError:\n    import OpenSSL", "OpenSSL", "module"),
        ("try:\n    def f():\n        import OpenSSL\nexcept ImportError:\n    pass", "OpenSSL", "function"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from OpenSSL import SSL", "OpenSSL", "types"),
        ("import typing\nif typing.TYPE_CHECKING:\n    pass\nelse:\n    import OpenSSL", "OpenSSL", "module"),
        ("import importlib\nSSL = importlib.import_module('OpenSSL.SSL')", "OpenSSL.SSL", "module"),
        ("SSL = __import__('OpenSSL.SSL').SSL", "OpenSSL.SSL", "module"),
        (
            "from twisted.python.reflect import requireModule as r, namedAny\nnamedAny('OpenSSL.SSL')",
            "OpenSSL.SSL",
            "module",
        ),
    ],
)
def test_imports(source: str, module: str, when: str, tmp_path: Path) -> None:
    (found,) = audited(tmp_path, source).imports
    assert (found.module, found.when) == (module, when)


@pytest.mark.parametrize(
    "source",
    [
        "from . import OpenSSL",
        "from .OpenSSL import SSL",
        "import OpenSSLish",
        "from txmembio.OpenSSL import SSL",
        "# import OpenSSL",
        "text = 'OpenSSL.SSL'",
        "import_module('OpenSSL is a library')",
    ],
)
def test_what_is_no_import(source: str, tmp_path: Path) -> None:
    assert not audit([str(project(tmp_path, {"module.py": source}))]).modules


# --- names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import OpenSSL\nOpenSSL.SSL.Context", {"SSL.Context"}),
        ("import OpenSSL.SSL as tls\ntls.Context", {"SSL.Context"}),
        ("from OpenSSL import SSL as tls, crypto\ntls.Error, crypto.X509", {"SSL.Error", "crypto.X509"}),
        ("from OpenSSL.SSL import Connection as C", {"SSL.Connection"}),
        ("import importlib\nimportlib.import_module('OpenSSL.SSL').Context", {"SSL.Context"}),
        ("__import__('OpenSSL').SSL.Context", {"SSL.Context"}),
        ("from OpenSSL import SSL\ngetattr(SSL, 'Context')", {"SSL.Context"}),
        ("def f():\n    from OpenSSL import SSL\n    return SSL.Context", {"SSL.Context"}),
        ("from OpenSSL.SSL import *", {"SSL.*"}),
        ("try:\n    from OpenSSL import SSL\nexcept ImportError:\n    SSL = None\nSSL.Context", {"SSL.Context"}),
    ],
)
def test_names(source: str, expected: set[str], tmp_path: Path) -> None:
    assert names(tmp_path, source) == expected


CONTEXT = "from OpenSSL import SSL, crypto\nctx = SSL.Context(SSL.TLS_METHOD)\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (CONTEXT + "ctx.set_verify", "SSL.Context.set_verify"),
        (CONTEXT + "def f():\n    ctx.set_verify", "SSL.Context.set_verify"),
        (CONTEXT + "SSL.Connection(ctx).get_context().set_verify", "SSL.Context.set_verify"),
        ("from OpenSSL import SSL\nSSL.Context(SSL.TLS_METHOD).set_verify", "SSL.Context.set_verify"),
        ("from OpenSSL import SSL\nSSL.Context.set_verify", "SSL.Context.set_verify"),
        ("from OpenSSL import SSL\ndef f(ctx: SSL.Context):\n    ctx.set_verify", "SSL.Context.set_verify"),
        ("from OpenSSL import SSL\ndef f(ctx: 'SSL.Context | None'):\n    ctx.set_verify", "SSL.Context.set_verify"),
        ("from OpenSSL.SSL import Context\nctx: Context\nctx.set_verify", "SSL.Context.set_verify"),
        ("from OpenSSL import SSL\nctx = None\nctx = SSL.Context(1)\nctx.set_verify", "SSL.Context.set_verify"),
        (
            """
            from OpenSSL import SSL
            class Factory:
                method = SSL.TLS_METHOD
                def __init__(self):
                    self.ctx = SSL.Context(self.method)
                def verify(self):
                    self.ctx.set_verify
            """,
            "SSL.Context.set_verify",
        ),
        ("from OpenSSL import crypto\ncrypto.load_certificate(1, b'').get_subject", "crypto.X509.get_subject"),
        ("from OpenSSL import crypto\nkey = crypto.PKey()\nkey.generate_key", "crypto.PKey.generate_key"),
    ],
)
def test_methods_are_followed(source: str, expected: str, tmp_path: Path) -> None:
    assert expected in names(tmp_path, source)


@pytest.mark.parametrize(
    "source",
    [
        CONTEXT + "ctx = object()\nctx.nothing_of_ours",
        CONTEXT + "def f(ctx):\n    ctx.nothing_of_ours",
        CONTEXT + "for ctx in (): ctx.nothing_of_ours",
        CONTEXT + "class C:\n    ctx = 3\n    ctx.nothing_of_ours",
        CONTEXT + "def f():\n    from . import SSL\n    SSL.nothing_of_ours",
        CONTEXT + "def f():\n    from .OpenSSL import SSL\n    SSL.nothing_of_ours",
        CONTEXT + "def verify(connection, certificate, *rest):\n    certificate.nothing_of_ours",
    ],
)
def test_what_may_be_anything_is_not_followed(source: str, tmp_path: Path) -> None:
    assert not audited(tmp_path, source).missing


def test_names_of_a_class_are_not_those_of_its_methods(tmp_path: Path) -> None:
    source = (
        CONTEXT + "class C:\n    ctx = object()\n    def f(self):\n        ctx.set_verify\n        self.ctx.anything"
    )
    found = audited(tmp_path, source)
    assert "SSL.Context.set_verify" in {name.name for name in found.names}
    assert not found.missing


def test_names_that_are_assigned_to_one_another_end(tmp_path: Path) -> None:
    assert not audited(tmp_path, "import OpenSSL\na = b\nb = c\nc = a\nc = OpenSSL\na.SSL.nothing, b.nothing").missing


@pytest.mark.parametrize(
    "source",
    [
        f"from OpenSSL import SSL\n{NOT_THERE}",
        f"from OpenSSL import SSL\ngetattr(SSL, '{NOT_THERE.partition('.')[2]}')",
        f"from OpenSSL.SSL import {NOT_THERE.partition('.')[2]}",
        f"from OpenSSL import SSL\ntry:\n    {NOT_THERE}\nexcept ValueError:\n    pass",
    ],
)
def test_missing(source: str, tmp_path: Path) -> None:
    (name,) = audited(tmp_path, source).missing
    assert (name.name, name.lines) == (NOT_THERE, (len(source.splitlines()) - 2 * ("except" in source),))


def test_a_module_that_is_missing(tmp_path: Path) -> None:
    (name,) = audited(tmp_path, "import OpenSSL.no_such_module").missing
    assert name.name == "no_such_module"


def test_a_method_that_is_missing(tmp_path: Path) -> None:
    (name,) = audited(tmp_path, CONTEXT + "ctx.no_such_method()").missing
    assert name.name == "SSL.Context.no_such_method"


@pytest.mark.parametrize(
    "source",
    [
        f"try:\n    {NOT_THERE}\nexcept AttributeError:\n    pass",
        f"if hasattr(SSL, '{NOT_THERE.partition('.')[2]}'):\n    pass",
        f"getattr(SSL, '{NOT_THERE.partition('.')[2]}', 0)",
        f"try:\n    from OpenSSL.SSL import {NOT_THERE.partition('.')[2]}\nexcept ImportError:\n    pass",
        f"if TYPE_CHECKING:\n    from OpenSSL.SSL import {NOT_THERE.partition('.')[2]}",
    ],
)
def test_what_a_module_does_without_is_not_missing(source: str, tmp_path: Path) -> None:
    module = audited(tmp_path, f"from OpenSSL import SSL\n{source}")
    assert not module.missing
    (name,) = [name for name in module.names if not name.supplied]
    assert (name.name, name.optional) == (NOT_THERE, True)


def test_what_a_module_assigns_itself_is_not_missing(tmp_path: Path) -> None:
    """Crossbar writes the options into `SSL` that pyOpenSSL does not know."""
    assert not audited(tmp_path, f"from OpenSSL import SSL\n{NOT_THERE} = 4\nSSL.Context\n{NOT_THERE}").missing


def test_what_depends_is_supplied_if_one_alternative_does(tmp_path: Path) -> None:
    source = "from OpenSSL import SSL, crypto\nx = SSL.Context(1) if y else crypto.PKey()\nx.set_verify\nx.nothing"
    (name,) = audited(tmp_path, source).missing
    assert name.name.endswith(".nothing")


@pytest.mark.parametrize(
    "use",
    ["recv", "getsockname", "family", "_socket", "_context", "get_context"],
)
def test_a_connection_has_what_its_socket_has(use: str, tmp_path: Path) -> None:
    source = f"from OpenSSL import SSL\ndef f(c: SSL.Connection):\n    c.{use}"
    module = audited(tmp_path, source)
    assert f"SSL.Connection.{use}" in {name.name for name in module.names}
    assert not module.missing


@pytest.mark.parametrize("use", ["_ssl", "no_such_method", "__no_such__", "request_ocsp"])
def test_a_connection_does_not_have_any_name(use: str, tmp_path: Path) -> None:
    (name,) = audited(tmp_path, f"from OpenSSL import SSL\ndef f(c: SSL.Connection):\n    c.{use}").missing
    assert name.name == f"SSL.Connection.{use}"


def test_the_attributes_of_a_name_are_not_private(tmp_path: Path) -> None:
    source = "from OpenSSL import crypto\nname = crypto.X509().get_subject()\nname.CN, name._name, name._x509"
    (name,) = audited(tmp_path, source).missing
    assert name.name == "crypto.X509Name._x509"


@pytest.mark.parametrize("method", ["DTLS_METHOD", "DTLS_SERVER_METHOD", "DTLS_CLIENT_METHOD"])
@pytest.mark.parametrize("source", ["from OpenSSL import SSL\nSSL.{}", "from OpenSSL.SSL import TLS_METHOD, {}"])
def test_methods_that_a_context_refuses(source: str, method: str, tmp_path: Path) -> None:
    (name,) = audited(tmp_path, source.format(method)).missing
    assert name.name == f"SSL.{method}"


SUBCLASS = "from OpenSSL import SSL\nclass D(SSL.Context):\n"


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("    def f(self):\n        self.set_tlsext_use_srtp(b'')", "SSL.Context.set_tlsext_use_srtp"),
        (
            "    def f(self):\n        super().set_cookie_verify_callback(f)",
            "SSL.Context.set_cookie_verify_callback",
        ),
        (
            "    def f(self):\n        super(D, self).set_cookie_verify_callback(f)",
            "SSL.Context.set_cookie_verify_callback",
        ),
        ("    def f(self):\n        def g():\n            self.set_tlsext_use_srtp", "SSL.Context.set_tlsext_use_srtp"),
    ],
)
def test_what_a_subclass_inherits_is_followed(source: str, missing: str, tmp_path: Path) -> None:
    (name,) = audited(tmp_path, SUBCLASS + source).missing
    assert name.name == missing


@pytest.mark.parametrize(
    "source",
    [
        SUBCLASS + "    def own(self): pass\n    def f(self):\n        self.own()",
        SUBCLASS + "    def __init__(self, own):\n        self.own = own\n    def f(self):\n        self.own.anything",
        SUBCLASS + "    own = 3\n    def f(self):\n        self.own.anything, super().set_verify",
        SUBCLASS + "    def set_tlsext_use_srtp(self): pass\n    def f(self):\n        self.set_tlsext_use_srtp()",
        "from OpenSSL import SSL\nclass D(Mixin, SSL.Context):\n    def f(self):\n        self.anything",
        SUBCLASS + "    pass\nclass E:\n    def f(self):\n        self.anything, super().anything",
        SUBCLASS + "    def f(self):\n        for self in (): self.anything",
    ],
)
def test_what_a_subclass_has_itself_is_not_missing(source: str, tmp_path: Path) -> None:
    assert not audited(tmp_path, source).missing


# --- requirements


def test_requirements(tmp_path: Path) -> None:
    installed(tmp_path, "plain", "PyOpenSSL>=22", "attrs", version="2.5")
    installed(tmp_path, "other", "attrs", "pyopenssl-extras")
    assert requirements(tmp_path) == {"plain": Requirement("plain", "2.5", "PyOpenSSL>=22", (), ())}


def test_an_extra_that_others_ask_for(tmp_path: Path) -> None:
    installed(tmp_path, "Framework", 'pyopenssl (>=21) ; extra == "tls"', extras=("tls", "http2"))
    installed(tmp_path, "user", "framework[http2,TLS]>=3")
    assert requirements(tmp_path) == {
        "Framework": Requirement("Framework", "1.0", "pyopenssl (>=21)", ("tls",), ("user",))
    }


def test_an_extra_that_nobody_asks_for(tmp_path: Path) -> None:
    installed(tmp_path, "framework", "pyopenssl; extra == 'tls'", "pyopenssl; extra == 'all'", extras=("tls", "all"))
    installed(tmp_path, "user", "framework", "framework[tls]; extra == 'secure'", extras=("secure",))
    (found,) = requirements(tmp_path).values()
    assert (found.extras, found.asked_by, found.holds) == (("all", "tls"), (), False)


def test_extras_that_ask_for_extras(tmp_path: Path) -> None:
    installed(
        tmp_path, "framework", "pyopenssl; extra == 'tls'", "framework[tls]; extra == 'all'", extras=("tls", "all")
    )
    installed(tmp_path, "middle", "framework[all]; extra == 'web_server'", extras=("web-server",))
    installed(tmp_path, "user", "middle[web.server]")
    (found,) = requirements(tmp_path).values()
    assert (found.extras, found.asked_by, found.holds) == (("tls",), ("middle",), True)


def test_requirements_of_other_platforms_do_not_count(tmp_path: Path) -> None:
    installed(tmp_path, "elsewhere", "pyopenssl; sys_platform == 'none-such'")
    installed(tmp_path, "here", f"pyopenssl; sys_platform == '{sys.platform}'")
    assert set(requirements(tmp_path)) == {"here"}


def test_requirements_that_make_no_sense_do_no_harm(tmp_path: Path) -> None:
    installed(tmp_path, "odd", "=== what", "pyopenssl; this is no marker", "")
    (tmp_path / "empty-1.0.dist-info").mkdir()
    assert set(requirements(tmp_path)) == {"odd"}


@pytest.mark.parametrize(
    ("marker", "holds"),
    [
        ("", True),
        ("python_version >= '3.10'", True),
        ("python_version < '3.9'", False),
        ("python_version == '3.*'", True),
        ("python_version == '2.*'", False),
        ("'3.10' <= python_version", True),
        ("python_full_version != '3.9.0'", True),
        (f"python_version == '{sys.version_info.major}.{sys.version_info.minor}.0'", True),
        (f"os_name == '{os.name}' and (python_version < '3' or sys_platform == '{sys.platform}')", True),
        ("os_name == 'none' or implementation_name == 'none'", False),
        ("sys_platform in 'none such'", False),
        ("sys_platform not in 'none such'", True),
        ("extra == 'tls'", False),
        ("python_version ~= '3.1'", True),
        ("no_such_variable == '1'", True),
    ],
)
def test_markers(marker: str, holds: bool) -> None:
    assert applies(marker, "") is holds


@pytest.mark.parametrize(
    ("marker", "brings"),
    [
        ("extra == 'tls'", True),
        ("extra == 'T_L.S'", False),
        ("extra == 'http2'", False),
        ("extra == 'tls' and python_version < '3'", False),
        ("extra == 'http2' or extra == 'TLS'", True),
        ("python_version > '3'", False),
        ("", False),
    ],
)
def test_what_an_extra_brings(marker: str, brings: bool) -> None:
    assert applies(marker, "tls") is brings


# --- what is looked at


def test_a_folder(tmp_path: Path) -> None:
    files = {"package/__init__.py": "", "package/tls.py": "import OpenSSL", "package/plain.py": "import os"}
    project(tmp_path, {**files, "script.py": "import OpenSSL", "notes.txt": "import OpenSSL"})
    assert [module.module for module in audit([str(tmp_path)]).modules] == ["package.tls", "script"]


def test_folders_that_are_not_part_of_a_project(tmp_path: Path) -> None:
    files = (".hidden/a.py", "environment/b.py", "node_modules/c.py", "environment/lib/d.py", "here.py")
    project(tmp_path, dict.fromkeys(files, "import OpenSSL"))
    (tmp_path / "environment" / "pyvenv.cfg").touch()
    assert [module.module for module in audit([str(tmp_path)]).modules] == ["here"]


def test_tests_are_left_out_and_counted(tmp_path: Path) -> None:
    source = "import OpenSSL"
    missing = f"from OpenSSL import SSL\n{NOT_THERE}"
    project(tmp_path, {"tests/a.py": missing, "test/b.py": source, "test_c.py": missing, "conftest.py": "# OpenSSL"})
    found = audit([str(tmp_path)])
    assert (found.modules, found.tests, found.missing) == ([], 3, False)
    assert "3 modules of tests" in as_text(found)
    every = audit([str(tmp_path)], tests=True)
    assert (len(every.modules), every.tests, every.missing) == (3, 0, True)
    assert audit([str(tmp_path / "tests")]).missing, "they were asked for"


def test_a_file_is_looked_at_once(tmp_path: Path) -> None:
    project(tmp_path, {"module.py": "import OpenSSL"})
    (tmp_path / "again.py").symlink_to("module.py")
    assert len(audit([str(tmp_path), str(tmp_path / "module.py")]).modules) == 1


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"import OpenSSL\nprint 'two'\n", "line 2"),
        (b"import OpenSSL\n\0", "null bytes"),
        (b"# -*- coding: none-such -*-\nimport OpenSSL", "none-such"),
        (b"import OpenSSL\nx = '\xff'", "line"),
        (b"import OpenSSL\nx = " + b"-" * 100_000 + b"1", ""),
    ],
    ids=["python 2", "null bytes", "coding", "utf-8", "deep"],
)
def test_what_is_no_python_is_reported(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(content)
    project(tmp_path, {"good.py": "import OpenSSL"})
    found = audit([str(tmp_path)])
    assert [module.module for module in found.modules] == ["good"]
    ((file, said),) = found.unreadable
    assert file == str(tmp_path / "bad.py") and problem in said
    assert "bad.py" in as_text(found) and not found.missing


def test_what_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    ((file, problem),) = audit([str(tmp_path)]).unreadable
    assert problem == "No such file or directory"
    assert file == str(tmp_path / "nowhere.py")


def test_what_may_not_be_read_is_reported() -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        project(folder, {"secret/module.py": "import OpenSSL", "open.py": "import OpenSSL"})
        with unreadable(folder / "secret"):
            found = audit([name])
        assert [module.module for module in found.modules] == ["open"]
        assert found.unreadable == [(str((folder / "secret").resolve()), "Permission denied")]


def test_invalid_escapes_of_others_are_not_our_warnings(tmp_path: Path) -> None:
    assert audited(tmp_path, "import OpenSSL\ntext = '\\d'")


@pytest.mark.parametrize("argument", ["no_such_package", "no/such/folder", "no_such.py", "twisted.no_such", "-"])
def test_an_argument_that_is_nothing_is_named(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["audit", "--", argument])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert repr(argument) in last and "expected" in last


def test_module_names(tmp_path: Path) -> None:
    project(tmp_path, dict.fromkeys(("a/__init__.py", "a/b/__init__.py", "a/b/c.py", "d/e.py"), ""))
    found = [audit_files.module_name(tmp_path / name) for name in ("a/b/c.py", "a/b/__init__.py", "d/e.py")]
    assert found == ["a.b.c", "a.b", "e"]


# --- the command


def test_nothing_that_is_audited_is_imported(tmp_path: Path) -> None:
    """Neither the package, nor the one around it, nor OpenSSL."""
    end = "import os; os._exit(9)\nimport OpenSSL"
    project(tmp_path, dict.fromkeys(("outer/__init__.py", "outer/inner/__init__.py", "OpenSSL/__init__.py"), end))
    for what in ("outer", "outer.inner", tmp_path):
        done = command(what, PYTHONPATH=os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]]))
        assert done.returncode == 0, done.stderr
        assert "outer.inner" in done.stdout


def test_all_that_is_installed(tmp_path: Path) -> None:
    """Packages on the path, and not the working directory."""
    project(tmp_path / "path", {"package/__init__.py": "import OpenSSL", "OpenSSL/__init__.py": "import OpenSSL"})
    installed(tmp_path / "path", "wants-it", "pyOpenSSL")
    project(tmp_path, {"work/script.py": "import OpenSSL"})
    done = subprocess.run(
        [sys.executable, "-m", "txmembio", "audit", "--json"],
        cwd=tmp_path / "work",
        env=environment() | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "path"), environment()["PYTHONPATH"]])},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    found = json.loads(done.stdout)
    modules = {module["module"]: module for module in found["modules"]}
    assert modules["package"]["file"] == str(tmp_path / "path" / "package" / "__init__.py")
    assert "wants-it" in {requirement["distribution"] for requirement in found["requirements"]}
    assert not {"OpenSSL", "script", "work.script"} & set(modules)
    assert not [name for name in modules if name.startswith("txmembio")]
    assert done.returncode == found["missing"]


def test_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    supplied = str(project(tmp_path / "a", {"module.py": "from OpenSSL import SSL\nSSL.Context"}))
    lacking = str(project(tmp_path / "b", {"module.py": f"from OpenSSL import SSL\n{NOT_THERE}"}))
    assert main(["audit", supplied]) == 0
    assert "supplies them all" in capsys.readouterr().out
    assert main(["audit", supplied, lacking]) == 1
    said = capsys.readouterr().out
    assert NOT_THERE in said and "module.py:2" in said and "all but 1" in said


def test_nothing_to_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["audit", str(project(tmp_path, {"module.py": "import os"}))]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Nothing imports OpenSSL."


def test_json(tmp_path: Path) -> None:
    """The form that docs/migrating.md promises."""
    source = f"from OpenSSL import SSL\nSSL.Context\nSSL.Context\n{NOT_THERE}"
    path = project(tmp_path, {"module.py": source}) / "module.py"
    told = json.loads(as_json(audit([str(path)])))
    assert told == {
        "schema": 1,
        "pyopenssl": None,
        "missing": True,
        "requirements": [],
        "modules": [
            {
                "module": "module",
                "distribution": None,
                "file": str(path),
                "imports": [{"line": 1, "module": "OpenSSL", "when": "module"}],
                "names": [
                    {"name": "SSL.Context", "lines": [2, 3], "supplied": True, "optional": False, "why": None},
                    {"name": NOT_THERE, "lines": [4], "supplied": False, "optional": False, "why": None},
                ],
            }
        ],
        "unreadable": [],
        "tests_left_out": 0,
    }


# --- real ones


@pytest.mark.parametrize(
    ("package", "module", "name"),
    [
        ("twisted", "twisted.internet._sslverify", "SSL.Context.set_alpn_select_callback"),
        ("twisted.protocols", "twisted.protocols.tls", "SSL.WantReadError"),
        ("service_identity", "service_identity.pyopenssl", "crypto.X509"),
        ("service-identity", "service_identity.pyopenssl", "SSL.Connection"),
    ],
)
def test_real_packages(package: str, module: str, name: str) -> None:
    pytest.importorskip(module.partition(".")[0], reason="not installed")
    found = audit([package])
    modules = {module.module: module for module in found.modules}
    assert name in {name.name for name in modules[module].names}
    assert not {name.name for module in found.modules for name in module.missing}


def test_twisted_requires_it_with_an_extra() -> None:
    pytest.importorskip("twisted.internet", reason="Twisted is not installed")
    (requirement,) = audit(["twisted"]).requirements
    assert requirement.distribution.lower() == "twisted" and "tls" in requirement.extras


# --- what txmembio.OpenSSL answers


def test_modules_are_answered() -> None:
    for path in ("OpenSSL", "OpenSSL.SSL", "OpenSSL.crypto", "OpenSSL.version"):
        answer = audit_supply.ask(path)
        assert answer is not None and answer.supplied and answer.module


@pytest.mark.parametrize(
    ("path", "name", "why"),
    [
        ("OpenSSL.SSL.Context().set_tlsext_use_srtp", "SSL.Context.set_tlsext_use_srtp", "DTLS"),
        ("OpenSSL.SSL.Connection.DTLSv1_listen", "SSL.Connection.DTLSv1_listen", "DTLS"),
        ("OpenSSL.crypto.load_pkcs12", "crypto.load_pkcs12", "cryptography"),
        ("OpenSSL.crypto.PKCS12", "crypto.PKCS12", "cryptography"),
        ("OpenSSL._util.lib.SSL_new", "_util.lib.SSL_new", "OpenSSL's own functions"),
    ],
)
def test_placeholders_are_not_supplied(path: str, name: str, why: str, tmp_path: Path) -> None:
    answer = audit_supply.ask(path)
    assert answer is not None and (answer.name, answer.supplied) == (name, False)
    assert answer.why is not None and why in answer.why
    found = audit([str(project(tmp_path, {"module.py": f"import OpenSSL\n{path}"}))])
    assert found.missing and f"{answer.why}; " in as_text(found)


def test_paths_that_cannot_be_followed() -> None:
    assert audit_supply.ask("OpenSSL.SSL.Context().set_verify().nothing") is None
    assert audit_supply.ask("OpenSSL.SSL.Context()()") is None


def test_uses_are_ordered_by_line() -> None:
    _, uses = audit_uses.read(b"import OpenSSL\nOpenSSL.b\nOpenSSL.a\n")
    assert [(use.line, sorted(use.paths)) for use in uses] == [(1, ["OpenSSL"]), (2, ["OpenSSL.b"]), (3, ["OpenSSL.a"])]
