"""Piper voices behind the Riva speech API."""

import os
import sys

# onnxruntime's official builds report home unless this is set before it is imported (its Privacy.md).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# OpenVINO's own reporter; None means that it cannot be imported, and OpenVINO takes a stub instead.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # sys.modules' way to say so
