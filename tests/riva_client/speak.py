"""NVIDIA's own Riva client against the server at `host:port`, run by the Python of its own environment.

    speak.py host:port {voices | synthesize | synthesize_online} < FIELDS.json > RESPONSES.jsonl

FIELDS are the arguments of the client's method, encodings by name; each response is one line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import riva.client  # type: ignore[import-not-found]  # only in its own environment
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from riva.client.proto.riva_tts_pb2 import (  # type: ignore[import-not-found]  # as above
    RivaSynthesisConfigRequest,
)


def responses(server: str, method: str, fields: dict[str, Any]) -> Iterable[Message]:
    service = riva.client.SpeechSynthesisService(riva.client.Auth(uri=server))
    if "encoding" in fields:
        fields["encoding"] = riva.client.AudioEncoding.Value(fields["encoding"])
    match method:
        case "voices":
            return [service.stub.GetRivaSynthesisConfig(RivaSynthesisConfigRequest(**fields))]
        case "synthesize":
            return [service.synthesize(**fields)]
        case "synthesize_online":
            return service.synthesize_online(**fields)  # type: ignore[no-any-return]  # untyped, see above
    sys.exit(f"speak.py: {method}: no such method")


if __name__ == "__main__":
    for response in responses(sys.argv[1], sys.argv[2], json.load(sys.stdin)):
        print(json.dumps(MessageToDict(response, preserving_proto_field_name=True)))
