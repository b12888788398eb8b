"""Structured output: `complete(model, prompt, output=Invoice).parsed` is an `Invoice`.

`Output` holds the JSON Schema that a response must match and parses responses; `ParsedMessage` is a
response with its parsed value. Requests without `output=` never import this package.
"""

from .schema import Output, OutputMode, OutputValidationError, ParsedMessage

__all__ = ["Output", "OutputMode", "OutputValidationError", "ParsedMessage"]
