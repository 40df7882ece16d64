"""Types of messages made again from their description in a file, to hold what is typed by hand against them."""

from __future__ import annotations

import ast
import keyword
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any, ForwardRef, Literal, Union
from uuid import UUID

__all__ = ["type_of"]

_PLAIN: dict[str, Any] = {
    "Any": Any,
    "bool": bool,
    "int": int,
    "float": float,
    "str": str,
    "bytes": bytes,
    "datetime": datetime,
    "time": time_of_day,
    "date": date,
    "timedelta": timedelta,
    "UUID": UUID,
    "Decimal": Decimal,
}


def type_of(schema: Mapping[str, Any]) -> Any:
    """Make a type that msgspec knows, and whose messages are those of the type that was described.

    Args:
        schema: What the file says: ``type`` and ``types``, as `samemap.typeinfo` writes them. Nothing in it is trusted.

    Returns:
        The type; ``Any`` for what cannot be made again, which then takes everything.

    Example:
        >>> import msgspec
        >>> pose = type_of({"type": "Pose", "types": {"Pose": {"x": "float", "tags": "list[str] | None"}}})
        >>> msgspec.json.decode(b'{"x": 1, "tags": ["a"]}', type=pose)
        Pose(x=1.0, tags=['a'])
        >>> msgspec.json.decode(b'{"x": "far"}', type=pose)
        Traceback (most recent call last):
        msgspec.ValidationError: Expected `float`, got `str` - at `$.x`
    """
    import msgspec

    types = schema.get("types")
    maker = _Types(types if isinstance(types, dict) else {})
    try:
        kind = maker.tied(maker.of(str(schema.get("type", "Any"))))
        # Finds out whether it makes sense.
        msgspec.json.Decoder(kind)
    except (NameError, RecursionError, SyntaxError, TypeError, ValueError):
        return Any
    return kind


class _Types:
    def __init__(self, forms: Mapping[str, Any]) -> None:
        self._forms = forms
        self._made: dict[str, Any] = {}
        self._begun: set[str] = set()

    def tied(self, kind: Any) -> Any:
        """Return a type, now that its classes can find each other: msgspec looks among what a class has."""
        for made in self._made.values():
            for name, other in self._made.items():
                setattr(made, self._reference(name).__forward_arg__, other)
        return kind

    def _reference(self, name: str) -> ForwardRef:
        # No field is called that.
        return ForwardRef(f"_samemap_type_{list(self._forms).index(name)}")

    def of(self, text: str) -> Any:
        return self._spelled(ast.parse(text, mode="eval").body)

    def _spelled(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=None):
                return None
            case ast.Name(id=name):
                return _PLAIN[name] if name in _PLAIN and name not in self._forms else self._class(name)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                # Not with |: some of these are no classes.
                return Union[self._spelled(left), self._spelled(right)]  # noqa: UP007
            case ast.Subscript(value=ast.Name(id="Literal"), slice=values):
                found = values.elts if isinstance(values, ast.Tuple) else [values]
                return Literal[tuple(ast.literal_eval(value) for value in found)]
            case ast.Subscript(value=ast.Name(id=name), slice=inner):
                parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
                return self._collection(name, parts)
        return Any

    def _collection(self, name: str, parts: list[ast.expr]) -> Any:
        if name == "tuple":
            is_endless = len(parts) == 2 and isinstance(parts[1], ast.Constant) and parts[1].value is Ellipsis
            made: Any = tuple
            first = self._spelled(parts[0])
            return made[first, ...] if is_endless else made[(first, *map(self._spelled, parts[1:]))]
        if name == "dict" and len(parts) == 2:
            return dict[self._spelled(parts[0]), self._spelled(parts[1])]  # type: ignore[misc] # not before it runs
        known: dict[str, Any] = {"list": list, "set": set}
        return known[name][self._spelled(parts[0])] if name in known else Any

    def _class(self, name: str) -> Any:
        if name not in self._forms:
            return Any
        if name not in self._made:
            if name in self._begun:
                # In itself, as in a tree.
                return self._reference(name)
            self._begun.add(name)
            self._made[name] = self._struct(name, self._forms[name])
        return self._made[name]

    def _struct(self, name: str, form: Any) -> Any:
        import msgspec

        fields: list[Any] = []
        renamed: dict[str, str] = {}
        tagged: dict[str, Any] = {}
        for place, (field, text) in enumerate(dict(form).items()):
            node = ast.parse(str(text), mode="eval").body
            if place == 0 and (tag := _tag(node)) is not None:
                tagged = {"tag": tag, "tag_field": field}
                continue
            attribute = field if field.isidentifier() and not keyword.iskeyword(field) else f"field_{place}"
            renamed[attribute] = field
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "NotRequired":
                spelled: Any = self._spelled(node.slice)
                kind: Any = Union.__getitem__((spelled, msgspec.UnsetType))
                fields.append((attribute, kind, msgspec.UNSET))
            else:
                fields.append((attribute, self._spelled(node)))
        in_order = isinstance(form, list)
        return msgspec.defstruct(
            name, fields, rename=renamed, array_like=in_order, forbid_unknown_fields=True, kw_only=True, **tagged
        )


def _tag(node: ast.expr) -> str | int | None:
    """Return the one value that a field can have by which classes are told apart."""
    match node:
        case ast.Subscript(value=ast.Name(id="Literal"), slice=ast.Constant(value=str() | int() as value)):
            return value
    return None
