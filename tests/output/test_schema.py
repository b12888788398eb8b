"""Test the types that typed output accepts and how values are validated."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, field_validator

from pipy_ai import Context, OutputValidationError, complete, faux, tool
from pipy_ai.output.schema import Output

from ..support.schema_cases import KINDS, PLAIN, Invoice, Kind, Line, Mixed, Owner, Person

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


class Bill(BaseModel):
    """A bill."""

    number: str
    total: Annotated[float, Field(ge=0)]
    tags: list[str] = []


GOOD = '{"number": "7", "total": 1.5}'
BAD = '{"number": "7"}'
BILL = Bill(number="7", total=1.5)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())
def test_every_kind_of_type(kind: Kind) -> None:
    with faux.script(json.dumps(kind.written), json.dumps({"surely": "wrong"})):
        message = complete("faux/x", "q", output=kind.kind)
        value = message.parsed
        bare = Output.of(kind.kind)
        assert value == bare.parse(json.dumps(kind.written))
        if isinstance(kind.kind, type):
            assert isinstance(value, dict if kind.kind.__name__ == "Movie" else kind.kind)
        if bare.wrapped:  # a model may forget the wrapping
            assert bare.parse(json.dumps(kind.written["value"])) == value
        assert pickle.loads(pickle.dumps(message)).parsed == value
        assert copy.deepcopy(message).parsed == value
        again = Context.model_validate_json(Context(messages=[message]).model_dump_json())
        assert again.messages[0].content == message.content
        if kind.kind != dict[str, float]:
            error = complete("faux/x", "q", output=kind.kind, output_retries=0).error
            assert error is not None
            assert error.kind == "invalid_output"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Bill, f"Sure!\n```json\n{GOOD}\n```\nDone.", BILL),
        (Bill, f"```\n{GOOD}```", BILL),
        (Bill, f'Not {{"number": "1", "total": 0}} but {GOOD} [1]', BILL),
        (Bill, "{oh} " + GOOD, BILL),
        (Bill, '{"number": "7\n", "total": "1.5", "tags": null}', Bill(number="7\n", total=1.5)),
        (list[int], "The list: [1, 2]", [1, 2]),
        (Mixed, '{"value": null, "either": null}', Mixed(value=None)),
        (
            Person,
            '{"name": "A", "address": {"street": "B", "zip": "12345", "country": null},'
            ' "former": [{"street": "C", "zip": "54321", "country": null}], "colour": null}',
            Person(
                name="A",
                address={"street": "B", "zip": "12345"},  # type: ignore[arg-type]
                former=[{"street": "C", "zip": "54321"}],  # type: ignore[list-item]
            ),
        ),
        (
            Owner,
            '{"pet": {"kind": "cat", "lives": 9}, "other": {"kind": "dog", "tricks": []}}',
            Owner(
                pet={"kind": "cat", "lives": 9},  # type: ignore[arg-type]
                other={"kind": "dog", "tricks": []},  # type: ignore[arg-type]
            ),
        ),
        (PLAIN, '{"city": "Rome", "sky": null, "near": null}', {"city": "Rome"}),
    ],
)
def test_lenient_parsing(kind: Any, text: str, value: Any) -> None:
    assert Output.of(kind).parse(text) == value


WHOLE = "(all)"


@pytest.mark.parametrize(
    ("kind", "text", "lines"),
    [
        (Bill, "", [f"{WHOLE}: it is empty"]),
        (Bill, "Sorry.", [f"{WHOLE}: it contains no JSON object"]),
        (  # no part of what is broken passes for the whole
            Line,
            '{"text": "a", "price": {"text": "b", "price": 1}, "count": ',
            [f"{WHOLE}: it is not valid JSON: Expecting value: line 1 column 60 (char 59)"],
        ),
        (dict[str, Any], '{"a":' * 900 + "1" + "}" * 900, [f"{WHOLE}: it is nested too deeply"]),
        (Bill, BAD, ["total: Field required"]),
        (
            Invoice,
            '{"number": 1, "total": "x", "lines": [{"text": "a", "price": -1}]}',
            [
                "number: Input should be a valid string",
                "total: Input should be a valid number, unable to parse string as a number",
                "lines[0].price: Input should be greater than or equal to 0",
            ],
        ),
        (Literal["a", "b"], '{"value": "c"}', ["(all): Input should be 'a' or 'b'"]),
        (
            PLAIN,
            '{"city": 1, "near": {}}',
            ["city: 1 is not of type 'string'", "near: 'name' is a required property"],
        ),
    ],
)
def test_errors_name_their_path(kind: Any, text: str, lines: list[str]) -> None:
    with pytest.raises(OutputValidationError) as caught:
        Output.of(kind).parse(text)
    assert caught.value.problems == lines
    assert str(pickle.loads(pickle.dumps(caught.value))) == "\n".join(lines)


def test_failing_validator_is_reported() -> None:
    class Odd(BaseModel):
        x: int

        @field_validator("x")
        @classmethod
        def _check(cls, value: int) -> int:
            if value == 1:
                raise ValueError("not one")
            raise KeyError("a bug")

    for number, text in ((1, "x: Value error, not one"), (2, "KeyError: 'a bug'")):
        with faux.script(json.dumps({"x": number})):
            error = complete("faux/x", "q", output=Odd, output_retries=0).error
        assert error is not None
        assert text in error.message


@pytest.mark.parametrize("kind", [42, Invoice(number="1", total=1), object(), lambda: 1])
def test_unsupported_type_is_rejected(kind: Any) -> None:
    with faux.script() as provider, pytest.raises(TypeError, match="output= takes a type"):
        complete("faux/x", "q", output=kind)
    assert provider.calls == 0


DRAFT = "http://json-schema.org/draft-0{}/schema#"
OBJECT: dict[str, Any] = {"type": "object", "properties": {"a": {}}}


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({**OBJECT, "dependencies": {"a": ["b"]}}, {"a": 1, "b": 1}, {"a": 1}),
        ({**OBJECT, "dependencies": {"a": {"minProperties": 2}}}, {"a": 1, "b": 1}, {"a": 1}),
        ({"$schema": DRAFT.format(7), **OBJECT, "dependencies": {"a": ["b"]}}, {}, {"a": 1}),
        ({"$schema": DRAFT.format(4), **OBJECT, "dependencies": {"a": ["b"]}}, {}, {"a": 1}),
        ({**OBJECT, "properties": {"a": {"minLength": 1.0}}}, {"a": "x"}, {"a": ""}),
        ({**OBJECT, "properties": {"a": {"minLength": 1.0, "nullable": True, "type": "string"}}},
         {"a": None}, {"a": ""}),
        ({"$schema": DRAFT.format(7), "type": "object", "properties": {"a": {"$ref": "#foo"}},
          "definitions": {"foo": {"$id": "#foo", "type": "integer"}}}, {"a": 1}, {"a": "x"}),
        ({"$schema": DRAFT.format(6), "type": "object", "nullable": False,
          "properties": {"a": {"$ref": "#foo"}},
          "definitions": {"foo": {"$id": "#foo", "type": "integer"}}}, {"a": 1}, {"a": "x"}),
        ({"$schema": DRAFT.format(4), "type": "object", "properties": {"a": {"$ref": "#foo"}},
          "definitions": {"foo": {"id": "#foo", "type": "integer"}}}, {"a": 1}, {"a": "x"}),
        ({"$schema": DRAFT.format(4), "type": "object",
          "properties": {"a": {"minimum": 1, "exclusiveMinimum": True}}}, {"a": 2}, {"a": 1}),
        ({"$schema": DRAFT.format(7), "type": "object",
          "properties": {"a": {"items": [{"type": "integer"}], "additionalItems": False}}},
         {"a": [1]}, {"a": [1, 2]}),
        # Draft 7 ignores what stands beside a reference.
        ({"$schema": DRAFT.format(7), "type": "object",
          "properties": {"a": {"$ref": "#/definitions/T", "maxLength": 1}},
          "definitions": {"T": {"type": "string"}}}, {"a": "long"}, {"a": 1}),
    ],
)  # fmt: skip
def test_json_schema_of_every_draft(schema: Any, valid: Any, invalid: Any) -> None:
    output = Output.of(schema)
    assert output.parse(json.dumps(valid)) == valid
    with pytest.raises(OutputValidationError):
        output.parse(json.dumps(invalid))


@pytest.mark.parametrize("target", [True, {"allOf": [{"$ref": "#/$defs/N"}]}])
def test_reference_to_a_schema_without_a_type(target: Any) -> None:
    output = Output.of({"$ref": "#/$defs/N", "$defs": {"N": target}})
    assert output.schema["properties"].keys() == {"value"}


def test_schemas_that_cannot_be_used_are_refused_in_words() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"not": deep}
    with pytest.raises(ValueError, match=r"output= .*more than 200 levels"):
        Output.of(deep)
    for _ in range(150):
        deep = deep["not"]
    with pytest.raises(ValueError, match=r"output= .*nested too deeply"):
        Output.of(deep)
    output = Output.of({"type": "object", "properties": {"a": {"$ref": "#/$defs/None"}}})
    with pytest.raises(OutputValidationError, match="unresolved reference"):
        output.parse('{"a": 1}')


def test_integer_of_thousands_of_digits_is_invalid_output() -> None:
    """Python refuses to read it, with an error that is not one of JSON."""
    with pytest.raises(OutputValidationError, match="4300 digits"):
        Output.of(Line).parse('{"text": "a", "count": ' + "9" * 5000 + "}")


def test_type_that_is_nested_too_deeply() -> None:
    deep: Any = int
    for _ in range(300):
        deep = list[deep]
    with pytest.raises(TypeError, match=r"^output= .*nested too deeply"):
        Output.of(deep)

    def dig(a: Any) -> None: ...

    dig.__annotations__["a"] = deep
    with pytest.raises(TypeError, match=r"dig\(\) .*nested too deeply"):
        tool(dig)


# --- Caching --------------------------------------------------------------------------------


class Shelf(BaseModel):
    books: int


@pytest.mark.parametrize(
    "create",
    [lambda: Shelf, lambda: list[Shelf], lambda: {"type": "object", "required": ["books"]}],
    ids=["model", "generic", "schema"],
)
def test_a_type_is_converted_once_and_its_schema_may_be_changed(
    create: Callable[[], Any],
) -> None:
    first = Output.of(create())
    expected = copy.deepcopy(first.schema)
    first.schema.clear()
    second = Output.of(create())
    second.schema.setdefault("properties", {})["other"] = {}
    third = Output.of(create())
    assert third.schema == expected
    assert third.validate is second.validate is first.validate


def test_a_changed_schema_is_converted_again() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    integers = Output.of(schema)
    schema["properties"]["n"]["type"] = "string"
    assert Output.of(schema).parse('{"n": "one"}') == {"n": "one"}
    assert integers.parse('{"n": 1}') == {"n": 1}
    schema["properties"]["n"]["type"] = "integer"
    assert Output.of(schema).parse('{"n": 1}') == {"n": 1}


def test_a_rebuilt_model_is_converted_again() -> None:
    class Box(BaseModel):
        size: int

    assert Output.of(list[Box]).parse('[{"size": 1}]')[0].size == 1
    Box.model_fields["size"].annotation = str
    Box.model_rebuild(force=True)
    assert Output.of(Box).parse('{"size": "XL"}').size == "XL"
    assert Output.of(list[Box]).parse('[{"size": "XL"}]')[0].size == "XL"


def test_equal_types_that_differ_in_order_are_not_confused() -> None:
    assert Output.of(tuple[()]).parse("[]") == ()
    assert Output.of(tuple).parse("[1]") == (1,)
    assert Output.of(Literal["a", "b"]).schema["properties"]["value"]["enum"] == ["a", "b"]
    assert Output.of(Literal["b", "a"]).schema["properties"]["value"]["enum"] == ["b", "a"]
    assert Output.of(list[int | str]).parse('["1"]') == ["1"]
