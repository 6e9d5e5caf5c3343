"""txmembio.pep748.insecure: it does without what it is told to, and warns at every step."""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support.pki import PKI, Credential
from support.process import DEADLINE, environment
from txmembio.pep748 import (
    Certificate,
    ClientContext,
    PrivateKey,
    ServerContext,
    SigningChain,
    TLSBuffer,
    TLSClientConfiguration,
    TLSServerConfiguration,
    TrustStore,
    WantReadError,
    insecure,
    validate_config,
)
from txmembio.pep748.insecure import (
    InsecureClientContext,
    InsecureConfiguration,
    InsecureServerContext,
    SecurityWarning,
)


@pytest.fixture
def warned() -> Iterator[list[warnings.WarningMessage]]:
    """The warnings of the test, which are no errors then; all of them of this kind and about this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    for each in caught:
        assert each.category is SecurityWarning and each.filename == __file__


def server_configuration(credential: Credential, **more: Any) -> TLSServerConfiguration:
    leaf = (Certificate.from_buffer(credential.chain), PrivateKey.from_buffer(credential.private_key))
    return TLSServerConfiguration([SigningChain(leaf)], **more)


def shake_hands(client: TLSBuffer, server: TLSBuffer) -> None:
    for _ in range(4):
        for one, other in ((client, server), (server, client)):
            with suppress(WantReadError):
                one.do_handshake()
            if wire := one.process_outgoing(1 << 20):
                other.process_incoming(wire)


def test_warnings_are_no_other_kind_of_warning() -> None:
    assert issubclass(SecurityWarning, Warning)
    assert not issubclass(SecurityWarning, (UserWarning, DeprecationWarning))


def test_every_step_warns_and_says_what_was_used(pki: PKI, warned: list[Any]) -> None:
    def steps() -> list[str]:
        """What was warned of since this was last asked."""
        out = [str(each.message).partition(" does without ")[0] for each in warned[steps_before[0] :]]
        steps_before[0] = len(warned)
        return out

    steps_before = [0]
    lax = InsecureConfiguration(True, True)
    assert steps() == ["InsecureConfiguration"]
    client = InsecureClientContext(TLSClientConfiguration(), lax)
    assert steps() == ["InsecureClientContext"]
    server = InsecureServerContext(server_configuration(pki.untrusted), lax)
    assert steps() == ["InsecureServerContext"]
    client.create_buffer("example.com"), server.create_buffer()
    assert steps() == ["InsecureClientContext.create_buffer()", "InsecureServerContext.create_buffer()"]
    implementation = insecure.InsecureTLSImplementation(
        ClientContext, ServerContext, validate_config, InsecureClientContext, InsecureServerContext
    )
    assert steps() == ["InsecureTLSImplementation"]
    assert implementation.insecure_client_context is InsecureClientContext
    assert implementation.insecure_server_context is InsecureServerContext
    assert implementation.client_context is ClientContext and implementation.server_context is ServerContext
    assert (client.insecure_configuration, client.configuration) == (lax, TLSClientConfiguration())
    assert server.insecure_configuration is lax

    listener = server.connect(("127.0.0.1", 0))
    assert steps() == ["InsecureServerContext.connect()"]
    listener.listen(1)
    accepting = threading.Thread(target=lambda: listener.accept()[0].close())
    accepting.start()
    client.connect(("127.0.0.1", listener.getsockname()[1])).close()
    accepting.join(DEADLINE)
    listener.close()
    assert steps() == ["InsecureClientContext.connect()"]


def test_this_implementation_with_its_insecure_contexts(warned: list[Any]) -> None:
    warned.clear()
    with pytest.warns(SecurityWarning, match="InsecureTLSImplementation"):
        implementation = insecure.insecure_implementation()
    assert implementation.insecure_client_context is InsecureClientContext
    assert implementation.validate_config is validate_config


@pytest.mark.parametrize(
    ("server", "name", "configuration", "code"),
    [
        ("untrusted", "localhost", (False, False), 20),
        ("untrusted", "localhost", (True, False), 20),
        ("untrusted", "localhost", (True, True), None),
        ("expired", "example.com", (True, True), None),
        ("server", "example.com", (False, False), 62),
        ("server", "example.com", (True, False), None),
        ("server", "localhost", (False, False), None),
    ],
)
def test_a_client_does_without_exactly_what_it_is_told(
    pki: PKI, warned: list[Any], server: str, name: str, configuration: tuple[bool, bool], code: int | None
) -> None:
    lax = InsecureConfiguration(*configuration)
    assert (lax.disable_hostname_check, lax.disable_verification) == configuration
    store = TrustStore.from_buffer(pki.ca.certificate)
    client = InsecureClientContext(TLSClientConfiguration(trust_store=store), lax).create_buffer(name)
    ends = client, ServerContext(server_configuration(getattr(pki, server))).create_buffer()
    if code is None:
        shake_hands(*ends)
        assert client.getpeercert() == getattr(pki, server).certificate_der
    else:
        with pytest.raises(txmembio.SSLCertVerificationError) as caught:
            shake_hands(*ends)
        assert caught.value.verify_code == code


def test_a_server_does_without_client_certificates(pki: PKI, warned: list[Any]) -> None:
    store = TrustStore.from_buffer(pki.ca.certificate)
    context = InsecureServerContext(
        server_configuration(pki.server, trust_store=store), InsecureConfiguration(True, True)
    )
    ends = ClientContext(TLSClientConfiguration(trust_store=store)).create_buffer("localhost"), context.create_buffer()
    shake_hands(*ends)
    assert ends[1].cipher() is not None


def test_a_name_that_nobody_has_verified_says_nothing(warned: list[Any]) -> None:
    with pytest.raises(ValueError, match="disable_verification is True and disable_hostname_check is False, expected"):
        InsecureConfiguration(disable_verification=True)


def test_a_program_that_does_not_ask_for_it_does_not_have_it() -> None:
    program = "import sys, txmembio.pep748; print('txmembio.pep748.insecure' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout == "False\n"


def test_nothing_else_of_the_package_can_turn_verification_off() -> None:
    folder = Path(str(insecure.__file__)).parent
    for path in sorted(folder.glob("*.py")):
        names = {node.id for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Name)}
        names |= {node.attr for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)}
        assert ({"CERT_NONE", "check_hostname"} <= names) == (path.name == "insecure.py")
