"""Certificates in motion: when they are read again. Knows no framework, no thread and no timer.

    reloader = Reloader(certificates)
    outcome = reloader.poll()            # every few seconds, by one thread at a time
    if outcome is not None: ...          # something to tell people: what is served was replaced, or could not be

A poll looks at the names, sizes, inodes and times of the files, and reads them only when these have changed, and have
then stayed the same from one poll to the next: whoever replaces a key and its certificate does so one after the other.
What cannot be read, or is half of a pair, changes nothing: what was served before stays, and every later poll tries
again. What is served is replaced by one assignment, so a poll may run beside the thread that makes the connections.

Certificates are chosen anew, too, when one of them begins or ends to be valid, though no file has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone

from .pems import ContextsByName, Holdings, ServedCertificates
from .watch import signature

__all__ = ["Outcome", "Reloader"]


@dataclass(frozen=True)
class Outcome:
    """What a poll has to tell."""

    error: Exception | None = None
    """Why the files could not be used, so that what was served before still is; None if it was replaced."""
    remarks: tuple[str, ...] = ()
    """Remarks on what is served now that were not true of what was served before."""


def _now() -> datetime:
    return datetime.now(timezone.utc)


class Reloader:
    """Keeps *certificates* as its files are. *now* gives the time by which certificates are valid, with a time zone."""

    def __init__(self, certificates: ServedCertificates, *, now: Callable[[], datetime] = _now) -> None:
        self.certificates = certificates
        self._now = now
        self._read = self._seen = certificates.signature
        self._error: str | None = None

    def poll(self) -> Outcome | None:
        """
        Look, and replace what is served if there is a reason to. None if there is nothing to tell that was not told
        before; a mistake in the files is told once.

        Takes as long as the file system and, after a change, OpenSSL's parser do. Raises nothing that files can cause.
        """
        seen = signature(self.certificates.paths)
        still, self._seen = seen == self._seen, seen
        try:
            # An error may go away without a trace in the files: a network file system that is back, say.
            if still and (seen != self._read or self._error is not None):
                return self._read_again()
        except (OSError, ValueError) as error:
            outcome = self._failed(error)
            if outcome is not None:
                return outcome
        until = self.certificates.contexts.until
        if until is None or self._now() < until:
            return None
        try:
            return self._serve(self.certificates.choose(self.certificates.holdings, self._now()))
        except (OSError, ValueError) as error:
            return self._failed(error)

    def _read_again(self) -> Outcome | None:
        certificates = self.certificates
        holdings = certificates.read()
        _refuse_half_a_pair(certificates.holdings, holdings)
        contexts = certificates.choose(holdings, self._now())
        if signature(certificates.paths) != self._seen:
            return None  # changed while it was read; the next polls will see that, too
        self._read, self._error = self._seen, None
        certificates.holdings = holdings
        return self._serve(contexts)

    def _serve(self, contexts: ContextsByName) -> Outcome:
        before = self.certificates.contexts.remarks
        self.certificates.contexts = contexts
        return Outcome(remarks=tuple(remark for remark in contexts.remarks if remark not in before))

    def _failed(self, error: Exception) -> Outcome | None:
        told, self._error = self._error, str(error)
        return None if told == self._error else Outcome(error)


def _refuse_half_a_pair(before: Holdings, after: Holdings) -> None:
    """
    Raise ValueError when a certificate that was served is gone, and a private key or a certificate has turned up alone.

    Its replacement is half done, then. Served as it is, the folder would answer for that name with another certificate.
    """
    here = {identity.certificate for identity in after.identities}
    gone = [identity for identity in before.identities if identity.certificate not in here]
    alone = [remark for public_key, remark in after.unpaired.items() if public_key not in before.unpaired]
    if gone and alone:
        names = ", ".join(gone[0].dns_names) or "no name"
        raise ValueError(f"{'; '.join(alone)}; and the certificate of {gone[0].name} ({names}) is gone")
