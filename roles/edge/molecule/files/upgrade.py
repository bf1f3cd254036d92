"""Ask the edge for a WebSocket and print the first line of its answer: upgrade.py AUTHORIZATION."""

import socket
import ssl
import sys

REQUEST = """\
GET /tts HTTP/1.1\r
Host: localhost\r
Connection: Upgrade\r
Upgrade: websocket\r
Authorization: {}\r
Sec-WebSocket-Version: 13\r
Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r
\r
"""

trust = ssl.create_default_context(cafile="/etc/nginx/tls/edge.crt")
with (
    socket.create_connection(("127.0.0.1", 443), timeout=10) as plain,
    trust.wrap_socket(plain, server_hostname="localhost") as secure,
):
    secure.sendall(REQUEST.format(sys.argv[1]).encode())
    print(secure.recv(4096).decode().splitlines()[0])
