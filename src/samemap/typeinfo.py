"""What Python's types are, as JSON: the types of messages, written down and compared field by field.

``type`` is how the type is spelled; ``types`` has each class that is spelled by its name. One whose messages are maps
is an object, of types by field; one whose messages are arrays is a list of ``[field, type]``. A tag is a field, too.
"""

from __future__ import annotations

import re

# Not from typing, whose import alone costs as much as the interpreter's own start.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, TypedDict

    class Described(TypedDict):
        """A type, written down."""

        type: str
        types: dict[str, object]


__all__ = ["checked", "classes_of", "describe", "differences"]

#: How msgspec's descriptions of types without parameters are spelled. What is one thing in a message is spelled alike.
_PLAIN = {
    "AnyType": "Any",
    "RawType": "Any",
    "NoneType": "None",
    "BoolType": "bool",
    "IntType": "int",
    "FloatType": "float",
    "StrType": "str",
    "BytesType": "bytes",
    "ByteArrayType": "bytes",
    "MemoryViewType": "bytes",
    "DateTimeType": "datetime",
    "TimeType": "time",
    "DateType": "date",
    "TimeDeltaType": "timedelta",
    "UUIDType": "UUID",
    "DecimalType": "Decimal",
    "ExtType": "Ext",
}
_COLLECTIONS = {
    "ListType": "list[{}]",
    "SetType": "set[{}]",
    "FrozenSetType": "set[{}]",
    "VarTupleType": "tuple[{}, ...]",
}
_CLASSES = ("StructType", "DataclassType", "NamedTupleType", "TypedDictType")

#: What is encoded as such a type; what is not listed may be anything.
_ACCEPTED: dict[str, tuple[type, ...]] = {
    "NoneType": (type(None),),
    "BoolType": (bool,),
    "IntType": (int,),
    "FloatType": (float, int),
    "StrType": (str,),
    "BytesType": (bytes, bytearray, memoryview),
    "ByteArrayType": (bytes, bytearray, memoryview),
    "MemoryViewType": (bytes, bytearray, memoryview),
    "DictType": (dict,),
    "TypedDictType": (dict,),
    **dict.fromkeys([*_COLLECTIONS, "TupleType"], (list, tuple, set, frozenset)),
}


def describe(wanted: object) -> Described:
    """Write a type down.

    Args:
        wanted: Any type that msgspec has bytes for.

    Returns:
        ``type`` and ``types``, of nothing but what JSON has.

    Raises:
        TypeError: msgspec has no bytes for it, or for something in it.

    Example:
        >>> from collections import namedtuple
        >>> from typing import TypedDict
        >>> describe(TypedDict("Pose", {"x": float, "tags": list[str]}))
        {'type': 'Pose', 'types': {'Pose': {'x': 'float', 'tags': 'list[str]'}}}
        >>> describe(dict[str, int | None])
        {'type': 'dict[str, int | None]', 'types': {}}
    """
    import msgspec.inspect

    spelling = _Spelling()
    return {"type": spelling.of(msgspec.inspect.type_info(wanted)), "types": spelling.types}


def checked(description: Mapping[str, object]) -> Described:
    """Take of a file's schema what describes a type.

    Args:
        description: The schema; nothing in it is trusted.

    Returns:
        What `describe` would have returned.

    Raises:
        ValueError: It describes no type.
    """
    name, types = description.get("type"), description.get("types")
    if not isinstance(name, str) or not isinstance(types, dict):
        raise ValueError(f"{dict(description)!r} describes no type")
    for form in types.values():
        _fields(form)
    return {"type": name, "types": types}


def classes_of(wanted: object) -> tuple[type, ...] | None:
    """Return of what classes values are that are sent as a type; ``None`` when they may be of any.

    Example:
        >>> classes_of(dict[str, int] | None)
        (<class 'dict'>, <class 'NoneType'>)
    """
    import msgspec.inspect

    return _classes(msgspec.inspect.type_info(wanted))


def _classes(info: Any) -> tuple[type, ...] | None:
    kind = type(info).__name__
    if kind == "Metadata":
        return _classes(info.type)
    if kind == "UnionType":
        found = [_classes(each) for each in info.types]
        return None if None in found else tuple(dict.fromkeys(each for classes in found for each in classes or ()))
    if kind in _CLASSES and kind != "TypedDictType":
        # A generic one with its parameters is no class, and has one.
        return (getattr(info.cls, "__origin__", info.cls),)
    return _ACCEPTED.get(kind)


