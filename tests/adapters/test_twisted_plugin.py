"""The plugin through which Twisted finds the endpoint strings. tests/packaging shows that wheels have it."""

from __future__ import annotations

from pathlib import Path

from support.process import python


def test_plugin_is_light() -> None:
    """A process that uses any endpoint of a plugin loads ours: neither the C extension nor OpenSSL may come with it."""
    program = (
        "import sys; from twisted.plugins.txmembio_endpoints import parser; assert parser.prefix == 'membiotls'; "
        "print([name for name in sys.modules if name.endswith('._lib') or name.split('.')[0] == 'OpenSSL'])"
    )
    with python("-c", program) as process:
        assert process.wait() == 0, process.transcript()
    assert process.output.strip() == b"[]"


def test_plugin_is_a_few_lines_in_a_folder_that_is_no_package() -> None:
    """An ``__init__.py`` would take Twisted's own package out of reach, and the plugin out of Twisted's."""
    folder = Path(__file__).parents[2] / "twisted"
    assert len((folder / "plugins" / "txmembio_endpoints.py").read_text().splitlines()) <= 6
    assert not list(folder.rglob("__init__.py"))
