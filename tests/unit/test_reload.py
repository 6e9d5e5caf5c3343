"""Certificates in motion, without a framework: what is noticed, what is served after it, and what changes nothing."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

import txmembio
from support import pair
from support.crls import crl
from support.pki import ONE_DAY, PKI, Credential
from support.unreadable import unreadable
from txmembio.pems import Holdings, PEMFolder
from txmembio.reload import Outcome, Reloader
from txmembio.watch import signature


def new_context() -> txmembio.SSLContext:
    return txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)


def put(folder: Path, name: str, *contents: bytes) -> None:
    """Replace a file as a careful program does: nobody sees half of it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_bytes(b"".join(contents))
    temporary.replace(path)


def put_pair(folder: Path, name: str, credential: Credential) -> None:
    put(folder, name, credential.private_key, credential.chain)


class Served:
    """A folder being served, its reloader, and clients."""

    def __init__(
        self,
        pki: PKI,
        folder: Path,
        version: txmembio.TLSVersion | None = None,
        make: Callable[[], txmembio.SSLContext] = new_context,
        paths: tuple[str, ...] = (),
    ) -> None:
        self.now = datetime.now(timezone.utc)
        self.reloader = Reloader(PEMFolder(str(folder), make, paths=paths), now=lambda: self.now)
        self.context = self.reloader.certificates.server_context()
        self.client = pair.client_context(pki, version)
        self.client.check_hostname = False

    def poll(self) -> list[Outcome]:
        """Two polls: the second one acts on what the first has seen."""
        return [outcome for outcome in (self.reloader.poll(), self.reloader.poll()) if outcome is not None]

    def shown(self, name: str | None = "localhost") -> bytes:
        """The certificate that a client gets (DER)."""
        ends = pair.connect(self.client, self.context, server_hostname=name)
        return ends.client.connection.get_unverified_chain()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pems"
    path.mkdir()
    return path


@pytest.fixture
def served(pki: PKI, folder: Path) -> Served:
    """`pki.server` in ``site.pem``, `pki.wildcard` in ``other.pem``."""
    put_pair(folder, "site.pem", pki.server)
    put_pair(folder, "other.pem", pki.wildcard)
    return Served(pki, folder)


def refused(outcomes: list[Outcome]) -> str:
    """The error of a change that was not taken."""
    [outcome] = outcomes
    assert outcome.error is not None
    return str(outcome.error)


# --- what is noticed --------------------------------------------------------------------------------------------------


def _in_place(path: Path, contents: bytes) -> None:
    path.write_bytes(contents)


def _by_renaming(path: Path, contents: bytes) -> None:
    put(path.parent, path.name, contents)


def _by_a_link(path: Path, contents: bytes) -> None:
    target = path.parent.parent / "new.pem"
    target.write_bytes(contents)
    path.unlink()
    path.symlink_to(target)


