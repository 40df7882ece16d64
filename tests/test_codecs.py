"""Codecs: what becomes of objects on their way through bytes, what is refused, and what is not copied."""

from __future__ import annotations

import datetime
import pickle
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, NotRequired, TypedDict

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from isolated import succeed

from samemap import codecs, dtypes
from samemap.codecs import BytesCodec, Codec, MsgspecCodec, NumpyCodec, PickleCodec

RECORD = np.dtype([("id", "u4"), ("position", "f8", (3,)), ("inner", [("flag", "?"), ("time", "M8[us]")])])


def message(codec: Codec, value: object) -> bytes:
    """Encode, and put the parts together, as a slot would have them."""
    encoded = codec.encode(value)
    parts = encoded if isinstance(encoded, tuple) else (encoded,)
    return b"".join(memoryview(part).tobytes() for part in parts)


def there_and_back(codec: Codec, value: object) -> Any:
    return codec.decode(message(codec, value))


def grows(memory: bytearray) -> bool:
    """Tell whether nothing has the memory exported any more."""
    try:
        memory.append(0)
    except BufferError:
        return False
    memory.pop()
    return True


class TestImporting:
    def test_importing_codecs_loads_nothing_heavy(self) -> None:
        loaded = succeed(
            """
            import sys
            before = set(sys.modules)
            import samemap.codecs
            print(*set(sys.modules) - before)
            """
        ).split()
        assert not {"numpy", "pickle", "msgspec", "json", "typing", "struct", "re"} & set(loaded)

    def test_each_codec_loads_only_what_it_needs(self) -> None:
        loaded = succeed("import sys; from samemap.codecs import choose; choose(); print(*sys.modules)").split()
        assert not {"numpy", "pickle", "msgspec", "json"} & set(loaded)
        loaded = succeed(
            "import sys; from samemap.codecs import choose; choose(codec='pickle'); print(*sys.modules)"
        ).split()
        assert not {"numpy", "msgspec"} & set(loaded)

    @pytest.mark.parametrize(
        ("missing", "call", "cure"),
        [
            ("numpy", "choose(shape=3)", "pip install 'samemap[numpy]'"),
            ("numpy", "BytesCodec().array(b'x')", "pip install 'samemap[numpy]'"),
            ("msgspec", "choose(type=dict)", "pip install 'samemap[typed]'"),
            ("msgspec", "recorded({'codec': 'msgspec', 'type': 'int', 'types': {}}, 'Topic')", "samemap[typed]"),
        ],
    )
    def test_what_is_missing_is_named_with_its_cure(self, missing: str, call: str, cure: str) -> None:
        told = succeed(
            f"""
            import sys
            sys.modules[{missing!r}] = None
            from samemap.codecs import *
            try:
                {call}
            except ModuleNotFoundError as error:
                print(error)
            """
        )
        assert cure in told


class TestBytes:
    codec = BytesCodec()

    @pytest.mark.parametrize(
        "value",
        [b"four", bytearray(b"four"), memoryview(b"four"), memoryview(b"fxoxuxrx")[::2], np.frombuffer(b"four", "u2")],
    )
    def test_anything_with_a_buffer_comes_back_as_bytes(self, value: object) -> None:
        assert there_and_back(self.codec, value) == b"four"

    def test_nothing_is_copied_that_is_in_one_piece(self) -> None:
        memory = bytearray(b"four")
        assert memoryview(self.codec.encode(memory)).obj is memory
        data = b"four"
        assert self.codec.encode(data) is data

    def test_arrays_are_sent_in_the_order_of_c(self) -> None:
        array = np.arange(6, dtype="u1").reshape(2, 3)
        assert message(self.codec, np.asfortranarray(array)) == bytes(range(6))
        assert message(self.codec, array[:, ::2]) == bytes([0, 2, 3, 5])

    def test_text_is_refused_with_the_cure(self) -> None:
        with pytest.raises(TypeError, match=r"'four'\.encode\(\)"):
            self.codec.encode("four")

    @pytest.mark.parametrize("value", [4, None, {"a": 1}, [1, 2]])
    def test_objects_are_refused_with_the_cure(self, value: object) -> None:
        with pytest.raises(TypeError, match=r"type=.*codec='pickle'") as caught:
            self.codec.encode(value)
        assert repr(value) in str(caught.value)

    def test_the_array_of_a_message_is_a_view_that_nobody_can_write_to(self) -> None:
        memory = bytearray(b"four")
        array = self.codec.array(memory)
        assert array.tobytes() == b"four"
        assert np.shares_memory(array, np.frombuffer(memory, "u1"))
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        assert self.codec.array(b"").shape == (0,)

    def test_a_frame_is_sealed_by_making_it_useless(self) -> None:
        memory = bytearray(4)
        frame = self.codec.frame(memory)
        frame[:] = b"four"
        view = frame[1:]
        self.codec.seal(frame)
        with pytest.raises(ValueError, match="released"):
            frame[0] = 1
        del view
        assert memory == b"four"
        assert grows(memory)

    def test_a_frame_that_is_in_use_is_left_alone(self) -> None:
        frame = self.codec.frame(bytearray(4))
        held = pickle.PickleBuffer(frame)
        self.codec.seal(frame)
        held.raw()[0] = 7
        assert frame[0] == 7


