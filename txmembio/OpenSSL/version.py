"""Which pyOpenSSL this stands in for: programs compare the number."""

__all__ = [
    "__author__",
    "__copyright__",
    "__email__",
    "__license__",
    "__summary__",
    "__title__",
    "__uri__",
    "__version__",
]

__version__ = "26.4.0"
"""The release whose names and behaviour these are; not a version of txmembio."""

__title__ = "txmembio.OpenSSL"
__uri__ = "https://pyopenssl.org/"
__summary__ = "pyOpenSSL's interface over txmembio"
__author__ = "txmembio contributors"
__email__ = ""
__license__ = "MIT"
__copyright__ = f"Copyright {__author__}"