def _with_the_old_times_and_size(path: Path, contents: bytes) -> None:
    status = path.stat()
    path.write_bytes(contents.ljust(status.st_size, b"\n"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("write", [_in_place, _by_renaming, _by_a_link, _with_the_old_times_and_size])
def test_replaced_file_is_served_after_the_second_poll(
    pki: PKI, folder: Path, write: Callable[[Path, bytes], None]
) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain, b"\n" * 4096)
    served = Served(pki, folder)
    assert served.poll() == []
    new = pki.issue("localhost")
    write(folder / "site.pem", new.private_key + new.chain)
    assert served.reloader.poll() is None
    assert served.shown() == pki.server.certificate_der
    assert served.reloader.poll() == Outcome()
    assert served.shown() == new.certificate_der
    assert served.poll() == []


def test_new_and_removed_names_are_served_and_not(pki: PKI, folder: Path, served: Served) -> None:
    new = pki.issue("new.example")
    put_pair(folder, "sub/new.pem", new)
    assert served.poll() == [Outcome()]
    assert served.shown("new.example") == new.certificate_der
    (folder / "sub" / "new.pem").unlink()
    assert served.poll() == [Outcome()]
    assert served.shown("new.example") == pki.wildcard.certificate_der  # the default


def test_files_that_do_not_count_are_not_noticed(pki: PKI, folder: Path, served: Served) -> None:
    put(folder, "notes.txt", b"a note")
    put(folder, "sub/site.pem.bak", b"not PEM")
    assert served.poll() == []


def test_folder_that_is_swapped_as_kubernetes_does_it(pki: PKI, folder: Path) -> None:
    def version(number: int, credential: Credential) -> None:
        put_pair(folder, f"..{number}/tls.pem", credential)
        (folder / "..tmp").symlink_to(f"..{number}")
        (folder / "..tmp").replace(folder / "..data")

    version(1, pki.server)
    (folder / "tls.pem").symlink_to("..data/tls.pem")
    served = Served(pki, folder)
    new = pki.issue("localhost")
    version(2, new)
    (folder / "..1" / "tls.pem").unlink()
    assert served.poll() == [Outcome()]
    assert served.shown() == new.certificate_der


def test_change_between_reading_and_the_first_poll_is_noticed(pki: PKI, folder: Path, served: Served) -> None:
    """The files are looked at before they are read, so that a change in between is one."""
    new = pki.issue("localhost")

    class Meanwhile(PEMFolder):
        def read(self) -> Holdings:
            holdings = super().read()
            put_pair(folder, "site.pem", new)
            return holdings

    served.reloader = Reloader(Meanwhile(str(folder), new_context))
    Meanwhile.read = PEMFolder.read  # type: ignore[method-assign]
    assert served.poll() == [Outcome()]
    context = served.reloader.certificates.server_context()
    ends = pair.connect(served.client, context, server_hostname="localhost")
    assert ends.client.connection.get_unverified_chain()[0] == new.certificate_der


def test_change_while_it_is_read_is_not_taken_by_half(
    pki: PKI, folder: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pki.issue("localhost"), pki.issue("localhost")
    certificates = served.reloader.certificates
    read = certificates.read

    def meanwhile() -> Holdings:
        holdings = read()
        put_pair(folder, "site.pem", second)
        monkeypatch.undo()
        return holdings

    put_pair(folder, "site.pem", first)
    monkeypatch.setattr(certificates, "read", meanwhile)
    assert served.poll() == []
    assert served.shown() == pki.server.certificate_der
    assert served.poll() == [Outcome()]
    assert served.shown() == second.certificate_der


def test_files_that_keep_changing_are_left_alone_until_they_stand_still(pki: PKI, folder: Path, served: Served) -> None:
    for _ in range(3):
        new = pki.issue("localhost")
        put_pair(folder, "site.pem", new)
        assert served.reloader.poll() is None
    assert served.shown() == pki.server.certificate_der
    assert served.reloader.poll() == Outcome()
    assert served.shown() == new.certificate_der


def test_signature_of_what_is_not_there_is_one_too(folder: Path) -> None:
    missing = [str(folder / "none.pem"), str(folder / "none")]
    before = signature(missing)
    assert signature(missing) == before
    put(folder, "none.pem", b"something")
    assert signature(missing) != before


# --- what changes nothing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "site.pem: there is no PEM in it"),
        (b"-----BEGIN CERTIFICATE-----\nbm90IGEg", "site.pem: "),
        (b"-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n", "site.pem: "),
    ],
)
def test_damaged_file_is_told_once_and_by_name_and_what_was_served_stays(
    pki: PKI, folder: Path, served: Served, contents: bytes, message: str
) -> None:
    put(folder, "site.pem", contents)
    put_pair(folder, "new.pem", pki.issue("new.example"))
    assert message in refused(served.poll())
    assert served.shown() == pki.server.certificate_der
    assert served.poll() == []
    put(folder, "site.pem", contents + b"\n")  # changed, and wrong in the same way
    assert served.poll() == []
    new = pki.issue("localhost")
    put_pair(folder, "site.pem", new)
    assert served.poll() == [Outcome()]
    assert served.shown() == new.certificate_der
    put(folder, "site.pem", contents)  # wrong anew: told anew
    assert message in refused(served.poll())


