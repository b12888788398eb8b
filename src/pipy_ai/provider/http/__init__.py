"""HTTP/1.1 over asyncio: connect, send, pool connections, parse server-sent events."""
