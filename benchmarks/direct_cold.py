"""Print a client's first token: `python -P direct_cold.py clients/NAME.py BASE WIRE`.

Imports nothing that the client does not need.
"""

import sys

path, base, wire = sys.argv[1:]
client: dict = {"__name__": "client"}
with open(path) as file:
    exec(compile(file.read(), path, "exec"), client)

if "stream" in client:
    for _, piece in client["stream"](base, wire, "text-20", []):
        print(piece, flush=True)
        break
else:
    import asyncio

    async def print_first_token() -> None:
        async for _, piece in client["astream"](base, wire, "text-20", []):
            print(piece, flush=True)
            break

    asyncio.run(print_first_token())