class TestArrays:
    @given(st.data())
    @settings(deadline=None)
    def test_every_dtype_and_shape_comes_back_as_it_was(self, data: st.DataObject) -> None:
        kinds = arrays.scalar_dtypes() | arrays.array_dtypes(allow_subarrays=True)
        dtype = data.draw(kinds.filter(lambda dtype: dtype.itemsize))
        array = data.draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_dims=3, max_side=3)))
        # The strategies have dtypes that are arrays themselves, whose axes the array has already.
        codec = NumpyCodec(array.shape, array.dtype)
        wire = message(codec, array)
        assert len(wire) == codec.size == array.nbytes
        back = codec.array(wire)
        # Titles do not travel, and have no part in the bytes.
        assert (back.dtype, back.shape) == (dtypes.rebuild(dtypes.describe(array.dtype)), array.shape)
        assert back.tobytes() == array.tobytes()
        many, count = codec.encode_many(np.stack([array, array, array]))
        assert (memoryview(many).nbytes, count) == (3 * codec.size, 3)

    def test_the_very_array_is_what_is_sent(self) -> None:
        codec = NumpyCodec((4, 5), "f4")
        array = np.zeros((4, 5), "f4")
        assert codec.encode(array) is array
        assert codec.encode_many(np.stack([array] * 3))[1] == 3
        big = np.zeros((3, 4, 5), "f4")
        assert codec.encode_many(big)[0] is big

    def test_dates_are_not_copied_either(self) -> None:
        codec = NumpyCodec(3, "M8[us]")
        array = np.array(["2024-01-01", "2024-01-02", "NaT"], "M8[us]")
        encoded = codec.encode(array)
        assert np.shares_memory(encoded, array)
        assert memoryview(encoded).nbytes == 24
        np.testing.assert_array_equal(there_and_back(codec, array), array)

    @pytest.mark.parametrize(
        "view",
        [
            lambda array: array[::2, ::-1],
            lambda array: np.asfortranarray(array[::2]),
            lambda array: array[::2].astype(">i4"),
            lambda array: np.ma.masked_array(array[::2]),
            lambda array: array[::2].astype("i2"),
        ],
    )
    def test_what_is_arranged_otherwise_is_put_right(self, view: Any) -> None:
        array = view(np.arange(24, dtype="i4").reshape(4, 6))
        codec = NumpyCodec(array.shape, "i4")
        encoded = codec.encode(array)
        assert encoded.flags.c_contiguous
        assert type(encoded) is np.ndarray
        np.testing.assert_array_equal(there_and_back(codec, array), array)

    @pytest.mark.parametrize(
        ("value", "shape", "dtype", "result"),
        [
            (3, (), "u1", 3),
            (3, (), "f4", 3.0),
            (True, (), "?", True),
            (True, (), "i4", 1),
            (0.1, (), "f4", np.float32(0.1)),
            (1 + 2j, (), "c8", 1 + 2j),
            ([1, 2, 3], (3,), "i2", [1, 2, 3]),
            ([[1, 2], [3.5, 4]], (2, 2), "f4", [[1, 2], [3.5, 4]]),
            (range(3), (3,), "i8", [0, 1, 2]),
            (b"abc", (3,), "u1", [97, 98, 99]),
            (bytearray(b"abc"), (3,), "u1", [97, 98, 99]),
            (b"abc", (), "S5", b"abc"),
            ("abc", (), "U5", "abc"),
            (["ab", "c"], (2,), "U2", ["ab", "c"]),
            (np.float32(2), (), "f8", 2.0),
            (np.uint8(2), (), "i2", 2),
            (2**63, (), "u8", 2**63),
            ("2024-01-01", (), "M8[s]", np.datetime64("2024-01-01")),
            (datetime.datetime(2024, 1, 1), (), "M8[us]", np.datetime64("2024-01-01")),
            (datetime.date(2024, 1, 1), (), "M8[us]", np.datetime64("2024-01-01")),
            (datetime.timedelta(seconds=2), (), "m8[ms]", np.timedelta64(2000, "ms")),
            (5, (), "m8[ms]", np.timedelta64(5, "ms")),
            (datetime.datetime(2024, 1, 1), (), "M8[D]", np.datetime64("2024-01-01")),
            ([datetime.date(2024, 1, 1), "NaT"], (2,), "M8[D]", ["2024-01-01", "NaT"]),
        ],
    )
    def test_what_loses_nothing_is_converted(self, value: object, shape: tuple[int], dtype: str, result: object) -> None:
        back = there_and_back(NumpyCodec(shape, dtype), value)
        np.testing.assert_array_equal(back, np.array(result, dtype))

    @pytest.mark.parametrize(
        ("value", "shape", "dtype", "names"),
        [
            (np.zeros(3), (3,), "f4", ["float64", "float32", "(3,)", "astype"]),
            (np.float64(1), (), "f4", ["float64", "float32"]),
            (np.zeros(3, "i8"), (3,), "i4", ["int64", "int32"]),
            (np.zeros(3, "i4"), (3,), "u4", ["int32", "uint32"]),
            (1.5, (), "i4", ["float64", "int32"]),
            (1.0, (), "i4", ["float64", "int32"]),
            (1j, (), "f4", ["complex128", "float32"]),
            (1, (), "?", ["int64", "bool"]),
            ("abc", (), "f4", ["<U3", "float32"]),
            ("abcdef", (), "U5", ["<U6", "<U5"]),
            (None, (), "f4", ["None", "float32"]),
            ({"a": 1}, (), "f4", ["{'a': 1}", "float32"]),
            (2**70, (), "u8", [str(2**70), "uint64"]),
            (datetime.datetime(2024, 1, 1, 5), (), "M8[D]", ["[us]", "[D]"]),
            (5, (), "M8[us]", ["int64", "datetime64[us]"]),
            (np.zeros(2, [("x", "f4")]), (2,), "f4", ["'x'", "float32"]),
            (np.zeros((), [("y", "f4")]), (), [("x", "f4")], ["'y'", "'x'"]),
        ],
    )
    def test_what_would_lose_something_is_refused_with_both_dtypes(
        self, value: object, shape: tuple[int], dtype: Any, names: Sequence[str]
    ) -> None:
        with pytest.raises(TypeError) as caught:
            NumpyCodec(shape, dtype).encode(value)
        assert all(name in str(caught.value) for name in names), caught.value

    @pytest.mark.parametrize(
        ("value", "dtype", "names"),
        [
            (256, "u1", ["uint8", "255", "256"]),
            (-1, "u4", ["uint32", "from 0", "-1"]),
            (1e39, "f4", ["float32", "1e+39"]),
            (70_000, "f2", ["float16", "70000"]),
        ],
    )
    def test_numbers_out_of_range_are_refused(self, value: object, dtype: str, names: Sequence[str]) -> None:
        for codec, given_ in ((NumpyCodec((), dtype), value), (NumpyCodec(2, dtype), [0, value])):
            with pytest.raises(ValueError, match=r".") as caught:
                codec.encode(given_)
            assert all(name in str(caught.value) for name in names), caught.value

    @pytest.mark.parametrize(
        "value", [np.zeros((3, 2), "f4"), np.zeros(6, "f4"), np.zeros((1, 2, 3), "f4"), [[1, 2, 3]], 5.0]
    )
    def test_another_shape_is_refused_with_both_and_nothing_is_broadcast(self, value: object) -> None:
        with pytest.raises(ValueError, match=r"\(2, 3\) and dtype float32, and this has shape") as caught:
            NumpyCodec((2, 3), "f4").encode(value)
        assert str(np.shape(value)) in str(caught.value)

    def test_infinite_numbers_are_no_error(self) -> None:
        assert there_and_back(NumpyCodec((), "f4"), float("inf")) == float("inf")
        assert np.isnan(there_and_back(NumpyCodec(2, "f4"), [float("nan"), 1])[0])

    def test_a_record_is_a_tuple_and_its_fields_lose_nothing(self) -> None:
        codec = NumpyCodec((), RECORD)
        moment = datetime.datetime(2024, 1, 1)
        value = there_and_back(codec, (7, [1, 2, 3], (True, moment)))
        assert type(value) is np.void
        assert value["id"] == 7
        assert value["position"].tolist() == [1, 2, 3]
        assert value["inner"]["time"] == np.datetime64(moment)
        with pytest.raises(ValueError, match=r"field 'id'.*uint32"):
            codec.encode((-1, [1, 2, 3], (True, moment)))
        with pytest.raises(TypeError, match=r"field 'inner': field 'flag'.*bool"):
            codec.encode((7, [1, 2, 3], (1.5, moment)))
        with pytest.raises(TypeError, match="tuple of id, position, inner"):
            codec.encode((7, [1, 2, 3]))
        with pytest.raises(ValueError, match=r"field 'position'.*\(3,\).*\(2,\)"):
            codec.encode((7, [1, 2], (True, moment)))

    def test_several_records_are_a_list_of_tuples(self) -> None:
        codec = NumpyCodec(2, [("x", "f4"), ("y", "f4")])
        assert there_and_back(codec, [(1, 2), (3, 4)])["y"].tolist() == [2, 4]
        with pytest.raises(ValueError, match="3 of what there must be 2"):
            codec.encode([(1, 2)] * 3)
        many, count = codec.encode_many([[(1, 2), (3, 4)]] * 5)
        assert (many.shape, count) == ((5, 2), 5)

    def test_what_lies_between_fields_is_not_leaked(self) -> None:
        codec = NumpyCodec((), {"names": ["a", "b"], "formats": ["u1", "u8"], "offsets": [3, 16], "itemsize": 32})
        assert message(codec, (255, 0)) == b"\0\0\0\xff" + bytes(28)

    @pytest.mark.parametrize("shape", [(), (2, 3)])
    def test_messages_are_read_only_views(self, shape: tuple[int, ...]) -> None:
        codec = NumpyCodec(shape, RECORD)
        memory = bytearray(codec.size)
        array = codec.array(memory)
        value = codec.decode(memory)
        assert np.shares_memory(array, np.frombuffer(memory, "u1"))
        memory[0] = 9
        assert array.flat[0]["id"] == np.asarray(value).flat[0]["id"] == 9
        for thing in (array, array["position"], value["position"]):
            assert not thing.flags.writeable
            with pytest.raises(ValueError, match="WRITEABLE"):
                thing.flags.writeable = True
        part = value["position"]
        del array, value, thing
        assert not grows(memory)
        del part
        assert grows(memory)

    def test_a_single_number_is_a_number(self) -> None:
        codec = NumpyCodec((), "f8")
        memory = bytearray(8)
        assert isinstance(codec.decode(memory), np.float64)
        assert codec.array(memory).shape == ()
        assert grows(memory)

    @pytest.mark.parametrize("length", [0, 23, 25, 48])
    def test_messages_of_another_length_are_refused(self, length: int) -> None:
        with pytest.raises(ValueError, match=rf"\(2, 3\).*float32.*24 bytes, not {length}"):
            NumpyCodec((2, 3), "f4").decode(bytes(length))

    def test_a_frame_is_written_in_place_and_sealed(self) -> None:
        codec = NumpyCodec((2, 3), "f4")
        memory = bytearray(codec.size)
        frame = codec.frame(memory)
        frame[:] = 1.5
        codec.seal(frame)
        assert codec.decode(memory).tolist() == [[1.5] * 3] * 2
        with pytest.raises(ValueError, match="read-only"):
            frame[:] = 2
        del frame
        assert grows(memory)
        with pytest.raises(TypeError, match="too small"):
            codec.frame(bytearray(codec.size - 1))

    def test_many_are_filled_in_through_the_buffer_protocol(self) -> None:
        codec = NumpyCodec((2, 3), "f4")
        source = np.arange(30, dtype="f4").reshape(5, 2, 3)
        rows, count = codec.encode_many(source)
        found = codec.empty(count)
        memoryview(found).cast("B")[:] = memoryview(rows).cast("B")
        np.testing.assert_array_equal(found, source)
        assert found.flags.writeable

    @pytest.mark.parametrize("values", [[], (), np.zeros((0, 2, 3), "f4")])
    def test_many_may_be_none(self, values: Any) -> None:
        rows, count = NumpyCodec((2, 3), "f4").encode_many(values)
        assert (rows.nbytes, count) == (0, 0)

    @pytest.mark.parametrize(
        ("values", "error", "told"),
        [
            (np.zeros((2, 3), "f4"), ValueError, r"\(2, 2, 3\).*\(2, 3\)"),
            (np.zeros((5, 3, 2), "f4"), ValueError, r"\(5, 2, 3\).*\(5, 3, 2\)"),
            (np.zeros((5, 2, 3)), TypeError, "float32.*float64"),
            (7, TypeError, r"\(n, 2, 3\).*float32.*int"),
            ((each for each in [1]), TypeError, r"\(n, 2, 3\).*generator"),
            ([np.zeros((2, 3), "f4"), np.zeros((3, 2), "f4")], ValueError, "."),
        ],
    )
    def test_many_of_another_kind_are_refused(self, values: Any, error: type[Exception], told: str) -> None:
        with pytest.raises(error, match=told):
            NumpyCodec((2, 3), "f4").encode_many(values)

    @pytest.mark.parametrize(
        ("shape", "dtype", "told"),
        [
            ((), object, "Python objects.*pickle"),
            ((), [("a", "i4"), ("b", [("c", "O")])], "Python objects.*pickle"),
            ((), "S", "no size"),
            ((), [], "no size"),
            ((0, 3), "f4", r"\(0, 3\).*no elements"),
            (-1, "f4", r"\(-1,\).*no elements"),
            ((1,) * 70, "f4", "dimension"),
            ((2**40, 2**40), "f4", "big|large"),
        ],
    )
    def test_what_cannot_be_shared_is_refused(self, shape: Any, dtype: Any, told: str) -> None:
        with pytest.raises(ValueError, match=told):
            NumpyCodec(shape, dtype)

    @pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="numpy has no strings of any length before 2.0")
    def test_strings_of_any_length_are_refused(self) -> None:
        with pytest.raises(ValueError, match="Python objects"):
            NumpyCodec((), np.dtypes.StringDType())

    @pytest.mark.parametrize("shape", ["3", 2.5, (2, None), True])
    def test_what_is_no_shape_is_refused(self, shape: Any) -> None:
        with pytest.raises(TypeError, match="shape is an integer or a tuple of integers"):
            NumpyCodec(shape, "f4")

    def test_a_dtype_that_is_an_array_adds_axes(self) -> None:
        codec = NumpyCodec(5, ("f4", (2, 3)))
        assert (codec.shape, codec.dtype, codec.size) == ((5, 2, 3), np.float32, 120)


