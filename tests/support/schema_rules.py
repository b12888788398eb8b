"""Rules for the schemas that each vendor accepts: one function per rule, with its source.

A rule yields what is wrong at each place. `openai_refuses`, `anthropic_refuses` and
`gemini_refuses` check strict schemas, `tool_refusals` the tools of a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Rule = Callable[[dict[str, Any]], Iterator[str]]


def parts(schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every nested schema with its path."""
    todo: list[tuple[str, Any]] = [("$", schema)]
    while todo:
        path, one = todo.pop()
        if not isinstance(one, dict):
            continue
        yield path, one
        for word in ("properties", "$defs", "definitions", "patternProperties"):
            todo += [(f"{path}.{name}", inner) for name, inner in one.get(word, {}).items()]
        for word in ("items", "not", "additionalProperties"):
            todo += [(f"{path}[]", one[word])] if word in one else []
        for word in ("anyOf", "oneOf", "allOf", "prefixItems"):
            todo += [(f"{path}|{n}", inner) for n, inner in enumerate(one.get(word, ()))]


def check(schema: dict[str, Any], *rules: Rule) -> list[str]:
    return [found for rule in rules for found in rule(schema)]


# --- Any schema of OpenAI or Anthropic -----------------------------------------------------


def object_root(schema: dict[str, Any]) -> Iterator[str]:
    """The root is an object with properties (langchain-ai/langchain-mcp-adapters#137)."""
    if schema.get("type") != "object" or not isinstance(schema.get("properties"), dict):
        yield "$: no object with properties"


def no_root_union(schema: dict[str, Any]) -> Iterator[str]:
    """Nothing but an object is at the root (langchain-ai/langchainjs#9804)."""
    for word in ("anyOf", "oneOf", "allOf", "enum", "const", "not"):
        if word in schema:
            yield f"$: {word} at the root"


def lists_have_items(schema: dict[str, Any]) -> Iterator[str]:
    """Lists have items, tuples too (PrefectHQ/fastmcp#2464)."""
    for path, one in parts(schema):
        types = one.get("type")
        if "array" in (types if isinstance(types, list) else [types]) and not isinstance(
            one.get("items"), dict
        ):
            yield f"{path}: items of no type"
        if "prefixItems" in one or "additionalItems" in one:
            yield f"{path}: a tuple"


def no_lookaround(schema: dict[str, Any]) -> Iterator[str]:
    """Patterns have no lookaround and no back references (pydantic/pydantic-ai#5508)."""
    for path, one in parts(schema):
        if re.search(r"\(\?<?[=!]|\(\?P|\\[1-9]", one.get("pattern", "")):
            yield f"{path}: the pattern {one['pattern']}"


def known_types(schema: dict[str, Any]) -> Iterator[str]:
    """Types are those of JSON Schema: the schema is checked against draft 2020-12."""
    known = {"string", "integer", "number", "boolean", "array", "object", "null"}
    for path, one in parts(schema):
        types = one.get("type", "string")
        if not set(types if isinstance(types, list) else [types]) <= known or not types:
            yield f"{path}: the type {types!r}"


def numeric_bounds(schema: dict[str, Any]) -> Iterator[str]:
    """Exclusive bounds are numbers, not booleans as in draft 4 (Dokploy/mcp#74)."""
    for path, one in parts(schema):
        for word in ("exclusiveMinimum", "exclusiveMaximum"):
            if isinstance(one.get(word), bool):
                yield f"{path}: {word} is {one[word]}"


def required_lists(schema: dict[str, Any]) -> Iterator[str]:
    """`required` is a list of different names (draft 2020-12; draft 3 has a boolean)."""
    for path, one in parts(schema):
        names = one.get("required", [])
        if not isinstance(names, list) or len(set(names)) < len(names):
            yield f"{path}: required is {names}"


def short_property_names(schema: dict[str, Any]) -> Iterator[str]:
    """Anthropic: names match `^[a-zA-Z0-9_.-]{1,64}$` (ComposioHQ/composio#3500)."""
    for path, one in parts(schema):
        for name in one.get("properties", ()):
            if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,64}", name):
                yield f"{path}: the property {name!r}"


TOOL_RULES: tuple[Rule, ...] = (
    object_root, no_root_union, lists_have_items, no_lookaround, known_types, numeric_bounds,
    required_lists,
)  # fmt: skip

# --- Strict schemas ------------------------------------------------------------------------

_COMMON = {"type", "title", "description", "enum", "const", "anyOf", "$ref", "$defs", "format",
           "properties", "required", "additionalProperties", "items"}  # fmt: skip
