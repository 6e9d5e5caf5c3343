"""pyOpenSSL's ``OpenSSL``, over this package's core: SSL, crypto, version, rand.

``txmembio.install("OpenSSL")`` makes ``import OpenSSL`` find it. Everything that pyOpenSSL documents is here or raises
NotImplementedError with its own name; docs/pyopenssl.md lists both, and where the two differ.
"""

from txmembio.OpenSSL import SSL, crypto
from txmembio.OpenSSL.version import (
    __author__,
    __copyright__,
    __email__,
    __license__,
    __summary__,
    __title__,
    __uri__,
    __version__,
)

__all__ = [
    "SSL",
    "__author__",
    "__copyright__",
    "__email__",
    "__license__",
    "__summary__",
    "__title__",
    "__uri__",
    "__version__",
    "crypto",
]
