"""Shared by the APIs of Amazon Bedrock: the names of models."""

from __future__ import annotations

import re
from urllib.parse import quote

from ..http.client import endpoint_url

# The parts of a model's name that say how LiteLLM should call it.
_PREFIX = re.compile(r"(converse_like|converse|invoke|[a-z]{2}(?:-[a-z]+)+-[0-9])/")

_OPERATION = re.compile(
    r"/model/(?:(?:us|us-gov|eu|apac|ap|au|ca|in|jp|me|sa|global)\.)?([^/?]+)/[^/?]+(?=\?|$)"
)


def split_model_id(model_id: str) -> tuple[list[str], str]:
    """Return LiteLLM's prefixes of a name, such as `converse` or a region, and the rest.

    Example:
        >>> split_model_id("converse/us-east-1/amazon.nova-pro-v1:0")
        (['converse', 'us-east-1'], 'amazon.nova-pro-v1:0')
    """
    prefixes: list[str] = []
    while match := _PREFIX.match(model_id):
        prefixes.append(match[1])
        model_id = model_id[match.end() :]
    return prefixes, model_id


def count_url(url: str) -> str:
    """Return the URL that counts the tokens of a request to the URL of a model.

    CountTokens rejects inference profiles (pydantic/pydantic-ai#3367), so their prefix is removed.

    Example:
        >>> count_url("https://host/model/eu.amazon.nova-pro-v1%3A0/converse-stream")
        'https://host/model/amazon.nova-pro-v1%3A0/count-tokens'
    """
    return _OPERATION.sub(r"/model/\1/count-tokens", url)


def model_lists(url: str) -> tuple[str, ...]:
    """Return the URLs of the lists of models and inference profiles, for that of a request.

    Example:
        >>> model_lists("https://bedrock-runtime.us-east-1.amazonaws.com/model/m/converse")[0]
        'https://bedrock.us-east-1.amazonaws.com/foundation-models'
    """
    root = re.sub(r"/model/[^/]+/[^/]+$", "", url).replace("//bedrock-runtime.", "//bedrock.", 1)
    return f"{root}/foundation-models", f"{root}/inference-profiles?maxResults=1000"


def model_url(base_url: str, model_id: str, operation: str) -> str:
    """Return the URL of an operation on a model. Names and ARNs are percent-encoded.

    Example:
        >>> model_url("https://host", "amazon.nova-pro-v1:0", "converse-stream")
        'https://host/model/amazon.nova-pro-v1%3A0/converse-stream'
    """
    _, name = split_model_id(model_id)
    return endpoint_url(base_url, f"/model/{quote(name, safe='')}/{operation}")
