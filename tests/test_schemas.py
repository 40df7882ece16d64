"""What a file says about its messages: written down, read by another process, compared with what is asked for."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from isolated import succeed

from samemap import SegmentMismatch, codecs, dtypes, typeinfo
from samemap.codecs import MsgspecCodec, NumpyCodec, recorded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def through_a_file(schema: Any) -> dict[str, object]:
    """Bring a schema on the way that it goes."""
    return codecs.read(json.dumps(schema))


def schema_of(**options: Any) -> dict[str, object]:
    return through_a_file({**codecs.choose(**options)[0].schema(), "slots": 8, "max_message": 65536})


def refusal(schema: dict[str, object], **asked: Any) -> str:
    with pytest.raises(SegmentMismatch) as caught:
        recorded(schema, "Topic 'cam'", **asked)
    return str(caught.value)


class TestDtypes:
    @given((arrays.scalar_dtypes() | arrays.array_dtypes(allow_subarrays=True)).filter(lambda dtype: dtype.itemsize))
    @settings(deadline=None)
    def test_every_dtype_is_made_again_from_its_description(self, dtype: np.dtype[Any]) -> None:
        dtype = dtype.base
        found = dtypes.rebuild(json.loads(json.dumps(dtypes.describe(dtype))))
        assert found.itemsize == dtype.itemsize
        assert found.names == dtype.names
        assert dtypes.describe(found) == dtypes.describe(dtype)
        assert not dtypes.differences(found, dtype)
        if not any(len(field) > 2 for field in (dtype.fields or {}).values()) and dtype.names is None:
            assert found == dtype

    @pytest.mark.parametrize(
        "dtype",
        [
            np.dtype(">c16"),
            np.dtype("M8[25us]"),
            np.dtype("M8"),
            np.dtype("U7"),
            np.dtype("V3"),
            np.dtype("g"),
            np.dtype([("a", "i1"), ("b", ">f8")], align=True),
            np.dtype({"names": ["b", "a"], "formats": ["f4", "i2"], "offsets": [8, 2], "itemsize": 20}),
            np.dtype({"names": ["all", "low"], "formats": ["u4", "u2"], "offsets": [0, 0]}),
            np.dtype([("a", [("b", "f4", (2, 3)), ("c", "S5")], 4), ("d", "?")], align=True),
            np.dtype((np.record, [("x", "f4")])),
            np.dtype({"names": [], "formats": [], "itemsize": 8}),
            np.dtype([("näme", "f4"), ("with space", "f4"), ('"', "f4")]),
        ],
        ids=str,
    )
    def test_layout_is_kept_to_the_byte(self, dtype: np.dtype[Any]) -> None:
        found = dtypes.rebuild(json.loads(json.dumps(dtypes.describe(dtype))))
        assert found == dtype
        assert found.isalignedstruct == dtype.isalignedstruct
        assert found.itemsize == dtype.itemsize

    def test_another_process_makes_the_same(self) -> None:
        dtype = np.dtype([("id", "u4"), ("inner", [("time", "M8[us]"), ("m", ">f4", (2, 2))], 3)], align=True)
        codec = NumpyCodec(2, dtype)
        array = np.frombuffer(np.random.default_rng(1).bytes(codec.size), dtype)
        told = succeed(
            """
            import sys
            from samemap.codecs import read, recorded
            codec = recorded(read(sys.argv[1]), "Topic")
            print(repr(codec.decode(bytes.fromhex(sys.argv[2]))))
            """,
            json.dumps(codec.schema()),
            array.tobytes().hex(),
        )
        assert told.strip() == repr(array)

    def test_titles_are_left_out(self) -> None:
        titled = np.dtype([(("the title", "x"), "f4")])
        codec = NumpyCodec(3, titled)
        assert codec.dtype == np.dtype([("x", "f4")])
        assert memoryview(codec.encode(np.ones(3, titled))).nbytes == 12
        assert not dtypes.differences(codec.dtype, titled)

    def test_dtypes_that_numpy_does_not_have_are_refused(self) -> None:
        # As those of ml_dtypes are: numpy has text for them, and makes something else of it.
        class Foreign:
            names, hasobject, itemsize, str, isalignedstruct = None, False, 2, "<V2", False

            def __str__(self) -> str:
                return "bfloat16"

        with pytest.raises(ValueError, match=r"bfloat16.*array\.view\(\)"):
            dtypes.refuse_unshareable(Foreign())  # type: ignore[arg-type]

    @given(JSON)
    def test_any_json_is_a_dtype_or_a_value_error(self, description: object) -> None:
        for each in (description, {"fields": description, "size": 8}, {"fields": [["a", description, 0]], "size": 8}):
            with suppress(ValueError):
                assert dtypes.rebuild(each).itemsize > 0

    @pytest.mark.parametrize(
        "description",
        [
            "|O",
            "|O8",
            "O",
            "f4,f4",
            "i4, (2,3)f8",
            "float32",
            "<f3",
            "|S0",
            "<f4\n",
            {"fields": [["a", "|O8", 0]], "size": 8},
            {"fields": [["a", "<f4", -4]], "size": 8},
            {"fields": [["a", "<f4", 6]], "size": 8},
            {"fields": [["a", "<f4", 2**70]], "size": 8},
            {"fields": [["a", "<f4", 0], ["a", "<f4", 4]], "size": 8},
            {"fields": [["a", "<f4", 0, [2**40, 2**40]]], "size": 8},
            {"fields": [["a", "<f4", 0, [-1]]], "size": 8},
            {"fields": [["a", "<f4", 1]], "size": 8, "aligned": True},
            {"fields": [], "size": 0},
            {"fields": [["a", "<f4", 0]], "size": 2**70},
        ],
        ids=repr,
    )
    def test_damaged_descriptions_are_refused(self, description: object) -> None:
        with pytest.raises(ValueError, match="describes no dtype"):
            dtypes.rebuild(description)


class TestArraysAsRecorded:
    schema = schema_of(shape=(1080, 1920, 3), dtype="u1")
    records = schema_of(dtype=[("id", "u4"), ("x", "f4"), ("pose", [("x", "f4"), ("y", "f4")], 2)])

    @pytest.mark.parametrize(
        "asked",
        [
            {},
            {"shape": (1080, 1920, 3)},
            {"dtype": "u1"},
            {"dtype": np.uint8, "shape": [1080, 1920, 3], "codec": "numpy"},
            {"codec": "numpy"},
            {"dtype": ("u1", (1080, 1920, 3))},
        ],
    )
    def test_what_agrees_is_opened(self, asked: dict[str, Any]) -> None:
        codec = recorded(self.schema, "Topic 'cam'", **asked)
        assert isinstance(codec, NumpyCodec)
        assert (codec.shape, codec.dtype) == ((1080, 1920, 3), np.uint8)

    def test_shape_and_dtype_are_compared(self) -> None:
        assert refusal(self.schema, shape=(720, 1280, 3), dtype="f4").splitlines() == [
            "Topic 'cam' disagrees with what was asked for:",
            "  dtype: uint8 in the file, float32 asked for",
            "  shape: (1080, 1920, 3) in the file, (720, 1280, 3) asked for",
            "open it without shape= and dtype= to take it as it is, or give yours another name",
        ]
        assert "open it without dtype= to take" in refusal(self.schema, dtype=">u2")
        assert "shape: (1080, 1920, 3) in the file, () asked for" in refusal(self.schema, shape=())
        assert "shape: (1080, 1920, 3) in the file, (3,)" in refusal(self.schema, dtype=("u1", 3))

    def test_fields_are_compared_one_by_one(self) -> None:
        asked = [("id", "u4"), ("x", "f8"), ("pose", [("x", "f4"), ("z", "f4")], 2), ("w", "M8[us]")]
        assert refusal(self.records, dtype=asked).splitlines()[1:-1] == [
            "  field 'x': float32 at byte 4 in the file, float64 at byte 4 asked for",
            "  field 'pose': record of 8 bytes of shape (2,) at byte 8 in the file, "
            "record of 8 bytes of shape (2,) at byte 12 asked for",
            "  field 'pose.x': float32 at byte 8 in the file, float32 at byte 12 asked for",
            "  field 'pose.y': float32 at byte 12 in the file, not asked for",
            "  field 'pose.z': missing in the file, float32 at byte 16 asked for",
            "  field 'w': missing in the file, datetime64[us] at byte 28 asked for",
        ]

    def test_byte_order_padding_and_order_are_compared(self) -> None:
        found = schema_of(dtype=[("x", "f4"), ("y", "i2")])
        assert "field 'x': float32 at byte 0 in the file, >f4 at byte 0 asked for" in refusal(
            found, dtype=[("x", ">f4"), ("y", "i2")]
        )
        padded = np.dtype([("x", "f4"), ("y", "i2")], align=True)
        assert "bytes of a record: 6 in the file, 8 asked for" in refusal(found, dtype=padded)
        turned = {"names": ["y", "x"], "formats": ["i2", "f4"], "offsets": [4, 0]}
        assert "order of the fields: x, y in the file, y, x asked for" in refusal(found, dtype=turned)
        assert "dtype: record of 6 bytes in the file, float32 asked for" in refusal(found, dtype="f4")

    @pytest.mark.parametrize(
        "damage",
        [
            {"shape": None},
            {"shape": "3"},
            {"shape": [0]},
            {"shape": [2**70]},
            {"shape": [-3]},
            {"shape": [1.5]},
            {"shape": [1] * 100},
            {"dtype": "|O8"},
            {"dtype": None},
            {"dtype": {}},
        ],
        ids=repr,
    )
    def test_damage_is_a_mismatch_that_names_the_thing(self, damage: dict[str, object]) -> None:
        assert "Topic 'cam' has a damaged description" in refusal({**self.schema, **damage})
        missing = dict(self.schema)
        del missing[next(iter(damage))]
        assert "Topic 'cam' has a damaged description" in refusal(missing)

    def test_mistakes_in_what_is_asked_are_no_mismatch(self) -> None:
        with pytest.raises(TypeError, match="nonsense"):
            recorded(self.schema, "Topic 'cam'", dtype="nonsense")
        with pytest.raises(ValueError, match="Python objects") as caught:
            recorded(self.schema, "Topic 'cam'", dtype=object)
        assert type(caught.value) is ValueError
        with pytest.raises(ValueError, match="shape= makes no sense with type="):
            recorded(self.schema, "Topic 'cam'", shape=3, type=int)


class Position(msgspec.Struct):
    x: float
    y: float


class Pose(msgspec.Struct):
    position: Position
    angle: float
    label: str | None = None


class Tree(msgspec.Struct):
    branches: list[Tree] = []


class InOrder(NamedTuple):
    x: float
    y: float


class InTurn(NamedTuple):
    y: float
    x: float


class Described(TypedDict):
    zeta: float
    alpha: NotRequired[int]
    mid: Literal["b", "a"]


class Tagged(msgspec.Struct, tag_field="kind", tag="t", rename="camel"):
    first_name: str


class TestTypes:
    @pytest.mark.parametrize(
        ("wanted", "described"),
        [
            (dict[str, list[int]], {"type": "dict[str, list[int]]", "types": {}}),
            (tuple[int, ...] | None, {"type": "tuple[int, ...] | None", "types": {}}),
            (tuple[int, bytes], {"type": "tuple[int, bytes]", "types": {}}),
            (
                Pose,
                {
                    "type": "Pose",
                    "types": {
                        "Pose": {"position": "Position", "angle": "float", "label": "str | None"},
                        "Position": {"x": "float", "y": "float"},
                    },
                },
            ),
            (Tree, {"type": "Tree", "types": {"Tree": {"branches": "list[Tree]"}}}),
            (InOrder, {"type": "InOrder", "types": {"InOrder": [["x", "float"], ["y", "float"]]}}),
            (
                list[Described],
                {
                    "type": "list[Described]",
                    "types": {"Described": {"zeta": "float", "alpha": "NotRequired[int]", "mid": "Literal['a', 'b']"}},
                },
            ),
            (Tagged, {"type": "Tagged", "types": {"Tagged": {"kind": "Literal['t']", "firstName": "str"}}}),
            (str | None | int, {"type": "int | str | None", "types": {}}),
            (Any, {"type": "Any", "types": {}}),
        ],
    )
    def test_types_are_written_down_in_the_same_way_everywhere(self, wanted: Any, described: Any) -> None:
        assert json.dumps(typeinfo.describe(wanted)) == json.dumps(described)
        found = MsgspecCodec(described=through_a_file(MsgspecCodec(wanted).schema()))
        assert not found.differences(MsgspecCodec(wanted))

    def test_classes_of_one_name_are_told_apart(self) -> None:
        other = msgspec.defstruct("Position", [("lat", float)])
        both = msgspec.defstruct("Both", [("a", Position), ("b", other)])
        assert typeinfo.describe(both)["types"] == {
            "Both": {"a": "Position", "b": "Position_2"},
            "Position": {"x": "float", "y": "float"},
            "Position_2": {"lat": "float"},
        }
        assert typeinfo.describe(msgspec.defstruct("int", [("a", int)]))["type"] == "int_2"

    @pytest.mark.parametrize("how", ["struct", "dataclass", "TypedDict"])
    def test_what_a_class_is_called_and_made_of_does_not_count(self, how: str) -> None:
        @dataclass
        class Where:
            x: float
            y: float

        class Whereabouts(TypedDict):
            y: float
            x: float

        struct = msgspec.defstruct("Where", [("y", float), ("x", float)])
        where = {"struct": struct, "dataclass": Where, "TypedDict": Whereabouts}[how]
        same = msgspec.defstruct("Other", [("position", where), ("angle", float), ("label", str | None)])
        codec = recorded(schema_of(type=Pose), "Topic 'pose'", type=same)
        wire = MsgspecCodec(Pose).encode(Pose(Position(1, 2), 3))
        assert codec.decode(wire).angle == 3

    def test_fields_are_compared_one_by_one(self) -> None:
        asked = msgspec.defstruct(
            "Pose", [("position", msgspec.defstruct("Position", [("x", int)])), ("label", str), ("extra", int)]
        )
        assert refusal(schema_of(type=Pose), type=asked).splitlines() == [
            "Topic 'cam' disagrees with what was asked for:",
            "  field 'angle': float in the file, not asked for",
            "  field 'label': str | None in the file, str asked for",
            "  field 'extra': missing in the file, int asked for",
            "  field 'x' of Position: float in the file, int asked for",
            "  field 'y' of Position: float in the file, not asked for",
            "open it without type= to take it as it is, or give yours another name",
        ]

    def test_maps_arrays_and_their_order_are_compared(self) -> None:
        assert "a message: an array in the file, a map asked for" in refusal(schema_of(type=InOrder), type=Position)
        assert "order of the fields: x, y in the file, y, x asked for" in refusal(schema_of(type=InOrder), type=InTurn)

    def test_types_without_fields_are_compared(self) -> None:
        assert "type: dict[str, int] in the file, list[int] asked for" in refusal(
            schema_of(type=dict[str, int]), type=list[int]
        )
        assert "type: Any in the file, Pose asked for" in refusal(schema_of(codec="msgspec"), type=Pose)
        assert "field 'x' of Position: float in the file, int asked for" in refusal(
            schema_of(type=list[Position]), type=list[msgspec.defstruct("Position", [("x", int), ("y", float)])]
        )

    def test_without_the_type_objects_are_plain(self) -> None:
        schema = schema_of(type=Pose)
        codec = recorded(schema, "Topic 'pose'")
        wire = MsgspecCodec(Pose).encode(Pose(Position(1, 2), 3))
        assert codec.decode(wire) == {"position": {"x": 1.0, "y": 2.0}, "angle": 3.0, "label": None}
        assert {**schema, **codec.schema()} == schema
        assert isinstance(recorded(schema, "Topic 'pose'", type=Pose).decode(wire), Pose)

    @given(JSON, JSON)
    def test_any_json_is_a_type_or_a_mismatch(self, one: object, other: object) -> None:
        for damage in ({"type": one}, {"types": one}, {"types": {"Pose": one}}, {"type": one, "types": other}):
            for asked in ({}, {"type": Pose}):
                with suppress(SegmentMismatch):
                    recorded({**schema_of(type=Pose), **damage}, "Topic 'pose'", **asked)


class TestOtherCodecs:
    def test_bytes_are_bytes(self) -> None:
        schema = schema_of()
        assert recorded(schema, "Topic").name == recorded(schema, "Topic", codec="bytes").name == "bytes"

    def test_pickles_must_be_asked_for(self) -> None:
        schema = schema_of(codec="pickle")
        assert recorded(schema, "Topic", codec="pickle").name == "pickle"
        told = refusal(schema)
        assert "Topic 'cam' has messages that are pickles" in told
        assert "codec='pickle'" in told
        assert "open it with codec='pickle', or give yours another name" in refusal(schema, type=Pose)

    def test_or_the_file_must_be_trusted(self) -> None:
        schema = schema_of(codec="pickle")
        assert recorded(schema, "Queue", trusted=True).name == "pickle"
        assert recorded(schema_of(), "Queue", trusted=True).name == "bytes"
        assert "open it without type= to take it as it is" in refusal(schema, type=Pose, trusted=True)

    @pytest.mark.parametrize(
        ("found", "asked", "line"),
        [
            ({}, {"shape": 3}, "codec: bytes in the file, numpy asked for"),
            ({}, {"codec": "pickle"}, "codec: bytes in the file, pickle asked for"),
            ({"shape": 3, "dtype": "f4"}, {"codec": "bytes"}, "codec: numpy (shape (3,), dtype float32) in the file"),
            ({"type": Pose}, {"dtype": "f4"}, "codec: msgspec (type Pose) in the file, numpy asked for"),
            ({"codec": "pickle"}, {"codec": "bytes"}, "codec: pickle in the file, bytes asked for"),
        ],
    )
    def test_codecs_are_compared(self, found: dict[str, Any], asked: dict[str, Any], line: str) -> None:
        assert f"\n  {line}" in refusal(schema_of(**found), **asked)

    @pytest.mark.parametrize("name", [None, "json", 7, ["bytes"], {}])
    def test_codecs_that_this_version_does_not_know_are_refused(self, name: object) -> None:
        told = refusal({"codec": name})
        assert repr(name) in told
        assert "bytes, numpy, msgspec, pickle" in told

    def test_a_file_that_says_nothing_is_refused(self) -> None:
        assert "codec None" in refusal({})

    @pytest.mark.parametrize("text", ["", "[]", "7", "{", "null", "[" * 5000])
    def test_what_is_no_json_object_is_refused(self, text: str) -> None:
        with pytest.raises(SegmentMismatch, match="a schema is a JSON object"):
            codecs.read(text)

    @pytest.mark.parametrize("options", [{}, {"shape": 3}, {"type": Pose}, {"codec": "pickle"}])
    def test_a_schema_is_not_changed_by_being_read(self, options: dict[str, Any]) -> None:
        schema = schema_of(**options)
        before = copy.deepcopy(schema)
        codec = recorded(schema, "Topic", codec=schema["codec"])  # type: ignore[arg-type] # any text
        assert schema == before
        assert {**schema, **through_a_file(codec.schema())} == schema
