from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import LabError, controller

_LISTING = """\
:env:.default-timeout='180'
:env:.find-links='/from/environment'
:env:.no-such-setting='1'
global.cert='/etc/ssl/certs/ca-certificates.crt'
global.extra-index-url='file:///one/simple https://two.example/simple'
global.find-links='/from/file'
global.target='/never/take/this/over'
install.find-links='/for/one/command'
"""


def test_the_environment_wins_over_pips_files() -> None:
    assert controller.pip_settings(_LISTING) == {
        "cert": ["/etc/ssl/certs/ca-certificates.crt"],
        "extra-index-url": ["file:///one/simple", "https://two.example/simple"],
        "find-links": ["/from/environment"],
        "timeout": ["180"],
    }


def test_pip_conf_has_one_value_a_line() -> None:
    settings = {"timeout": ["180"], "extra-index-url": ["file:///one", "https://two"]}
    assert controller.render_pip_conf(settings) == (
        "[global]\nextra-index-url = file:///one\n    https://two\ntimeout = 180\n"
    )


def test_local_places_that_exist_are_shared(tmp_path: Path) -> None:
    (tmp_path / "index/simple").mkdir(parents=True)
    (tmp_path / "wheels of mine").mkdir()
    cert = tmp_path / "ca.pem"
    cert.touch()
    settings = {
        "index-url": ["https://index.example/simple"],
        # The files lie beside the index, not below it.
        "extra-index-url": [f"file://{tmp_path}/index/simple"],
        "find-links": [f"file://{tmp_path}/wheels%20of%20mine", f"{tmp_path}/missing"],
        "cert": [str(cert), "/etc/ssl/certs/ca-certificates.crt"],
    }
    assert controller.pip_directories(settings) == [cert, tmp_path / "index", tmp_path / "wheels of mine"]


SOURCES_LIST = """\
# the installer's
deb http://mirror.example/debian bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb [arch=amd64] http://mirror.example/debian-security bookworm-security main
deb https://third.example/stable ./
"""


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_sources_are_debians_own_for_the_suite(
    suite: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(controller, "_DEBIAN_SOURCES", tmp_path / "missing")
    monkeypatch.setattr(controller, "_SOURCES_LIST", tmp_path / "sources.list")
    with pytest.raises(LabError, match="no package sources of Debian"):
        controller.debian_sources(suite)
    (tmp_path / "sources.list").write_text(SOURCES_LIST)
    sources = controller.debian_sources(suite)
    assert "third.example" not in sources
    suites = [line for line in sources.splitlines() if line.startswith("Suites:")]
    assert suites == [f"Suites: {suite}", f"Suites: {suite}-security"]
