"""Twisted's plugin system finds the endpoint strings ``membiotls:`` here."""

from txmembio.twisted.plugin import StringParser

parser = StringParser()