def test_folder_that_is_emptied_or_removed_changes_nothing(pki: PKI, folder: Path, served: Served) -> None:
    for name in ("site.pem", "other.pem"):
        (folder / name).unlink()
    assert "no certificate with its private key" in refused(served.poll())
    folder.rmdir()
    assert "No such file or directory" in refused(served.poll())
    assert served.shown() == pki.server.certificate_der
    folder.mkdir()
    put_pair(folder, "site.pem", pki.server)
    assert served.poll() == [Outcome()]


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="this system's folders have no modes")
def test_folder_that_may_not_be_read_any_more_changes_nothing(pki: PKI, folder: Path, served: Served) -> None:
    """As in a server that has given up its privileges."""
    with unreadable(folder):
        assert "Permission denied" in refused(served.poll())
        assert served.poll() == []
        assert served.shown() == pki.server.certificate_der
    assert served.poll()[-1] == Outcome()


def test_error_that_goes_away_without_a_trace_is_forgotten(
    pki: PKI, folder: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = served.reloader.certificates

    def fail() -> Holdings:
        raise OSError(5, "Input/output error", "site.pem")

    new = pki.issue("localhost")
    put_pair(folder, "site.pem", new)
    monkeypatch.setattr(certificates, "read", fail)
    assert "Input/output error" in refused(served.poll())
    assert served.poll() == []
    monkeypatch.undo()
    assert served.poll() == [Outcome()]
    assert served.shown() == new.certificate_der


@pytest.mark.parametrize("first", ["key", "certificate"])
@pytest.mark.parametrize("others", [False, True])
def test_half_of_a_new_pair_makes_no_mismatch_visible(pki: PKI, folder: Path, first: str, others: bool) -> None:
    """With other certificates in the folder the name would go to one of them, without any the folder has none."""
    put(folder, "key.pem", pki.server.private_key)
    put(folder, "certificate.pem", pki.server.chain)
    if others:
        put_pair(folder, "other.pem", pki.wildcard)
    served = Served(pki, folder)
    new = pki.issue("localhost")
    halves = {"key": new.private_key, "certificate": new.chain}
    put(folder, f"{first}.pem", halves.pop(first))
    error = refused(served.poll())
    if others:
        assert "key.pem: no certificate for the private key" in error
        assert "certificate.pem: no private key for the certificate of localhost" in error
        assert "and the certificate of certificate.pem (localhost) is gone" in error
    assert served.shown() == pki.server.certificate_der
    assert served.poll() == []
    for name, contents in halves.items():
        put(folder, f"{name}.pem", contents)
    assert served.poll() == [Outcome()]
    assert served.shown() == new.certificate_der


def test_name_that_is_removed_whole_goes_though_a_lone_key_was_there_before(pki: PKI, folder: Path) -> None:
    put_pair(folder, "site.pem", pki.server)
    put_pair(folder, "other.pem", pki.wildcard)
    put(folder, "lone.pem", pki.client.private_key)
    served = Served(pki, folder)
    (folder / "site.pem").unlink()
    assert served.poll() == [Outcome()]
    assert served.shown() == pki.wildcard.certificate_der


def test_only_new_remarks_are_told(pki: PKI, folder: Path) -> None:
    put_pair(folder, "site.pem", pki.server)
    put(folder, "lone.pem", pki.client.private_key)
    served = Served(pki, folder)
    put(folder, "more.pem", pki.wildcard.chain)
    assert served.poll() == [
        Outcome(remarks=("more.pem: no private key for the certificate of *.example.com",)),
    ]


# --- validity ---------------------------------------------------------------------------------------------------------


def test_certificate_is_chosen_anew_when_one_expires_or_begins(pki: PKI, folder: Path) -> None:
    now = datetime.now(timezone.utc)

    def issue(name: str, start: int, end: int) -> bytes:
        credential = pki.issue("localhost", name=name, not_before=now + start * ONE_DAY, not_after=now + end * ONE_DAY)
        put_pair(folder, f"{name}.pem", credential)
        return credential.certificate_der

    present, short, future = issue("present", -1, 20), issue("short", -1, 10), issue("future", 15, 90)
    served = Served(pki, folder)
    for day, certificate in ((0, present), (9, present), (11, present), (16, future), (80, future)):
        served.now = now + day * ONE_DAY
        served.poll()
        # The client's clock is not moved: it only looks at what it is shown.
        served.client.verify_mode = txmembio.CERT_NONE
        assert served.shown() == certificate
        assert served.poll() == []
    served.now = now + 91 * ONE_DAY
    [outcome] = served.poll()
    assert outcome.error is None
    assert [remark.split(":")[0] for remark in outcome.remarks] == ["future.pem"]
    assert short not in (present, future)


def test_certificate_is_chosen_anew_though_the_files_are_bad(pki: PKI, folder: Path) -> None:
    now = datetime.now(timezone.utc)
    today = pki.issue("localhost", name="today", not_before=now - 9 * ONE_DAY, not_after=now + 5 * ONE_DAY)
    later = pki.issue("localhost", name="later", not_before=now + 1 * ONE_DAY, not_after=now + 90 * ONE_DAY)
    put_pair(folder, "today.pem", today)
    put_pair(folder, "later.pem", later)
    served = Served(pki, folder)
    served.client.verify_mode = txmembio.CERT_NONE
    put(folder, "bad.pem", b"")
    assert "bad.pem" in refused(served.poll())
    assert served.shown() == today.certificate_der
    served.now += 2 * ONE_DAY
    assert served.poll() == [Outcome()]
    assert served.shown() == later.certificate_der
    assert served.poll() == []


# --- what stays right -------------------------------------------------------------------------------------------------


def test_ticket_outlives_a_reload_that_changes_the_certificate(
    pki: PKI, folder: Path, tls_version: txmembio.TLSVersion
) -> None:
    put_pair(folder, "site.pem", pki.server)
    served = Served(pki, folder, tls_version)
    session = pair.connect(served.client, served.context).client.connection.session
    put_pair(folder, "site.pem", pki.issue("localhost"))
    assert served.poll() == [Outcome()]
    again = pair.connect(served.client, served.context, session=session)
    assert again.client.connection.session_reused and again.server.connection.session_reused


@pytest.mark.parametrize("everywhere", [False, True], ids=["on the first context", "on each"])
def test_ticket_keys_of_one_s_own_outlive_a_reload(
    pki: PKI, folder: Path, tls_version: txmembio.TLSVersion, everywhere: bool
) -> None:
    """Two processes with the same keys; one has reloaded, the other has not, and the client changes between them."""
    keys = [os.urandom(80), os.urandom(80)]

    def with_keys() -> txmembio.SSLContext:
        context = new_context()
        if everywhere:
            context.set_ticket_keys(keys)
        return context

    put_pair(folder, "site.pem", pki.server)
    one, other = (Served(pki, folder, tls_version, with_keys) for _ in range(2))
    if not everywhere:
        for each in (one, other):
            each.context.set_ticket_keys(keys)
    put_pair(folder, "site.pem", pki.issue("localhost"))
    assert one.poll() == [Outcome()]
    session = None
    for reused, each in ((False, one), (True, other), (True, one), (True, one)):
        ends = pair.connect(one.client, each.context, session=session)
        assert ends.server.connection.session_reused is reused
        session = ends.client.connection.session


def test_client_authentication_and_alpn_are_the_same_after_a_reload(
    pki: PKI, folder: Path, tls_version: txmembio.TLSVersion
) -> None:
    def make() -> txmembio.SSLContext:
        context = new_context()
        context.load_verify_locations(cafile=pki.ca.certificate_file)
        context.verify_mode = txmembio.CERT_REQUIRED
        context.set_alpn_protocols(["one", "two"])
        return context

    put_pair(folder, "site.pem", pki.server)
    served = Served(pki, folder, tls_version, make)
    served.client.use_cert_chain(pki.client.chain, pki.client.private_key)
    served.client.set_alpn_protocols(["two"])
    stranger = pair.client_context(pki, tls_version)
    session = pair.connect(served.client, served.context).client.connection.session
    for _ in range(2):
        ends = pair.connect(served.client, served.context, session=session)
        assert ends.server.connection.session_reused
        assert ends.server.connection.getpeercert(binary_form=True) == pki.client.certificate_der
        assert ends.client.connection.selected_alpn_protocol() == "two"
        _, error = pair.unconnected(stranger, served.context).refusal()
        assert error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        put_pair(folder, "site.pem", pki.issue("localhost"))
        assert served.poll() == [Outcome()]


def test_session_of_a_client_is_gone_with_its_revocation(
    pki: PKI, folder: Path, tmp_path: Path, tls_version: txmembio.TLSVersion
) -> None:
    """The lists are read again as well, and a ticket from before them is not good for anything after them."""
    lists = tmp_path / "lists.pem"
    lists.write_bytes(crl(pki.ca))

    def make() -> txmembio.SSLContext:
        context = new_context()
        context.load_verify_locations(cafile=pki.ca.certificate_file)
        context.load_verify_locations(cafile=lists)
        context.verify_mode = txmembio.CERT_REQUIRED
        context.verify_flags |= txmembio.VerifyFlags.VERIFY_CRL_CHECK_LEAF
        return context

    put_pair(folder, "site.pem", pki.server)
    served = Served(pki, folder, tls_version, make, (str(lists),))
    served.client.use_cert_chain(pki.client.chain, pki.client.private_key)
    session = pair.connect(served.client, served.context).client.connection.session
    assert pair.connect(served.client, served.context, session=session).client.connection.session_reused
    put(tmp_path, "lists.pem", crl(pki.ca, pki.client))
    assert served.poll() == [Outcome()]
    client_error, server_error = pair.unconnected(served.client, served.context, session=session).refusal()
    assert isinstance(server_error, txmembio.SSLCertVerificationError)
    assert server_error.verify_message == "certificate revoked"
    assert client_error.alert == "certificate_revoked"


def test_connection_that_is_open_keeps_what_it_has(pki: PKI, folder: Path, served: Served) -> None:
    ends = pair.connect(served.client, served.context)
    half = pair.unconnected(served.client, served.context)
    half.client.start()
    half.move(half.client, half.server)  # the server has answered with the certificate of before
    put_pair(folder, "site.pem", pki.issue("localhost"))
    assert served.poll() == [Outcome()]
    half.settle()
    for each in (ends, half):
        each.client.send_plaintext(b"still here")
        each.settle()
        assert each.server.received == b"still here"
        assert each.client.connection.get_unverified_chain() == pki.server.chain_der


def test_polls_in_a_thread_beside_handshakes_serve_whole_pairs_only(pki: PKI, folder: Path, served: Served) -> None:
    known = {pki.server.certificate_der}
    done = threading.Event()
    problems: list[object] = []

    def reload() -> None:
        try:
            for _ in range(20):
                new = pki.issue("localhost")
                known.add(new.certificate_der)
                put_pair(folder, "site.pem", new)
                problems.extend(outcome for outcome in served.poll() if outcome != Outcome())
        finally:
            done.set()

    thread = threading.Thread(target=reload)
    thread.start()
    seen = set()
    while not done.is_set():
        seen.add(served.shown())
    thread.join()
    seen.add(served.shown())
    assert not problems
    assert seen <= known and len(seen) > 1


def test_certificate_counts_as_valid_through_its_last_second(pki: PKI, folder: Path) -> None:
    """A certificate is valid through the whole of its last second (RFC 5280, section 4.1.2.5)."""
    now = datetime.now(timezone.utc).replace(microsecond=0)
    put_pair(folder, "a.pem", pki.issue("localhost", name="a", not_before=now - ONE_DAY, not_after=now + ONE_DAY))
    put_pair(folder, "b.pem", pki.issue("localhost", name="b", not_before=now - ONE_DAY, not_after=now))
    served = Served(pki, folder)
    assert served.reloader.certificates.load(now).until == now + timedelta(seconds=1)


def test_contexts_of_before_are_gone_with_their_last_connection(pki: PKI, folder: Path, served: Served) -> None:
    context = weakref.ref(served.reloader.certificates.contexts.default)
    ends = pair.connect(served.client, served.context, server_hostname=None)
    put_pair(folder, "other.pem", pki.issue("other.example"))
    assert served.poll() == [Outcome()]
    gc.collect()
    assert context() is not None and ends.server.connection.context is context()
    del ends
    gc.collect()
    assert context() is None
