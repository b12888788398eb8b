"""HTTP/1.1 over asyncio: connections, a pool, and a reader of server-sent events."""
