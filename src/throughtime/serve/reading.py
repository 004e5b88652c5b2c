"""Requests as bytes to values: JSON that is strict, and measured before anything is made of it.

Python's `json` takes any depth up to a crash of its own kind, repeated keys, NaN and half
surrogates, and makes fifty bytes of every `[]`. So brackets and commas are counted in the bytes
first. What the values mean is in `schemas`.
"""

import json
import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from throughtime.formats import _check_tree, _finite, _unique, plain
from throughtime.serve.limits import DEPTH, VALUES
from throughtime.serve.refusals import Refusal

# Never goes back, and takes a string without an end as one, so that it reads each byte once.
_STRINGS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

Model = TypeVar("Model", bound=BaseModel)


def read_json(content: bytes) -> Any:
    """Return the JSON value in bytes.

    Args:
        content: UTF-8 text, whose length the caller has bounded.

    Raises:
        Refusal: it is no JSON, repeats a key, holds a number that is not finite or half a
            character, or has more values or levels than `limits` allow.

    Example:
        >>> read_json(b'{"a": [1, null]}')
        {'a': [1, None]}
    """
    quotes = content.count(b'"') - content.count(b'\\"')
    if quotes > 4 * VALUES:
        raise Refusal(
            "malformed", f"expected at most {VALUES:,} values in a request, got more strings"
        )
    _measure(_STRINGS.sub(b"", content))
    try:
        value = json.loads(
            content.decode(),
            object_pairs_hook=_unique,
            parse_float=_finite,
            parse_constant=_finite,
        )
        if b"\\u" in content:
            _check_tree(value)
    except (ValueError, RecursionError) as error:
        raise Refusal(
            "malformed", f"expected strict JSON, got {plain(str(error), longest=200)}"
        ) from None
    return value


def read_model(content: bytes, model: type[Model]) -> Model:
    """Return the JSON value in bytes as what a request must be.

    Raises:
        Refusal: it is no JSON, or another thing.
    """
    value = read_json(content)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise Refusal("invalid", why_invalid(first, "the body")) from None


def why_invalid(error: Any, whole: str) -> str:
    """Say in one line what the first thing is that does not fit.

    Args:
        error: one of those that pydantic lists.
        whole: what it is in where it has no place of its own.
    """
    place = ".".join(str(part) for part in error["loc"]) or whole
    return (
        f"expected what /openapi.json describes, got {plain(place, longest=200)} of another kind: "
        f"{plain(str(error['msg']), longest=200)}"
    )


def _measure(skeleton: bytes) -> None:
    """Refuse JSON without its strings that would become too much."""
    opened = skeleton.count(b"[") + skeleton.count(b"{")
    values = 1 + opened + skeleton.count(b",")
    if values > VALUES:
        raise Refusal(
            "malformed", f"expected at most {VALUES:,} values in a request, got up to {values:,}"
        )
    if opened <= DEPTH:
        return
    if skeleton.count(b"]") + skeleton.count(b"}") > opened:
        raise Refusal("malformed", "expected strict JSON, got brackets that close nothing")
    depth = 0
    for byte in skeleton.translate(None, _NO_BRACKETS):
        depth += 1 if byte in b"[{" else -1
        if depth > DEPTH:
            raise Refusal("malformed", f"expected at most {DEPTH} levels of JSON, got more")
