#!/usr/bin/python3
"""The part of valkey-cli that health checks use: one command without spaces, the password from
REDISCLI_AUTH.
"""

import os
import socket
import sys


def main(arguments: list[str]) -> int:
    """Send the command to this host's server and print its answer."""
    with socket.create_connection(("127.0.0.1", 6379), timeout=5) as connection:
        stream = connection.makefile("rwb")
        if password := os.environ.get("REDISCLI_AUTH"):
            stream.write(_encoded(["AUTH", password]))
            stream.flush()
            stream.readline()
        stream.write(_encoded(arguments))
        stream.flush()
        answer = stream.readline().decode().strip()
    print(answer[1:])
    return 1 if answer.startswith("-") else 0


def _encoded(words: list[str]) -> bytes:
    parts = [f"*{len(words)}\r\n"]
    parts += [f"${len(word.encode())}\r\n{word}\r\n" for word in words]
    return "".join(parts).encode()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
