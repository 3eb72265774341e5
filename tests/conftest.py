"""What all tests share: one thread, no network, and the data folder."""

import os
import socket
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that opens a connection to elsewhere fails at once, with or without a network."""
    connect = socket.socket.connect

    def local_only(self, address):
        host = address[0] if isinstance(address, tuple) else ""
        if self.family != socket.AF_UNIX and host not in ("127.0.0.1", "::1", "localhost"):
            raise OSError(101, "network is unreachable (tests stay offline)")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", local_only)


@pytest.fixture
def data() -> Path:
    """The folder of real images and weights that PERIMETRY_DATA names; skips the test without one."""
    folder = os.environ.get("PERIMETRY_DATA")
    if not folder:
        pytest.skip("PERIMETRY_DATA is not set")
    if not Path(folder).is_dir():
        pytest.fail(f"PERIMETRY_DATA names no directory: {folder}")
    return Path(folder)
