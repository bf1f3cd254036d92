"""The engine talks to its clients and to nobody else."""

from __future__ import annotations

import subprocess
import sys


def test_telemetry_is_off_before_onnxruntime_is_imported() -> None:
    script = (
        "import sys, os; import tts_engine; assert 'onnxruntime' not in sys.modules;"
        "import tts_engine.voices; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"
    assert "telemetry" not in done.stderr


def test_openvino_has_nobody_to_report_to() -> None:
    script = "import sys, tts_engine.bf16; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "None\n"
    assert "telemetry" not in done.stderr
