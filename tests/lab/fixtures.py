"""pytest's way to the lab, as a plugin: `pytest_plugins = ["tests.lab.fixtures"]`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Protocol

import pytest

from .errors import LabError
from .host import Host
from .lab import Lab
from .outfit import DEFAULT_OPTIONS, Options
from .requirements import require_root


class MakeHost(Protocol):
    """What `lab_host` gives to a test; the host goes with the test."""

    def __call__(
        self,
        name: str,
        *,
        suite: str = ...,
        flavour: str = ...,
        options: Options = ...,
    ) -> Host: ...


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, its hosts gone with the test session. Tests that ask for it are skipped without root."""
    try:
        require_root()
    except LabError as error:
        pytest.skip(str(error))
    with Lab() as lab:
        yield lab


@pytest.fixture
def lab_host(lab: Lab) -> Iterator[MakeHost]:
    """Makes hosts for one test. Their names carry our process's number: others may use the same lab."""
    made: list[Host] = []

    def make(
        name: str, *, suite: str = "bookworm", flavour: str = "managed", options: Options = DEFAULT_OPTIONS
    ) -> Host:
        host = lab.up(f"{name}-{os.getpid()}", suite=suite, flavour=flavour, options=options)
        made.append(host)
        return host

    yield make
    for host in made:
        lab.down(host)
