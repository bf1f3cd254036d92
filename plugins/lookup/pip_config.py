"""A lookup of the controller's own pip configuration."""

from __future__ import annotations

import ast
import subprocess
import sys
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: pip_config
short_description: what the controller configures pip to do
description:
  - Returns the value of an option as pip sees it, from its files and its environment, or an empty string.
  - An option with several values has them separated by blanks.
options:
  _terms:
    description: names of options, such as find-links
    required: true
"""

# From weakest to strongest, as pip merges them: the [global] section of its files, then the environment.
SECTIONS = ("global", ":env:")


def option(listing: str, name: str) -> str:
    """Take an option out of the text that `pip config list` prints."""
    found = ""
    for section in SECTIONS:
        for line in listing.splitlines():
            key, _, value = line.partition("=")
            if key == f"{section}.{name}":
                found = " ".join(str(ast.literal_eval(value)).split())
    return found


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible ships no types
    """Ansible's way in."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return one string for each option of `terms`."""
        # Not `pip config get`: the one that Debian 12 ships finds nothing of /etc/pip.conf.
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        )
        if listed.returncode != 0:
            raise AnsibleLookupError(f"pip_config: pip config list fails: {listed.stderr.strip()}")
        return [option(listed.stdout, term) for term in terms]
