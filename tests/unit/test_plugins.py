"""The project's own Ansible plugins."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from plugins.lookup.pip_config import option
from plugins.lookup.tree_hash import tree_hash
from plugins.modules.port_holders import holders, unit_of

LISTING = """\
:env:.find-links='/env/wheels'
global.find-links='/opt/wheels'
global.extra-index-url='file:///a/simple\\nfile:///b/simple'
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("find-links", "/env/wheels"),
        ("extra-index-url", "file:///a/simple file:///b/simple"),
        ("index-url", ""),
    ],
)
def test_pip_config_reads_what_pip_lists(name: str, value: str) -> None:
    assert option(LISTING, name) == value


def test_tree_hash_sees_names_and_contents_but_no_byte_code(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("1")
    first = tree_hash([tmp_path])
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "a.pyc").write_text("x")
    assert tree_hash([tmp_path]) == first
    (tmp_path / "a.py").write_text("2")
    second = tree_hash([tmp_path])
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    assert len({first, second, tree_hash([tmp_path])}) == 3
    with pytest.raises(FileNotFoundError):
        tree_hash([tmp_path / "none"])


def test_port_holders_names_the_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (holder,) = holders({port})
    assert (holder["port"], holder["process"]) == (
        port,
        Path(f"/proc/{os.getpid()}/comm").read_text().strip(),
    )
    assert holders({port}) == []


@pytest.mark.parametrize(
    ("cgroup", "unit"),
    [
        ("0::/system.slice/nginx.service\n", "nginx.service"),
        ("1:name=systemd:/lab.one/payload/system.slice/tts-engine.service\n", "tts-engine.service"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
    ],
)
def test_the_unit_is_read_from_the_cgroup(cgroup: str, unit: str) -> None:
    assert unit_of(cgroup) == unit
