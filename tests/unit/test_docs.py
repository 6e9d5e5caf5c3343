"""The README and docs/: links lead somewhere, names exist, commands exist, and the Python in them runs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

import txmembio
from support import pair
from support.pki import PKI, Credential
from support.process import DEADLINE, environment

CHECKOUT = Path(__file__).parents[2]

PAGES = sorted([*CHECKOUT.glob("*.md"), *(CHECKOUT / "docs").glob("*.md")])

PLANNED: set[str] = set()
"""What the README says is still to come."""

#: Runs each block of a page in one namespace. A block may end the program, as react() does, if it ends well.
RUN_BLOCKS = """
import json, sys
namespace = {"__name__": "__main__"}
for place, source in json.load(sys.stdin):
    try:
        exec(compile(source, place, "exec"), namespace)
    except SystemExit as end:
        if end.code:
            raise
"""

#: Tables whose first column names attributes: page, heading, and what has them.
ATTRIBUTES = [
    ("connection.md", "What a connection can tell", "txmembio.Connection"),
    ("connection.md", "The context", "txmembio.SSLContext"),
    ("twisted.md", "What the transport can do", "txmembio.twisted.TLSTransport"),
]


def page_id(page: Path) -> str:
    return page.relative_to(CHECKOUT).as_posix()


def blocks(page: Path) -> Iterator[tuple[int, str, str]]:
    """The fenced blocks: number of the first line, language, text."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(2)) + 1, match[1], match[2]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def inline_code(page: Path) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)