_OPENAI = _COMMON | {"pattern", "multipleOf", "minimum", "maximum", "exclusiveMinimum",
                     "exclusiveMaximum", "minItems", "maxItems"}  # fmt: skip
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}


def openai_refuses(schema: dict[str, Any]) -> list[str]:
    """Return what OpenAI's strict mode would reject."""
    return [
        *_closed(schema, _OPENAI),
        *check(schema, no_root_union, no_lookaround, all_required, within_openai_limits),
    ]


def anthropic_refuses(schema: dict[str, Any]) -> list[str]:
    """Return what Anthropic's structured outputs would reject."""
    return [
        *_closed(schema, _COMMON),
        *check(schema, no_recursion, within_anthropic_limits, short_property_names),
    ]


_COHERE = _COMMON - {"additionalProperties"}
_COHERE_FORMATS = {"date", "date-time", "time", "uuid"}


def cohere_refuses(schema: dict[str, Any]) -> list[str]:
    """Return what Cohere's structured outputs would reject (docs.cohere.com, 2026)."""
    found = [] if schema.get("type") == "object" else ["$: no object"]
    for path, one in parts(schema):
        found += [f"{path}: the word {word}" for word in one if word not in _COHERE]
        if one.get("type") == "object" and not one.get("required"):
            found.append(f"{path}: nothing is required")
        if one.get("format", "date") not in _COHERE_FORMATS:
            found.append(f"{path}: the format {one['format']}")
    return found


def all_required(schema: dict[str, Any]) -> Iterator[str]:
    """OpenAI: every property is required."""
    for path, one in parts(schema):
        if set(one.get("properties", ())) != set(one.get("required", one.get("properties", ()))):
            yield f"{path}: not every property is required"


def no_recursion(schema: dict[str, Any]) -> Iterator[str]:
    """Anthropic: no definition holds itself."""
    for name in schema.get("$defs", {}):
        if _reaches(schema, name, name, set()):
            yield f"{name} holds itself"


def within_openai_limits(schema: dict[str, Any]) -> Iterator[str]:
    """5,000 properties, 10 levels, 1,000 enum values, 15,000 characters in a long enum, 120,000 in
    all (developers.openai.com/api/docs/guides/structured-outputs, 2026)."""
    everything = [one for _, one in parts(schema)]
    names = [name for one in everything for name in one.get("properties", ())]
    enums = [one["enum"] for one in everything if "enum" in one]
    values = [value for enum in enums for value in enum if isinstance(value, str)]
    if len(names) > 5_000:
        yield "too many properties"
    if sum(map(len, enums)) > 1_000:
        yield "too many enum values"
    if any(len(enum) > 250 and len("".join(map(str, enum))) > 15_000 for enum in enums):
        yield "an enum is too long"
    if len("".join(names)) + len("".join(values)) > 120_000:
        yield "too many characters"
    if max(path.count(".") for path, _ in parts(schema)) > 10:
        yield "too many levels"


def within_anthropic_limits(schema: dict[str, Any]) -> Iterator[str]:
    """24 optional properties, 16 with a union (platform.claude.com, structured outputs, 2026)."""
    optional = unions = 0
    for _, one in parts(schema):
        for name, inner in one.get("properties", {}).items():
            optional += name not in one.get("required", ())
            unions += "anyOf" in inner or isinstance(inner.get("type"), list)
    if optional > 24 or unions > 16:
        yield f"{optional} optional properties, {unions} unions"


def _reaches(schema: dict[str, Any], start: str, goal: str, seen: set[str]) -> bool:
    for _, one in parts(schema["$defs"][start]):
        name = one.get("$ref", "").removeprefix("#/$defs/")
        if name == goal:
            return True
        if name and name not in seen and _reaches(schema, name, goal, seen | {name}):
            return True
    return False


def _closed(schema: dict[str, Any], known: set[str]) -> list[str]:
    found = [] if schema.get("type") == "object" else ["$: no object"]
    for path, one in parts(schema):
        found += [f"{path}: the word {word}" for word in one if word not in known]
        if "$ref" in one:
            found += [f"{path}: words beside $ref"] if len(one) > 1 else []
            is_root = one["$ref"] == "#"
            if not is_root and one["$ref"].removeprefix("#/$defs/") not in schema.get("$defs", {}):
                found.append(f"{path}: {one['$ref']} leads nowhere")
            continue
        if not one.keys() & {"type", "anyOf"}:
            found.append(f"{path}: no type")
        if not isinstance(one.get("type", ""), str):
            found.append(f"{path}: several types")
        if one.get("type") == "object" and one.get("additionalProperties") is not False:
            found.append(f"{path}: open")
        if one.get("type") == "array" and "items" not in one:
            found.append(f"{path}: items of no type")
        if one.get("format", "date") not in _FORMATS:
            found.append(f"{path}: the format {one['format']}")
    return found


