"""How long the newcomer waits, and what the idle stack takes: python -m tests.hosts.speed --output-json FILE

Runs `./up --lab` twice from a fresh clone on this machine, and `site.yml` once more alone, and reads the
memory of the idle services. Needs root, and no throw-away host that is up already.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.hosts.tree import pack, unpack
from tests.lab import Lab

HOST = "stack"
UNITS = ["sglang", "tts-engine", "tts-gateway", "nginx", "prometheus", "prometheus-node-exporter"]
OPTIONS = ["-e", "models_source=demo"]


def timed(command: list[str], folder: Path) -> tuple[float, str]:
    """Run a command; return its seconds and what it printed. Ends the program when it fails."""
    begin = time.monotonic()
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return round(time.monotonic() - begin, 1), done.stdout


def slowest(output: str) -> list[str]:
    """What Ansible says took longest."""
    return re.findall(r"took \d+ s: .*", output)


def memory_mib(unit: str) -> float:
    """Memory of a unit on the host as systemd counts it, page cache and all, in MiB."""
    with Lab() as lab:
        shown = lab.host(HOST).run(f"systemctl show -P MemoryCurrent {unit}").stdout
    return round(int(shown) / 2**20, 1)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--output-json", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch, "clone")
        clone.mkdir()
        pack(Path(scratch, "tree.tar"))
        unpack(Path(scratch, "tree.tar"), clone)
        try:
            first_s, first = timed(["./up", "--lab", "--", *OPTIONS], clone)
            again_s, _ = timed(["./up", "--lab", "--", *OPTIONS], clone)
            playbook = [".venv/bin/ansible-playbook", "-i", "inventory/lab.yml", "site.yml", *OPTIONS]
            converge_s, _ = timed(playbook, clone)
            memory = {unit: memory_mib(unit) for unit in UNITS}
        finally:
            subprocess.run(["./up", "--down"], cwd=clone, check=False, capture_output=True)
    report = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "first_up_lab_s": first_s,
        "first_up_lab_slowest": slowest(first),
        "again_up_lab_s": again_s,
        "second_converge_s": converge_s,
        "idle_memory_mib": memory,
        "idle_memory_without_sglang_mib": round(sum(memory.values()) - memory["sglang"], 1),
    }
    arguments.output_json.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
