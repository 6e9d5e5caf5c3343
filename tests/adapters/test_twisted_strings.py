"""The grammar of endpoint strings by itself: which value belongs to which key, and what is refused in which words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from txmembio.twisted.strings import CLIENT, SERVER_FILES, SERVER_FOLDER, Arguments, Form, bind, server_form, text


def arguments(form: Form = CLIENT, /, **keyed: str) -> Arguments:
    return bind(form, [], keyed)


SERVER_STRINGS: list[tuple[list[str], dict[str, str], Form, dict[str, str]]] = [
    (["8443"], {}, SERVER_FILES, {"port": "8443"}),
    ([], {}, SERVER_FILES, {}),
    ([], {"port": "8443"}, SERVER_FILES, {"port": "8443"}),
    (["8443", "k.pem", "c.pem"], {}, SERVER_FILES, {"port": "8443", "privateKey": "k.pem", "certKey": "c.pem"}),
    (["k.pem"], {"port": "8443"}, SERVER_FOLDER, {"path": "k.pem", "port": "8443"}),
    (["/pems"], {}, SERVER_FOLDER, {"path": "/pems"}),
    (["/pems", "8443"], {}, SERVER_FOLDER, {"path": "/pems", "port": "8443"}),
    (
        ["/pems", "8443", "5", "127.0.0.1"],
        {},
        SERVER_FOLDER,
        {"path": "/pems", "port": "8443", "backlog": "5", "interface": "127.0.0.1"},
    ),
    ([], {"path": "443"}, SERVER_FOLDER, {"path": "443"}),
    (["8443"], {"path": "/pems"}, SERVER_FOLDER, {"path": "/pems", "port": "8443"}),
    (["/pems", "5"], {"port": "8443"}, SERVER_FOLDER, {"path": "/pems", "port": "8443", "backlog": "5"}),
    ([""], {}, SERVER_FOLDER, {"path": ""}),
    (["٤٤٣"], {}, SERVER_FOLDER, {"path": "٤٤٣"}),  # digits, but not those of a port
]


@pytest.mark.parametrize(("args", "keyed", "form", "values"), SERVER_STRINGS)
def test_server_form_and_keys(args: list[str], keyed: dict[str, str], form: Form, values: dict[str, str]) -> None:
    assert server_form(args, keyed) is form
    assert bind(form, args, keyed).values == values


def test_client_takes_its_values_in_the_order_of_tls() -> None:
    args = ["example.com", "443", "5", "127.0.0.1", "c.pem", "k.pem", "/roots", "tcp:1"]
    keys = ["host", "port", "timeout", "bindAddress", "certificate", "privateKey", "trustRoots", "endpoint"]
    assert bind(CLIENT, args, {}).values == dict(zip(keys, args, strict=True))
    assert bind(CLIENT, ["443"], {"host": "example.com"}).values == {"host": "example.com", "port": "443"}


@pytest.mark.parametrize(
    ("form", "args", "keyed", "message"),
    [
        # A drive letter whose colon was not escaped.
        (SERVER_FILES, ["8443", "/k.pem"], {"privateKey": "C"}, "surplus value '/k.pem' without a key"),
        (SERVER_FILES, ["8443"], {"port": "8444"}, None),
        (SERVER_FOLDER, ["/pems", "1", "2", "3", "4"], {}, "surplus value '4' without a key"),
        (CLIENT, ["a", "1", "2", "3", "4", "5", "6", "7", "8"], {}, "surplus value '8' without a key"),
        (CLIENT, ["a", "1", "/roots"], {"timeout": "5"}, "surplus value '/roots' without a key"),
    ],
)
def test_surplus_value_suggests_the_escape(
    form: Form, args: list[str], keyed: dict[str, str], message: str | None
) -> None:
    if message is None:
        # "port=" by key leaves the first value without one to be the next key's, which is then what is wrong.
        assert bind(form, args, keyed).values["privateKey"] == "8443"
        return
    with pytest.raises(ValueError, match=r"^membiotls: .*\\:$") as caught:
        bind(form, args, keyed)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("form", "key", "near"),
    [
        (SERVER_FILES, "privatekey", "privateKey"),
        (SERVER_FILES, "certificat", "certificate"),
        (SERVER_FOLDER, "clientca", "clientCA"),
        (CLIENT, "TRUSTROOTS", "trustRoots"),
        (CLIENT, "xyzzy", None),
        (SERVER_FILES, "ticketkeys", "ticketKeys"),
        (CLIENT, "serverName", None),
    ],
)
def test_unknown_key_names_itself_its_value_and_the_known_ones(form: Form, key: str, near: str | None) -> None:
    with pytest.raises(ValueError) as caught:
        bind(form, [], {key: "a value"})
    message = str(caught.value)
    assert message.startswith(f"membiotls: unknown key {key!r} with the value 'a value': expected, for ")
    assert all(known in message for known in form.keys)
    assert message.endswith(f"; did you mean {near}=?") if near else "did you mean" not in message


def test_later_value_without_a_key_gets_the_hint_when_it_is_wrong() -> None:
    """``/pems:interface=::1`` is ``interface=``, an empty value and ``1`` after its first colon."""
    bound = bind(SERVER_FOLDER, ["/pems", "443", "", "1"], {})
    with pytest.raises(ValueError, match=r"^membiotls: backlog='': expected a whole number .* as \\:$"):
        bound.number("backlog", 50, 0, 100)


Reader = Callable[[Arguments], Any]
PORT: Reader = lambda given: given.number("port", None, 1, 65535)  # noqa: E731
WAIT: Reader = lambda given: given.seconds("handshakeTimeout", 60.0)  # noqa: E731
VERSION: Reader = lambda given: given.version("minVersion")  # noqa: E731


@pytest.mark.parametrize(
    ("key", "reader", "value", "meaning"),
    [
        ("port", PORT, "1", 1),
        ("port", PORT, "65535", 65535),
        ("port", PORT, "00443", 443),
        ("handshakeTimeout", WAIT, "5", 5.0),
        ("handshakeTimeout", WAIT, "0.25", 0.25),
        ("handshakeTimeout", WAIT, ".5", 0.5),
        ("handshakeTimeout", WAIT, "86400", 86400.0),
        ("handshakeTimeout", WAIT, "0", None),
        ("handshakeTimeout", WAIT, "0.0", None),
        ("handshakeTimeout", WAIT, "none", None),
        ("handshakeTimeout", WAIT, "None", None),
        *[("minVersion", VERSION, value, "TLSv1_2") for value in ("TLSv1.2", "1.2", "TLSv1_2", "tlsv1.2", "TLS1.2")],
        *[("minVersion", VERSION, value, "TLSv1_3") for value in ("TLSv1.3", "1.3", "TLSv1_3", "v1.3")],
        *[("minVersion", VERSION, value, "TLSv1") for value in ("TLSv1", "1.0", "1", "TLSv1_0")],
        ("minVersion", VERSION, "1.1", "TLSv1_1"),
        ("alpn", Arguments.alpn, "h2,http/1.1", ["h2", "http/1.1"]),
        ("alpn", Arguments.alpn, " h2 , http/1.1 ", ["h2", "http/1.1"]),
        ("alpn", Arguments.alpn, "x" * 255, ["x" * 255]),
    ],
)
def test_values_and_their_meaning(key: str, reader: Reader, value: str, meaning: object) -> None:
    assert reader(arguments(CLIENT, **{key: value})) == meaning


def test_absent_keys_have_their_defaults() -> None:
    nothing = arguments()
    assert nothing.number("port", 443, 1, 65535) == 443
    assert nothing.seconds("timeout", 30.0) == 30.0
    assert nothing.version("minVersion") is None
    assert nothing.alpn() is None
    assert nothing.openssl_list("groups") is None
    assert arguments(SERVER_FILES).ssl_method() == (None, None)


@pytest.mark.parametrize(
    ("key", "reader", "value", "expected"),
    [
        *[
            ("port", PORT, value, "a whole number from 1 to 65535")
            for value in ("", "0", "65536", "-1", "+1", "1.0", " 443", "4_43", "https", "٤٤٣", "9" * 5000)
        ],
        *[
            ("handshakeTimeout", WAIT, value, 'seconds from 0 to 86400, 0 or "none" for no time-out')
            for value in ("", "-1", "1e3", "inf", "nan", "86400.1", "soon", ".", "9" * 5000)
        ],
        *[
            ("minVersion", VERSION, value, "TLSv1.2 or TLSv1.3")
            for value in ("", "1.4", "SSLv3", "2", "TLS", "DTLSv1.2", "1.22")
        ],
        *[
            ("alpn", Arguments.alpn, value, "different names such as h2,http/1.1")
            for value in ("", "h2,", ",", "h2,h2", "h2,ä", "x" * 256, "a\nb")
        ],
        ("alpn", Arguments.alpn, ",".join(f"{n:0250d}" for n in range(262)), "different names such as h2,http/1.1"),
    ],
)
def test_wrong_values_are_named_with_what_was_expected(key: str, reader: Reader, value: str, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        reader(arguments(CLIENT, **{key: value}))
    message = str(caught.value)
    assert message.startswith(f"membiotls: {key}={value!r}: expected {expected}")
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(
    ("method", "versions"),
    [
        ("TLS_METHOD", (None, None)),
        ("TLS_SERVER_METHOD", (None, None)),
        ("SSLv23_METHOD", (None, None)),
        ("TLSv1_METHOD", ("TLSv1", "TLSv1")),
        ("TLSv1_1_METHOD", ("TLSv1_1", "TLSv1_1")),
        ("TLSv1_2_METHOD", ("TLSv1_2", "TLSv1_2")),
    ],
)
def test_sslmethod_stands_for_versions(method: str, versions: tuple[str | None, str | None]) -> None:
    assert arguments(SERVER_FILES, sslmethod=method).ssl_method() == versions


@pytest.mark.parametrize("method", ["SSLv3_METHOD", "SSLv2_METHOD"])
def test_broken_sslmethod_is_refused_as_such(method: str) -> None:
    with pytest.raises(ValueError, match=rf"sslmethod='{method}': expected one of TLS_METHOD, .*SSL 3 are broken"):
        arguments(SERVER_FILES, sslmethod=method).ssl_method()


@pytest.mark.parametrize("method", ["", "TLS_CLIENT_METHOD", "DTLS_METHOD", "tlsv1_2_method", "__class__"])
def test_unknown_sslmethod_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match=rf"sslmethod='{method}': expected one of TLS_METHOD, .*TLSv1_2_METHOD$"):
        arguments(SERVER_FILES, sslmethod=method).ssl_method()


def test_bytes_become_text() -> None:
    assert text(b"k\xc3\xa4se.pem") == text("käse.pem") == "käse.pem"
    assert text(b"\xff.pem") == "\udcff.pem"  # what os.fsencode() turns back into the file's name


def test_errors_of_others_become_one_line() -> None:
    given = arguments(endpoint="tcp")
    assert str(given.refuse("endpoint", "a string", ValueError("two\nlines"))).endswith("(two lines)")
    assert str(given.refuse("endpoint", "a string", FileNotFoundError(2, "No such file", "x"))).endswith(
        "(No such file)"
    )
    assert str(given.refuse("endpoint", "a string", KeyError())).endswith("(KeyError)")


@given(
    args=st.lists(st.text() | st.sampled_from(["443", "/pems"]), max_size=10),
    keyed=st.dictionaries(st.sampled_from(sorted({*SERVER_FILES.keys, *CLIENT.keys, "path", "x"})), st.text()),
    client=st.booleans(),
)
def test_anything_is_bound_or_refused_in_one_line(args: list[str], keyed: dict[str, str], client: bool) -> None:
    form = CLIENT if client else server_form(args, keyed)
    try:
        bound = bind(form, args, keyed)
        for key in ("port", "backlog"):
            bound.number(key, 0, 0, 65535)
        for key in ("handshakeTimeout", "timeout"):
            bound.seconds(key, 0)
        bound.version("minVersion")
        bound.ssl_method()
        bound.alpn()
    except ValueError as error:
        assert str(error).startswith("membiotls: ")
        assert len(str(error).splitlines()) == 1
    else:
        assert set(bound.values) <= set(form.keys)


@pytest.mark.parametrize("form", [SERVER_FILES, SERVER_FOLDER, CLIENT], ids=lambda form: form.name)
def test_every_key_is_documented(form: Form) -> None:
    page = (Path(__file__).parents[2] / "docs" / "endpoints.md").read_text(encoding="utf-8")
    assert [key for key in form.keys if f"`{key}=`" not in page] == []
