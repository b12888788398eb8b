"""Addresses that are public."""

from __future__ import annotations

import pytest

from pipy_ai.utils.download import is_public_host


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1.2.3", "0.0.0.0", "::1", "[fe80::1]", "10.1.1.1", "192.168.0.1",
     "169.254.169.254", "::ffff:127.0.0.1", "2130706433", "0x7f.1",
     "2002:7f00:1::", "64:ff9b::a9fe:a9fe"],
)  # fmt: skip
def test_private_hosts(host: str) -> None:
    assert not is_public_host(host)


@pytest.mark.parametrize("host", ["8.8.8.8", "2606:4700:4700::1111", "name.invalid", "a" * 300])
def test_public_and_unknown_hosts(host: str) -> None:
    assert is_public_host(host)
