#!/usr/bin/python3
"""Answers every request with its own path and headers, in JSON; an upgrade it accepts and closes.

usage: echo_upstream PORT
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Echo(BaseHTTPRequestHandler):
    """What a client of the edge gets back is what the edge sent on."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Say what came."""
        if self.headers.get("Upgrade"):
            self.send_response(101)
            self.send_header("Upgrade", self.headers["Upgrade"])
            self.send_header("Connection", "Upgrade")
            self.end_headers()
            self.close_connection = True
            return
        seen = {name.lower(): value for name, value in self.headers.items()}
        body = json.dumps({"path": self.path, "headers": seen}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        """Read the body, then the same."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