class Kind(Enum):
    CAT = "cat"
    DOG = "dog"


class Pose(msgspec.Struct):
    x: float
    y: float
    name: str = ""


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


@dataclass
class Animal:
    kind: Kind
    born: datetime.date
    poses: dict[str, Pose]


class Point(NamedTuple):
    x: float
    y: float


class Options(TypedDict):
    speed: float
    label: NotRequired[str]


class Cat(msgspec.Struct, tag=True, array_like=True):
    lives: int


class Dog(msgspec.Struct, tag=True, array_like=True):
    tricks: list[str]


class TestTyped:
    @pytest.mark.parametrize(
        ("wanted", "value"),
        [
            (Pose, Pose(1.5, 2.5, "here")),
            (Node, Node(1, [Node(2), Node(3, [Node(4)])])),
            (Animal, Animal(Kind.CAT, datetime.date(2020, 2, 29), {"now": Pose(1, 2)})),
            (Point, Point(1.5, 2.5)),
            (Options, {"speed": 1.5}),
            (Options, {"speed": 1.5, "label": "fast"}),
            (dict[str, int], {"a": 1, "b": 2}),
            (list[Pose], [Pose(1, 2), Pose(3, 4)]),
            (set[int], {1, 2, 3}),
            (tuple[int, str], (1, "a")),
            (Cat | Dog, Dog(["sit"])),
            (int | str | None, "text"),
            (int | str | None, None),
            (Kind, Kind.DOG),
            (bytes, b"\0\xff"),
            (float, 1),
            (Any, {"anything": [1, 2.5, None, "text"]}),
            (None, {"anything": [1, 2.5, None, "text"]}),
        ],
    )
    def test_objects_come_back_as_they_were(self, wanted: Any, value: object) -> None:
        assert there_and_back(MsgspecCodec(wanted), value) == value

    def test_generic_types_come_back(self) -> None:
        found = MsgspecCodec(list[tuple[int, ...]])
        assert there_and_back(found, [(1, 2), ()]) == [(1, 2), ()]

    @pytest.mark.parametrize(
        ("wanted", "value", "names"),
        [
            (Pose, {"x": 1, "y": 2}, ["Pose", "dict", "msgspec.convert"]),
            (Pose, Point(1, 2), ["Pose", "Point"]),
            (Animal, Pose(1, 2), ["Animal", "Pose"]),
            (dict[str, int], [1], ["dict[str, int]", "list"]),
            (Cat | Dog, Pose(1, 2), ["Cat | Dog", "Pose"]),
            (int | None, "text", ["int | None", "'text'", "str"]),
            (Options, Pose(1, 2), ["Options", "Pose"]),
        ],
    )
    def test_what_is_not_of_the_type_is_refused_when_it_is_sent(
        self, wanted: Any, value: object, names: Sequence[str]
    ) -> None:
        with pytest.raises(TypeError) as caught:
            MsgspecCodec(wanted).encode(value)
        assert all(name in str(caught.value) for name in names), caught.value

    def test_what_msgspec_cannot_encode_is_refused_with_the_cure(self) -> None:
        with pytest.raises(TypeError, match=r"numpy\.float32.*codec='pickle'"):
            MsgspecCodec(Pose).encode(Pose(np.float32(1), 2))  # type: ignore[arg-type]

    def test_what_comes_and_is_not_of_the_type_is_refused_by_name(self) -> None:
        codec = MsgspecCodec(Pose)
        for wire in (
            msgspec.msgpack.encode({"x": "a", "y": 2}),
            message(codec, Pose(1, 2))[:-1],
            message(codec, Pose(1, 2)) + b"\0",
            b"",
            b"\xc1",
        ):
            with pytest.raises(msgspec.DecodeError, match="a message is no Pose: "):
                codec.decode(wire)
        with pytest.raises(msgspec.ValidationError, match=r"a message is no Pose: .*\$\.x"):
            codec.decode(msgspec.msgpack.encode({"x": "a", "y": 2}))

    @given(st.binary(max_size=60))
    def test_any_bytes_are_an_error_or_an_object(self, wire: bytes) -> None:
        for wanted in (Animal, Node, None):
            try:
                MsgspecCodec(wanted).decode(wire)
            except ValueError as error:
                assert "a message is no" in str(error)

    def test_messages_are_read_where_they_are(self) -> None:
        class Blob(msgspec.Struct):
            data: memoryview

        codec = MsgspecCodec(Blob)
        memory = bytearray(message(codec, Blob(memoryview(b"x" * 100))))
        blob = codec.decode(memoryview(memory).toreadonly())
        assert blob.data.readonly
        assert not grows(memory)
        del blob
        assert grows(memory)

    def test_types_without_bytes_are_refused_with_the_field_and_the_cure(self) -> None:
        class Frame(msgspec.Struct):
            image: np.ndarray  # type: ignore[type-arg]

        with pytest.raises(TypeError, match=r"field 'image' of Frame.*numpy\.ndarray.*codec='pickle'"):
            MsgspecCodec(Frame)
        with pytest.raises(TypeError, match="a message is of .*object"):
            MsgspecCodec(object)
        with pytest.raises(TypeError, match="'5' is not supported"):
            MsgspecCodec(5)

    def test_a_message_is_no_array(self) -> None:
        with pytest.raises(TypeError, match="'msgspec' is no array"):
            MsgspecCodec(Pose).array(b"")


