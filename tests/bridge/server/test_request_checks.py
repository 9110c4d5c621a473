"""Request targets, Host headers and transfer codings that are accepted or rejected."""

import pytest

from project.bridge.server.raw_responses import RequestRejected
from project.bridge.server.request_checks import check_host, check_transfer_encoding, split_target

HTTP_1_0, HTTP_1_1 = b"HTTP/1.0", b"HTTP/1.1"


@pytest.mark.parametrize(
    ("target", "path", "authority"),
    [
        (b"/api/?a=1", b"/api/?a=1", None),
        (b"//evil.example/", b"//evil.example/", None),
        (b"http://localhost:8000/api/?a=1", b"/api/?a=1", b"localhost:8000"),
        (b"HTTPS://mail.example.com", b"/", b"mail.example.com"),
        (b"http://[::1]?a=1", b"/?a=1", b"[::1]"),
    ],
)
def test_splits_a_target_into_path_and_authority(target: bytes, path: bytes, authority: bytes | None) -> None:
    assert split_target(b"GET", target) == (path, authority)


@pytest.mark.parametrize(
    "target",
    [b"*", b"api", b"localhost:443", b"ftp://localhost/", b"http://", b"http://ada@localhost/", b"?a=1"],
)
def test_rejects_any_other_target(target: bytes) -> None:
    with pytest.raises(RequestRejected):
        split_target(b"GET", target)


def test_an_options_request_may_be_for_the_whole_server() -> None:
    assert split_target(b"OPTIONS", b"*") == (b"*", None)


@pytest.mark.parametrize(("version", "hosts"), [(HTTP_1_1, []), (HTTP_1_1, [b"a", b"a"]), (HTTP_1_0, [b"a", b"b"])])
def test_rejects_a_missing_or_repeated_host(version: bytes, hosts: list[bytes]) -> None:
    with pytest.raises(RequestRejected) as error:
        check_host(version, hosts)

    assert error.value.status == 400


def test_http_1_0_needs_no_host() -> None:
    check_host(HTTP_1_0, [])


@pytest.mark.parametrize(
    ("version", "codings"),
    [
        (HTTP_1_0, [b"chunked"]),
        (HTTP_1_1, [b"identity"]),
        (HTTP_1_1, [b"identity", b"chunked"]),
        (HTTP_1_1, [b"chunked", b"chunked"]),
        (HTTP_1_1, [b"gzip, chunked"]),
        (HTTP_1_1, [b"chunked;q=1"]),
        (HTTP_1_1, [b""]),
    ],
)
def test_rejects_any_other_transfer_coding(version: bytes, codings: list[bytes]) -> None:
    with pytest.raises(RequestRejected):
        check_transfer_encoding(version, codings)


def test_accepts_chunked() -> None:
    check_transfer_encoding(HTTP_1_1, [b"Chunked"])
