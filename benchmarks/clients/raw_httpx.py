"""The baseline: httpx and json, without the error handling of a client."""

import json

import httpx

PACKAGE = "httpx"
NO_LIMITS = {"timeout": None, "limits": httpx.Limits()}  # the default of 100 would delay streams
client = None


def request(base, wire, model, tools):
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "q"}]}
    if wire == "chat":
        return base + "/v1/chat/completions", {**body, "tools": tools} if tools else body
    if tools:
        body["tools"] = [{"name": "f", "input_schema": tools[0]["function"]["parameters"]}]
    return base + "/v1/messages", {**body, "max_tokens": 9}


def read_chat_line(line):
    if line.startswith("data: ") and line != "data: [DONE]":
        for choice in json.loads(line[6:])["choices"]:
            delta = choice["delta"]
            if text := delta.get("content"):
                return "text", text
            if thought := delta.get("reasoning_content"):
                return "thinking", thought
            if calls := delta.get("tool_calls"):
                return "tool", calls[0]["function"]["arguments"]
    return None


def read_anthropic_line(line):
    if line.startswith("data: "):
        delta = json.loads(line[6:]).get("delta", {})
        if (kind := delta.get("type")) == "text_delta":
            return "text", delta["text"]
        if kind == "thinking_delta":
            return "thinking", delta["thinking"]
        if kind == "input_json_delta":
            return "tool", delta["partial_json"]
    return None


def stream(base, wire, model, tools):
    global client
    client = client or httpx.Client(**NO_LIMITS)
    url, body = request(base, wire, model, tools)
    read_line = read_chat_line if wire == "chat" else read_anthropic_line
    with client.stream("POST", url, json=body) as response:
        for line in response.iter_lines():
            if kind_and_text := read_line(line):
                yield kind_and_text


async def astream(base, wire, model, tools):
    global client
    client = client or httpx.AsyncClient(**NO_LIMITS)
    url, body = request(base, wire, model, tools)
    read_line = read_chat_line if wire == "chat" else read_anthropic_line
    async with client.stream("POST", url, json=body) as response:
        async for line in response.aiter_lines():
            if kind_and_text := read_line(line):
                yield kind_and_text