class TestPickles:
    codec = PickleCodec()

    @pytest.mark.parametrize(
        "value",
        [
            None,
            {"a": [1, 2.5, "text", b"bytes", {3}]},
            Animal(Kind.DOG, datetime.date(2020, 1, 1), {}),
            pickle.PickleBuffer(b"small"),
            [bytearray(b"abc"), b"x" * 100_000],
        ],
    )
    def test_objects_come_back_as_they_were(self, value: object) -> None:
        assert there_and_back(self.codec, value) == (bytes(value) if isinstance(value, pickle.PickleBuffer) else value)

    @given(
        st.lists(
            arrays.arrays(
                arrays.scalar_dtypes() | arrays.array_dtypes(),
                arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
            ),
            max_size=4,
        )
    )
    @settings(deadline=None)
    def test_arrays_come_back_as_they_were(self, found: list[Any]) -> None:
        back = there_and_back(self.codec, found)
        # numpy's own pickles have empty dates in another byte order than they had.
        for there, here in zip(pickle.loads(pickle.dumps(found)), back, strict=True):
            assert (there.dtype, there.shape, there.tobytes()) == (here.dtype, here.shape, here.tobytes())

    def test_arrays_are_copied_neither_in_nor_out(self) -> None:
        image, noise = np.arange(1000, dtype="u1"), np.ones((30, 7), order="F")
        parts = self.codec.encode({"image": image, "again": image, "noise": noise})
        assert sum(np.shares_memory(np.frombuffer(part, "u1"), image) for part in parts if memoryview(part).nbytes) == 1
        assert sum(np.shares_memory(np.frombuffer(part, "u1"), noise) for part in parts if memoryview(part).nbytes) == 1

        memory = bytearray(b"".join(parts))
        whole = np.frombuffer(memory, "u1")
        found = self.codec.decode(memory)
        assert found["again"] is found["image"]
        assert found["noise"].flags.f_contiguous
        for array in (found["image"], found["noise"]):
            assert np.shares_memory(array, whole)
            assert not array.flags.writeable
            assert (array.ctypes.data - whole.ctypes.data) % 64 == 0
            with pytest.raises(ValueError, match="WRITEABLE"):
                array.flags.writeable = True
        del whole, array
        view = found["image"][10:20]
        del found
        assert not grows(memory)
        assert view.tolist() == list(range(10, 20))
        del view
        assert grows(memory)

    def test_nothing_is_held_when_there_is_nothing_to_see(self) -> None:
        memory = bytearray(message(self.codec, {"a": b"x" * 1000}))
        assert self.codec.decode(memory) == {"a": b"x" * 1000}
        assert grows(memory)

    def test_arrays_with_gaps_come_back_without(self) -> None:
        array = np.arange(20).reshape(4, 5)[::2, ::3]
        np.testing.assert_array_equal(there_and_back(self.codec, array), array)

    def test_what_cannot_be_pickled_raises_what_pickle_raises(self) -> None:
        for value in (lambda: None, sys.stdout, (each for each in []), pickle.PickleBuffer(memoryview(b"gaps")[::2])):
            try:
                pickle.dumps(value, protocol=5)
            except Exception as error:
                with pytest.raises(type(error)) as caught:
                    self.codec.encode(value)
                assert str(caught.value).split(" at 0x")[0] == str(error).split(" at 0x")[0]

    def test_the_layout_is_what_the_module_says(self) -> None:
        wire = message(self.codec, [np.arange(3, dtype="u1"), np.arange(5, dtype="u1")])
        count, length, first, first_length, second, second_length = struct.unpack_from("<6Q", wire)
        assert (count, first_length, second_length) == (2, 3, 5)
        assert (first % 64, second, len(wire)) == (0, first + 64, second + 5)
        assert wire[first : first + 3] == bytes(range(3))
        assert wire[second:] == bytes(range(5))
        assert wire[48:50] == b"\x80\x05"
        assert not any(wire[48 + length : first])

    @given(st.data())
    @settings(max_examples=300)
    def test_damaged_headers_are_errors(self, data: st.DataObject) -> None:
        wire = message(self.codec, [np.arange(300, dtype="u1"), np.arange(70, dtype="u1"), np.zeros(0)])
        size = 16 * 4
        place = data.draw(st.integers(0, size - 1))
        damage = data.draw(
            st.integers(1, 255).map(lambda bits: bytes([wire[place] ^ bits]))
            | st.binary(min_size=1, max_size=size - place)
            | st.sampled_from([b"\xff" * 8, bytes(8)]).map(lambda bits: bits[: size - place])
        )
        changed = wire[:place] + damage + wire[place + len(damage) :]
        if changed == wire:
            return
        # numpy tells when a buffer is only as much too long as there is padding.
        with pytest.raises(ValueError, match=r"damaged|cannot reshape|size"):
            self.codec.decode(changed)

    def test_every_cut_is_an_error(self) -> None:
        for value in ([np.arange(100, dtype="u1")], "no buffer"):
            wire = message(self.codec, value)
            for length in range(len(wire)):
                with pytest.raises(ValueError, match="damaged"):
                    self.codec.decode(wire[:length])
            with pytest.raises(ValueError, match="damaged"):
                self.codec.decode(wire + b"\0")

    def test_a_header_that_promises_the_world_takes_no_memory(self) -> None:
        for count, length in ((2**64 - 1, 0), (0, 2**64 - 1), (2**60, 2**60), (1, 2**64 - 1)):
            with pytest.raises(ValueError, match="no room"):
                self.codec.decode(struct.pack("<QQ", count, length) + bytes(100))

    def test_a_message_is_no_array(self) -> None:
        with pytest.raises(TypeError, match="'pickle' is no array"):
            self.codec.array(b"")


