"""In the engine's environment, have it speak a text, and print what came as JSON: speak.py TEXT."""

import json
import sys

import grpc
import numpy as np
from riva_tts import riva_tts_pb2, riva_tts_pb2_grpc

TIMEOUT_S = 60

with grpc.insecure_channel("unix:/run/tts-engine/engine.sock") as channel:
    engine = riva_tts_pb2_grpc.RivaSpeechSynthesisStub(channel)
    config = engine.GetRivaSynthesisConfig(riva_tts_pb2.RivaSynthesisConfigRequest(), timeout=TIMEOUT_S)
    model = config.model_config[0]
    request = riva_tts_pb2.SynthesizeSpeechRequest(text=sys.argv[1], encoding=riva_tts_pb2.LINEAR_PCM)
    answers = engine.SynthesizeOnline(iter([request]), timeout=TIMEOUT_S)
    samples = np.frombuffer(b"".join(answer.audio for answer in answers), dtype="<i2").astype(int)

print(
    json.dumps(
        {
            "voice": model.model_name,
            "seconds": len(samples) / int(model.parameters["sample_rate"]),
            "peak": int(abs(samples).max()),
        }
    )
)
