"""In the gateway's environment, type a text to it, and print what came as JSON: talk.py URL TEXT."""

import json
import sys

from websockets.sync.client import connect

TIMEOUT_S = 30
POSITION_BYTES = 8  # every frame begins with the position of its first sample

url, text = sys.argv[1:]
with connect(url, open_timeout=TIMEOUT_S) as session:
    session.send(json.dumps({"type": "start", "audio": {"encoding": "pcm_s16le", "sample_rate": 22050}}))
    for char in text:
        session.send(json.dumps({"type": "text", "text": char}))
    session.send(json.dumps({"type": "end"}))
    n_samples = 0
    while True:
        message = session.recv(timeout=TIMEOUT_S)
        if isinstance(message, bytes):
            n_samples += (len(message) - POSITION_BYTES) // 2
        elif (answer := json.loads(message))["type"] in ("done", "error"):
            break

print(json.dumps({"answer": answer, "samples": n_samples}))