def anchor(heading: str) -> str:
    """How GitHub calls a heading in links."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def section(page: Path, heading: str) -> str:
    """The text below a heading, to the next one of the same or a higher level."""
    match = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^(?!\1#)#+ |\Z)", prose(page), re.MULTILINE | re.DOTALL)
    assert match, f"{page_id(page)} has no heading {heading!r}"
    return match[2]


def resolve(dotted: str) -> object:
    """What a dotted name stands for. Raises AttributeError if it stands for nothing."""
    first, *rest = dotted.split(".")
    found: object = import_module(first)
    so_far = first
    for name in rest:
        so_far += f".{name}"
        try:
            found = getattr(found, name)
        except AttributeError:
            if not isinstance(found, type(sys)) or find_spec(so_far) is None:
                raise
            found = import_module(so_far)
    return found


def needs(framework: str) -> None:
    """Skips the test where there is no "twisted", or no "tornado"."""
    module = {"twisted": "twisted.internet", "tornado": "tornado.ioloop"}[framework]
    pytest.importorskip(module, reason=f"{framework.capitalize()} is not installed")


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (fragment and fragment not in map(anchor, headings(other))):
            broken.append(target)
    assert not broken


def test_index_leads_to_every_page_and_example() -> None:
    index = (CHECKOUT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([^)#]+)\)", index))
    pages = {page.name for page in (CHECKOUT / "docs").glob("*.md")} - {"index.md"}
    examples = {f"../examples/{path.name}" for path in (CHECKOUT / "examples").glob("*.py")}
    assert pages | examples <= linked


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_exist(page: Path) -> None:
    """`txmembio.…` between backticks, that is; files of the package, too."""
    names = {match[0] for code in inline_code(page) if (match := re.match(r"txmembio(\.\w+)+", code))}
    for framework in ("twisted", "tornado"):
        if any(name.startswith(f"txmembio.{framework}") for name in names):
            needs(framework)
    missing = set()
    for name in names - PLANNED - {"txmembio.has_"}:
        try:
            resolve(name)
        except AttributeError:
            missing.add(name)
    folders = "(txmembio|twisted|tests|tools|docs|examples)"
    files = {code for code in inline_code(page) if re.fullmatch(rf"{folders}/[\w/.]+", code)}
    assert not missing
    assert not [file for file in files if not (CHECKOUT / file).exists()]


@pytest.mark.parametrize("name", sorted(PLANNED))
def test_what_is_planned_is_not_there_yet(name: str) -> None:
    """When it is, the README and this list have to say so."""
    with pytest.raises(AttributeError):
        resolve(name)


@pytest.mark.parametrize(("name", "heading", "owner"), ATTRIBUTES, ids=[owner for _, _, owner in ATTRIBUTES])
def test_tables_of_attributes_are_right(name: str, heading: str, owner: str) -> None:
    for framework in ("twisted", "tornado"):
        if framework in owner:
            needs(framework)
    cells = re.findall(r"^\| (`[^|]+`) \|", section(CHECKOUT / "docs" / name, heading), re.MULTILINE)
    names = set(re.findall(r"`(\w+)[^`]*`", "".join(cells)))
    assert len(names) > 5
    # Slots and annotations count: an attribute of instances need not be one of the class.
    kind = resolve(owner)
    assert isinstance(kind, type)
    slots = {slot for base in kind.__mro__ for slot in getattr(base, "__slots__", ())}
    assert not {name for name in names if not hasattr(kind, name)} - slots


def test_attributes_of_errors_are_there() -> None:
    """All that docs/errors.md lists, on any error."""
    table = section(CHECKOUT / "docs" / "errors.md", "What is in them")
    names = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+`) \|", table, re.MULTILINE))))
    with pytest.raises(txmembio.SSLError) as caught:
        txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER).set_ciphers("NONE-SUCH")
    assert len(names) > 8
    assert not [name for name in names if not hasattr(caught.value, name)]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_commands_exist(page: Path) -> None:
    """`make …` and `python -m txmembio …`, in blocks and between backticks."""
    makefile = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([\w-]+)(?: [\w-]+)*:", makefile, re.MULTILINE))
    targets |= {target for line in re.findall(r"^\.PHONY:(.*)$", makefile, re.MULTILINE) for target in line.split()}
    code = "\n".join([*inline_code(page), *re.findall(r"^ {4}.*$", prose(page), re.MULTILINE)])
    commands = {"info", "demo", "run", "audit"}
    assert set(re.findall(r"\bmake ([a-z][\w-]*)", code)) - {"install"} <= targets
    assert set(re.findall(r"python -m txmembio (\w+)", code)) <= commands


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(language == "python" for _, language, _ in blocks(page))], ids=page_id
)
def test_python_runs(page: Path, pki: PKI, tmp_path: Path) -> None:
    """All blocks of a page, one after the other, in a folder with the files that the pages speak of."""
    sources = [(f"{page.name} from line {line}", text) for line, language, text in blocks(page) if language == "python"]
    for framework in ("twisted", "tornado"):
        if any(framework in text for _, text in sources):
            needs(framework)
    shutil.copy(pki.ca.certificate_file, tmp_path / "ca.pem")
    shutil.copy(pki.server.chain_file, tmp_path / "cert.pem")
    shutil.copy(pki.server.key_file, tmp_path / "key.pem")
    # A block starts at the line that it has in the page.
    placed = [(place, "\n" * (int(place.split()[-1]) - 1) + text) for place, text in sources]
    done = subprocess.run(
        [sys.executable, "-c", RUN_BLOCKS],
        input=json.dumps(placed),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr


# What docs/openssl.md says of OpenSSL's environment.

STRICT_POLICY = """
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = policy
[policy]
MinProtocol = TLSv1.3
CipherString = DEFAULT@SECLEVEL=3
"""


def ask(question: str, **variables: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", f"import txmembio\ncontext = txmembio.create_default_context()\nprint({question})"],
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=True,
        timeout=DEADLINE,
    )
    return done.stdout.strip()


def test_a_stricter_policy_of_the_system_holds(tmp_path: Path) -> None:
    policy = tmp_path / "openssl.cnf"
    policy.write_text(STRICT_POLICY)
    assert ask("context.minimum_version.name, context.security_level", OPENSSL_CONF=str(policy)) == "TLSv1_3 3"


def test_roots_can_be_chosen_by_the_environment(pki: PKI) -> None:
    question = "[certificate['subject'] for certificate in context.get_ca_certs()]"
    subjects = ask(question, SSL_CERT_FILE=pki.ca.certificate_file, SSL_CERT_DIR=str(pki.folder / "nowhere"))
    assert subjects.count("txmembio tests") == 1


# What docs/errors.md says that texts mean: each situation, and what its errors say.


def refused(
    client: txmembio.SSLContext, server: txmembio.SSLContext, server_hostname: str = "localhost"
) -> list[txmembio.SSLError]:
    """The errors of a handshake that cannot work."""
    ends = pair.unconnected(client, server, server_hostname=server_hostname)
    ends.attempt_handshake()
    return [end.error for end in (ends.client, ends.server) if isinstance(end.error, txmembio.SSLError)]


def said_to_server(pki: PKI, wire: bytes) -> list[txmembio.SSLError]:
    with pytest.raises(txmembio.SSLError) as caught:
        pair.server_context(pki).connection(server_side=True).receive_wire(wire)
    return [caught.value]


def said_to_client(pki: PKI, wire: bytes | None) -> list[txmembio.SSLError]:
    """`None` is an end of the wire."""
    connection = pair.client_context(pki).connection(server_hostname="localhost")
    connection.do_handshake()
    with pytest.raises(txmembio.SSLError) as caught:
        if wire is None:
            connection.receive_wire_eof()
        else:
            connection.receive_wire(wire)
    return [caught.value]


def of_server(pki: PKI, credential: Credential, server_hostname: str = "localhost") -> list[txmembio.SSLError]:
    """Whom a client meets that trusts `pki.ca`."""
    return refused(pair.client_context(pki), pair.server_context(pki, credential=credential), server_hostname)


def self_signed(pki: PKI) -> list[txmembio.SSLError]:
    server = pair.server_context(pki)
    server.use_cert_chain(pki.untrusted.chain + pki.untrusted_ca.certificate, pki.untrusted.private_key)
    return refused(pair.client_context(pki), server)


def no_common_version(pki: PKI) -> list[txmembio.SSLError]:
    versions = txmembio.TLSVersion
    return refused(pair.client_context(pki, versions.TLSv1_2), pair.server_context(pki, versions.TLSv1_3))


def no_common_cipher(pki: PKI) -> list[txmembio.SSLError]:
    version = txmembio.TLSVersion.TLSv1_2
    client, server = pair.client_context(pki, version), pair.server_context(pki, version)
    client.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    return refused(client, server)


def wrong_key(pki: PKI) -> list[txmembio.SSLError]:
    with pytest.raises(txmembio.SSLError) as caught:
        txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER).use_cert_chain(
            pki.mismatched.chain, pki.mismatched.private_key
        )
    return [caught.value]


SITUATIONS: dict[str, Callable[[PKI], list[txmembio.SSLError]]] = {
    "HTTP_REQUEST": lambda pki: said_to_server(pki, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "WRONG_VERSION_NUMBER": lambda pki: said_to_client(pki, b"220 mail.example.com ESMTP\r\n"),
    "UNSUPPORTED_PROTOCOL": no_common_version,
    "protocol_version": no_common_version,
    "NO_SHARED_CIPHER": no_common_cipher,
    "handshake_failure": no_common_cipher,
    "unable to get local issuer certificate": lambda pki: of_server(pki, pki.untrusted),
    "self-signed certificate": self_signed,
    "certificate has expired": lambda pki: of_server(pki, pki.expired),
    "not yet valid": lambda pki: of_server(pki, pki.not_yet_valid),
    "Hostname mismatch": lambda pki: of_server(pki, pki.wrong_name),
    "IP address mismatch": lambda pki: of_server(pki, pki.wrong_name, "127.0.0.1"),
    "unknown_ca": lambda pki: of_server(pki, pki.untrusted),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": lambda pki: refused(
        pair.client_context(pki), pair.server_context(pki, verify_client=True)
    ),
    "EOF occurred in violation of protocol": lambda pki: said_to_client(pki, None),
    "does not belong to the certificate": wrong_key,
}


def test_every_text_that_is_explained_is_tried_below() -> None:
    table = section(CHECKOUT / "docs" / "errors.md", "What they mean")
    first_column = "".join(re.findall(r"^\| (.*?) \| ", table, re.MULTILINE))
    assert set(re.findall(r"`([^`]+)`", first_column)) == set(SITUATIONS)


@pytest.mark.parametrize("text", SITUATIONS)
def test_texts_that_are_explained_are_what_errors_say(text: str, pki: PKI) -> None:
    errors = SITUATIONS[text](pki)
    assert [error for error in errors if text in str(error) or text == getattr(error, "alert", None)], errors
