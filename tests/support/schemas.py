# SPDX-FileCopyrightText: the Sentinel authors
# SPDX-License-Identifier: Apache-2.0
"""The part of JSON Schema that our own OpenAPI text uses; a keyword beyond it is an error."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

Schema = Mapping[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_WORDS = {"description", "default", "enum", "format", "pattern", "minimum", "maximum", "oneOf", "$ref"}
_KNOWN = _WORDS | {"type", "properties", "required", "additionalProperties", "items"}


def faults(value: object, schema: Schema, root: Schema, where: str = "$") -> list[str]:
    """Return what is wrong with ``value``, by path."""
    unknown = set(schema) - _KNOWN
    if unknown:
        raise ValueError(f"schema at {where} uses {unknown}, which nobody checks")
    if "$ref" in schema:
        return faults(value, resolve(schema["$ref"], root), root, where)
    if "oneOf" in schema:
        fitting = [each for each in schema["oneOf"] if not faults(value, each, root, where)]
        return [] if len(fitting) == 1 else [f"{where}: fits {len(fitting)} of oneOf"]
    wrong = _type_fault(value, schema, where) or _scalar_faults(value, schema, where)
    if wrong:
        return wrong
    if isinstance(value, dict):
        return _object_faults(value, schema, root, where)
    if isinstance(value, list):
        return [
            each
            for index, item in enumerate(value)
            for each in faults(item, schema.get("items", {}), root, f"{where}[{index}]")
        ]
    return []


def resolve(reference: str, root: Schema) -> Schema:
    """Return what a ``$ref`` within the same document points to."""
    found: Any = root
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found  # type: ignore[no-any-return]  # JSON has no better type


def _type_fault(value: object, schema: Schema, where: str) -> list[str]:
    wanted = schema.get("type")
    if wanted is None:
        return []
    names = [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)):
            return []
    return [f"{where}: {type(value).__name__}, expected {wanted}"]


def _scalar_faults(value: object, schema: Schema, where: str) -> list[str]:
    wrong = []
    if "enum" in schema and value not in schema["enum"]:
        wrong.append(f"{where}: {value!r} not in enum")
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            wrong.append(f"{where}: {value!r} does not match")
        if schema.get("format") == "date-time" and not _is_time(value):
            wrong.append(f"{where}: {value!r} is no time")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        wrong.append(f"{where}: {value!r} out of bounds")
    return wrong


def _is_time(value: str) -> bool:
    try:
        return value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _object_faults(value: dict[str, object], schema: Schema, root: Schema, where: str) -> list[str]:
    known: Mapping[str, Schema] = schema.get("properties", {})
    wrong = [f"{where}: {key} is missing" for key in schema.get("required", ()) if key not in value]
    more = schema.get("additionalProperties", True)
    for key, each in value.items():
        if key in known:
            wrong += faults(each, known[key], root, f"{where}.{key}")
        elif more is False:
            wrong.append(f"{where}: {key} is not described")
        elif isinstance(more, dict):
            wrong += faults(each, more, root, f"{where}.{key}")
    return wrong
