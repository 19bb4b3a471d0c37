# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""A validation error as lines a person can act on: key, value, expectation, and the nearest key there is."""

import difflib
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

_EXPECTED = {
    "string_type": "a text in quotes",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "tuple_type": "a list, such as [ … ]",
    "model_type": "a section with keys of its own",
    "path_type": "a path in quotes",
    "too_short": "a list with at least one entry",
    "string_pattern_mismatch": "letters, digits, '.', '_', '-', beginning with a letter or digit",
}


def findings_of(error: ValidationError, model: type[BaseModel], inline_rows: int) -> list[str]:
    """One line per error. Rows of ``switch`` from ``inline_rows`` on came from the inventory file."""
    details = error.errors(include_url=False)
    places = [detail["loc"] for detail in details]
    return [
        _line(detail, model, inline_rows)
        for detail in details
        # A list whose items are wrong is also "too short" to the validator; the items are the news.
        if not (detail["type"] == "too_short" and any(p[:-1] == detail["loc"] for p in places))
    ]


def _line(detail: ErrorDetails, model: type[BaseModel], inline_rows: int) -> str:
    where = _where(detail["loc"], inline_rows)
    kind = detail["type"]
    if kind == "extra_forbidden":
        nearest = difflib.get_close_matches(str(detail["loc"][-1]), _keys(_model_at(model, detail["loc"][:-1])), 1, 0.5)
        hint = f'; did you mean "{nearest[0]}"?' if nearest else ""
        return f"{where}: unknown key{hint}"
    if kind == "missing":
        return f"{where}: missing; {_required(model, detail['loc'])}"
    expected = _EXPECTED.get(kind) or detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if isinstance(detail["input"], dict):
        return f"{where}: {expected}"
    return f"{where} = {_shown(detail['input'])}: expected {expected}"


def _where(loc: tuple[int | str, ...], inline_rows: int) -> str:
    parts: list[str] = []
    for part in loc:
        if isinstance(part, int):
            if parts == ["switch"] and part >= inline_rows:
                parts = [f"inventory row {part - inline_rows + 1}"]
            else:
                parts[-1] += f"[{part}]"
        else:
            parts.append(part)
    return ".".join(parts)


def _shown(value: object) -> str:
    text = repr(value).replace("'", '"')
    return text if len(text) <= 60 else text[:57] + "…"


def _keys(model: type[BaseModel] | None) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_at(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    for part in loc:
        if isinstance(part, str) and model is not None:
            found = next((f for n, f in model.model_fields.items() if part in {n, f.alias}), None)
            model = _section(found.annotation) if found else None
    return model


def _section(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for m in map(_section, get_args(annotation)) if m is not None), None)


def _required(model: type[BaseModel], loc: tuple[int | str, ...]) -> str:
    if loc[-1] == "mode":
        return 'say "automatic", "manual" or "dry-run"'
    section = _model_at(model, loc)
    if section is not None:
        required = [f.alias or n for n, f in section.model_fields.items() if f.is_required()]
        return f"a section [{loc[-1]}] with {', '.join(required)}"
    return "it must be said"