class TestChoosing:
    @pytest.mark.parametrize(
        ("options", "name", "room"),
        [
            ({}, "bytes", 64 << 10),
            ({"max_message": 100}, "bytes", 100),
            ({"codec": "bytes"}, "bytes", 64 << 10),
            ({"shape": (480, 640, 3), "dtype": "u1"}, "numpy", 480 * 640 * 3),
            ({"shape": 3}, "numpy", 24),
            ({"shape": ()}, "numpy", 8),
            ({"dtype": "f4"}, "numpy", 4),
            ({"dtype": ("f4", 3), "codec": "numpy"}, "numpy", 12),
            ({"type": Pose}, "msgspec", 64 << 10),
            ({"type": dict[str, int], "codec": "msgspec", "max_message": 10}, "msgspec", 10),
            ({"codec": "msgspec"}, "msgspec", 64 << 10),
            ({"codec": "pickle", "max_message": 1 << 20}, "pickle", 1 << 20),
        ],
    )
    def test_options_choose(self, options: dict[str, Any], name: str, room: int) -> None:
        codec, size = codecs.choose(**options)
        assert (codec.name, size) == (name, room)
        assert codec.size == (room if name == "numpy" else None)
        assert codec.schema()["codec"] == name

    @pytest.mark.parametrize(
        ("options", "told"),
        [
            ({"shape": 3, "type": Pose}, "shape= makes no sense with type="),
            ({"shape": 3, "dtype": "f4", "codec": "pickle"}, "shape= and dtype= makes no sense with codec='pickle'"),
            ({"dtype": "f4", "codec": "msgspec"}, "dtype= makes no sense with codec='msgspec'"),
            ({"type": Pose, "codec": "pickle"}, "type= makes no sense with codec='pickle'"),
            ({"type": Pose, "codec": "bytes"}, "type= makes no sense with codec='bytes'"),
            ({"codec": "json"}, "codec='json' is none of 'bytes', 'numpy', 'msgspec', 'pickle'"),
            ({"codec": "numpy"}, "say shape= and dtype="),
            ({"shape": 3, "max_message": 100}, "max_message=100 makes no sense with shape="),
            ({"max_message": 0}, "max_message=0 leaves no room"),
            ({"max_message": -5, "codec": "pickle"}, "max_message=-5 leaves no room"),
        ],
    )
    def test_what_makes_no_sense_together_is_named(self, options: dict[str, Any], told: str) -> None:
        with pytest.raises(ValueError, match=r".") as caught:
            codecs.choose(**options)
        assert told in str(caught.value)

    @pytest.mark.parametrize("most", [1.5, "100"])
    def test_a_size_is_a_whole_number(self, most: Any) -> None:
        with pytest.raises(TypeError, match="integer"):
            codecs.choose(max_message=most)

    def test_descriptions_that_are_too_long_are_refused(self) -> None:
        long = [(f"field_number_{n}", "f8") for n in range(200)]
        with pytest.raises(ValueError, match=r"description.*\d{4} bytes.*room for 3600.*fewer fields"):
            codecs.choose(dtype=long)
        assert codecs.choose(dtype=long[:100])[1] == 800
        with pytest.raises(ValueError, match=r"description.*bytes"):
            codecs.choose(type=msgspec.defstruct("Long", [(f"field_number_{n}", float) for n in range(200)]))
