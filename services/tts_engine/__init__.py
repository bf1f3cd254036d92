"""Piper voices behind the Riva speech API."""

import os

# onnxruntime's official builds report home unless this is set before it is imported (its Privacy.md).
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