class _Spelling:
    """Spells types, and collects the classes that it meets on the way."""

    def __init__(self) -> None:
        self.types: dict[str, object] = {}
        self._names: dict[object, str] = {}

    def of(self, info: Any, where: str = "") -> str:
        kind = type(info).__name__
        if kind in _PLAIN:
            return _PLAIN[kind]
        if kind in _COLLECTIONS:
            return _COLLECTIONS[kind].format(self.of(info.item_type, where))
        if kind in _CLASSES:
            return self._class(info, kind)
        if kind == "Metadata":
            return self.of(info.type, where)
        if kind == "TupleType":
            return f"tuple[{', '.join(self.of(each, where) for each in info.item_types)}]"
        if kind == "DictType":
            return f"dict[{self.of(info.key_type, where)}, {self.of(info.value_type, where)}]"
        if kind == "UnionType":
            # In one order everywhere, because it means nothing.
            return " | ".join(
                sorted((self.of(each, where) for each in info.types), key=lambda text: (text == "None", text))
            )
        if kind == "LiteralType":
            return _literal(info.values)
        if kind == "EnumType":
            return _literal(each.value for each in info.cls)
        raise TypeError(
            f"{where or 'a message'} is of {getattr(info, 'cls', kind)}, which msgspec has no bytes for: make it of "
            "Python's own types; or send an array with shape= and dtype=, or any object with codec='pickle'"
        )

    def _class(self, info: Any, kind: str) -> str:
        known = self._names.get(info.cls)
        if known is not None:
            return known
        name = self._names[info.cls] = self._free_name(getattr(info.cls, "__name__", str(info.cls)))
        # Reserved before the fields are seen, one of which may be of this class.
        self.types[name] = None
        fields: list[tuple[str, str]] = []
        if getattr(info, "tag", None) is not None:
            fields.append((info.tag_field, _literal([info.tag])))
        members = info.fields
        if kind == "TypedDictType":
            # msgspec has them in no order that would be the same in every process.
            order = {name: place for place, name in enumerate(info.cls.__annotations__)}
            members = sorted(members, key=lambda field: order.get(field.name, len(order)))
        for field in members:
            text = self.of(field.type, f"field {field.name!r} of {name}")
            # Only of a dictionary can a field be missing in the message itself.
            optional = kind == "TypedDictType" and not field.required
            fields.append((field.encode_name, f"NotRequired[{text}]" if optional else text))
        in_order = kind == "NamedTupleType" or getattr(info, "array_like", False)
        self.types[name] = [list(each) for each in fields] if in_order else dict(fields)
        return name

    def _free_name(self, name: str) -> str:
        name = "".join(re.findall(r"\w+", name)) or "type"
        taken = {*self._names.values(), *_PLAIN.values(), "list", "set", "tuple", "dict", "Literal", "NotRequired"}
        numbers = iter(range(2, len(taken) + 3))
        free = name
        while free in taken:
            free = f"{name}_{next(numbers)}"
        return free


def _literal(values: Any) -> str:
    return f"Literal[{', '.join(sorted(map(repr, values)))}]"


def differences(found: Described, asked: Described) -> list[str]:
    """Tell where two types differ.

    Names of classes do not count: what they are made of does.

    Args:
        found: The one in the file, `checked`.
        asked: The one that the caller insists on.

    Returns:
        A line for each difference; none when messages of one can be read as the other.

    Example:
        >>> from typing import TypedDict
        >>> here, there = TypedDict("Pose", {"x": float}), TypedDict("Position", {"x": int})
        >>> differences(describe(here), describe(there))
        ["field 'x': float in the file, int asked for"]
        >>> differences(describe(here), describe(TypedDict("Position", {"x": float})))
        []
    """
    here, there = found["type"], found["types"]
    ours, wanted = asked["type"], asked["types"]
    if (here, there) == (ours, wanted) or _by_place(here, there) == _by_place(ours, wanted):
        return []
    lines = []
    if here not in there or ours not in wanted:
        lines += [f"type: {here} in the file, {ours} asked for"] if here != ours else []
    else:
        lines += _field_differences("", there[here], wanted[ours])
    for name in there:
        if name in wanted and not name == here == ours:
            lines += _field_differences(f" of {name}", there[name], wanted[name])
    # Only the names of classes that fields have could tell more.
    return lines or [f"type: {here} of {there} in the file, {ours} of {wanted} asked for"]


def _field_differences(of: str, found: object, asked: object) -> list[str]:
    here, ours = _fields(found), _fields(asked)
    lines = [
        f"field {name!r}{of}: {here.get(name, 'missing')} in the file, "
        + (f"{ours[name]} asked for" if name in ours else "not asked for")
        for name in {**here, **ours}
        if here.get(name) != ours.get(name)
    ]
    if isinstance(found, list) != isinstance(asked, list):
        forms = {True: "an array", False: "a map"}
        lines.append(
            f"a message{of}: {forms[isinstance(found, list)]} in the file, {forms[isinstance(asked, list)]} asked for"
        )
    elif isinstance(found, list) and not lines and list(here) != list(ours):
        lines.append(f"order of the fields{of}: {', '.join(here)} in the file, {', '.join(ours)} asked for")
    return lines


def _fields(form: object) -> dict[str, str]:
    try:
        return {str(name): str(kind) for name, kind in dict(form).items()}  # type: ignore[call-overload]
    except (TypeError, ValueError):
        raise ValueError(f"{form!r} describes no fields") from None


def _by_place(root: str, types: dict[str, object]) -> list[object]:
    """Return a description in which classes are numbers, in the order in which they are met."""
    places = {name: f"#{place}" for place, name in enumerate(types)}

    def swapped(text: str) -> str:
        return re.sub(r"\w+", lambda word: places.get(word[0], word[0]), text)

    forms = []
    for form in types.values():
        fields = [(name, swapped(kind)) for name, kind in _fields(form).items()]
        # The order in which a map has its fields means nothing.
        forms.append((True, fields) if isinstance(form, list) else (False, sorted(fields)))
    return [swapped(root), forms]
