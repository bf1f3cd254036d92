"""A lookup that names the state of files and folders by a hash."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: tree_hash
short_description: hash of the content of files and folders on the controller
description:
  - Returns twelve hexadecimal digits that change when a file's name or content changes.
  - Byte code caches are left out, so that running the code does not change its name.
options:
  _terms:
    description: paths of files or folders
    required: true
"""


def tree_hash(paths: list[Path]) -> str:
    """Hash names and contents below `paths`: 12 hex digits of SHA-256.

    Raises FileNotFoundError where a path does not exist.
    """
    digest = hashlib.sha256()
    for root in paths:
        if not root.exists():
            raise FileNotFoundError(root)
        files = [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file())
        for file in files:
            if "__pycache__" in file.parts:
                continue
            name = file.name if file == root else file.relative_to(root).as_posix()
            digest.update(f"{name}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


class LookupModule(LookupBase):  # type: ignore[misc]  # ansible ships no types
    """Ansible's way in."""

    def run(self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """Return one hash for all `terms` together."""
        try:
            return [tree_hash([Path(term) for term in terms])]
        except FileNotFoundError as error:
            raise AnsibleLookupError(f"tree_hash: no such file or folder: {error}") from error