# --- Gemini --------------------------------------------------------------------------------

_GEMINI_TYPES = {"string", "integer", "number", "boolean", "array", "object"}
_GEMINI = {"type", "title", "description", "enum", "format", "nullable", "properties", "required",
           "items", "minItems", "maxItems", "minLength", "maxLength", "minimum", "maximum",
           "pattern", "propertyOrdering", "minProperties", "maxProperties", "anyOf"}  # fmt: skip


def gemini_refuses(schema: dict[str, Any]) -> list[str]:
    """Return what Gemini would reject in an output schema or in the parameters of a function."""
    return check(
        schema, gemini_words, gemini_unions, gemini_enums, gemini_keywords_of_the_type,
        gemini_required, gemini_sum_of_lengths, gemini_size, no_root_union,
    )  # fmt: skip


def gemini_words(schema: dict[str, Any]) -> Iterator[str]:
    """Only the words of its `Schema` ("Unknown name … Cannot find field")."""
    for path, one in parts(schema):
        yield from (f"{path}: the word {word}" for word in one if word not in _GEMINI)


def gemini_unions(schema: dict[str, Any]) -> Iterator[str]:
    """`anyOf` stands alone (langchain-ai/langchain-google#1216); all others have one type."""
    for path, one in parts(schema):
        if "anyOf" in one:
            yield from (f"{path}: {word} beside anyOf" for word in one if word != "anyOf")
        elif one.get("type") not in _GEMINI_TYPES:
            yield f"{path}: the type {one.get('type')}"


def gemini_enums(schema: dict[str, Any]) -> Iterator[str]:
    """Enums are of non-empty strings ("enum[0]: cannot be empty")."""
    for path, one in parts(schema):
        values = one.get("enum", ["x"])
        if not values or not all(isinstance(value, str) and value for value in values):
            yield f"{path}: the enum {values}"
        if "enum" in one and one["type"] != "string":
            yield f"{path}: an enum of a {one['type']}"


def gemini_keywords_of_the_type(schema: dict[str, Any]) -> Iterator[str]:
    """`properties` only of objects, `items` only and always of lists (anomalyco/opencode#11888)."""
    for path, one in parts(schema):
        is_object, is_array = one.get("type") == "object", one.get("type") == "array"
        if not is_object and one.keys() & {"properties", "required"}:
            yield f"{path}: properties of a {one.get('type')}"
        if is_array is not ("items" in one):
            yield f"{path}: items of a {one.get('type')}"


def gemini_required(schema: dict[str, Any]) -> Iterator[str]:
    """Only its own properties are required (Kilo-Org/kilocode#11955)."""
    for path, one in parts(schema):
        if not set(one.get("required", ())) <= set(one.get("properties", ())):
            yield f"{path}: requires what it does not have"


def gemini_sum_of_lengths(schema: dict[str, Any]) -> Iterator[str]:
    """The sum of all `maxItems` is below 960 (googleapis/python-genai#2170)."""
    if sum(one.get("maxItems", 0) for _, one in parts(schema)) >= 960:
        yield "$: too many items"


def gemini_size(schema: dict[str, Any]) -> Iterator[str]:
    """Too large a schema has too many states (googleapis/python-genai#660)."""
    if len(str(schema)) > 200_000:
        yield "$: too large"


# --- Requests ------------------------------------------------------------------------------


def tool_refusals(path: str, body: dict[str, Any]) -> list[str]:
    """Return what the vendor behind `path` would reject in the tools of a request."""
    found: list[str] = []
    for tool in body.get("tools") or ():
        if "messages" in body and path.endswith("/v1/messages"):
            if tool.get("type", "custom") != "custom":  # Anthropic's own
                continue
            found += _named(tool, r"[A-Za-z0-9_-]{1,128}")
            found += check(tool.get("input_schema", {}), *TOOL_RULES, short_property_names)
        elif "contents" in body:
            for function in tool.get("functionDeclarations", ()):
                found += _named(function, r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
                if "parameters" in function:
                    found += gemini_refuses(function["parameters"])
        elif ":" in str(tool.get("type")):  # a tool that OpenRouter runs
            continue
        elif isinstance(function := tool.get("function", tool), dict) and "parameters" in function:
            found += _named(function, r"[A-Za-z0-9_-]{1,64}")
            found += check(function["parameters"], *TOOL_RULES)
    return found


def _named(tool: dict[str, Any], pattern: str) -> list[str]:
    return [] if re.fullmatch(pattern, tool["name"]) else [f"a tool called {tool['name']!r}"]
