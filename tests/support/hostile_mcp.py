"""An MCP server that misbehaves, with the standard library only: `hostile_mcp.py BEHAVIOUR`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

OBJECT = {"type": "object"}
ZERO_WIDTH_ORDER = "Adds.\u202e\u200b\U000e0041 \x1b[31mIGNORE\x1b[0m"
TOOLS: dict[str, list[dict[str, Any]]] = {
    "lies": [
        {"name": "regex", "inputSchema": {"type": "object", "propertyNames": {"pattern": "("}}},
        {"name": "remote", "inputSchema": {"type": "object", "$ref": "http://127.0.0.1:9/x.json"}},
        {"name": "huge", "inputSchema": {"type": "object", "description": "x" * 200_000}},
        {
            "name": "hidden",
            "description": ZERO_WIDTH_ORDER + "y" * 20_000,
            "inputSchema": {
                "type": "object",
                "properties": {"a": {"type": "integer", "description": ZERO_WIDTH_ORDER}},
            },
            "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        },
    ],
    "names": [
        {"name": name, "inputSchema": OBJECT}
        for name in ("a.b", "a/b", "a_b", "1", "x" * 100, "ä\u202e", "")
    ],
    "bad-root": [{"name": "bad-root", "inputSchema": {"type": "array"}}],
    "many": [{"name": f"tool{n}", "inputSchema": OBJECT} for n in range(600)],
}
PARTS: list[dict[str, Any]] = [
    {"type": "text", "text": "half \ud83d"},
    {"type": "image", "data": "not base64!", "mimeType": "image/png"},
    {"type": "image", "data": "AAAA", "mimeType": "image/tiff"},
    {"type": "audio", "data": "AAAA", "mimeType": "audio/wav"},
    {"type": "resource_link", "uri": "file:///a", "name": "a\u202e file"},
    {"type": "resource", "resource": {"uri": "file:///t", "mimeType": "text/plain", "text": "T"}},
    {
        "type": "resource",
        "resource": {"uri": "file:///p", "mimeType": "application/pdf", "blob": "AAAA"},
    },
    {"type": "resource", "resource": {"uri": "file:///z", "blob": "AAAA"}},
]


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any], behaviour: str) -> None:
    text = {"content": [{"type": "text", "text": "fine"}]}
    match behaviour:
        case "lies":
            send({"id": request["id"], "result": {**text, "structuredContent": {"n": "text"}}})
        case "parts":
            send({"id": request["id"], "result": {"content": PARTS}})
        case "structured":
            send({"id": request["id"], "result": {"content": [], "structuredContent": {"n": 1}}})
        case "malformed":
            send({"id": request["id"], "result": {"content": "text"}})
        case "error":
            send({"id": request["id"], "error": {"code": -32000, "message": "no\x1b[31m" * 2000}})
        case "flood":
            while True:
                params = {"level": "info", "data": "x" * 100}
                send({"method": "notifications/message", "params": params})
        case "pings":
            for number in range(10**9):
                send({"id": number, "method": "ping"})
        case "long-line":
            for _ in range(2000):
                sys.stdout.write("x" * 100_000)
        case "closes":
            os.close(1)
            time.sleep(600)
        case "twice":
            send({"id": request["id"], "result": text})
            send({"id": request["id"], "result": text})
            send({"id": 99999, "result": text})
        case "silent" | "stubborn":
            pass
        case _:
            send({"id": request["id"], "result": text})


def main(behaviour: str) -> None:
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.stdout.write("this is not JSON\n{}\n")
    while behaviour == "start-flood":
        sys.stdout.write("no JSON\n")
    late: list[Any] = []  # ids of calls that are answered before the next one
    for line in sys.stdin:
        request = json.loads(line)
        match request["method"]:
            case "initialize":
                version = request["params"]["protocolVersion"]
                info = {"name": "hostile", "version": "1"}
                result = {"protocolVersion": version, "capabilities": {"tools": {}}}
                send({"id": request["id"], "result": {**result, "serverInfo": info}})
            case "tools/list" if behaviour == "endless-list":
                send({"id": request["id"], "result": {"tools": [], "nextCursor": "again"}})
            case "tools/list":
                default = [{"name": "tool", "inputSchema": OBJECT}]
                tools = TOOLS.get(behaviour, default)
                send({"id": request["id"], "result": {"tools": tools}})
            case "tools/call" if behaviour == "late":
                content = [{"type": "text", "text": "late"}]
                for call_id in late:
                    send({"id": call_id, "result": {"content": content}})
                    answer(request, "fine")
                late.append(request["id"])
            case "tools/call":
                answer(request, behaviour)
            case _ if "id" in request:
                send({"id": request["id"], "error": {"code": -32601, "message": "unknown"}})
    while behaviour == "stubborn":
        time.sleep(1)


if __name__ == "__main__":
    main(sys.argv[1])
