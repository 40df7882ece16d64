"""Codecs: what becomes of objects on their way through bytes, what is refused, and what is not copied."""

from __future__ import annotations

import datetime
import pickle
import struct
from collections.abc import Sequence
from contextlib import suppress
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
from messages import grows, message, there_and_back

from samemap import codecs
from samemap.codecs import BytesCodec, MsgspecCodec, PickleCodec


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
        assert not {"numpy", "pickle", "msgspec", "json", "typing", "re"} & set(loaded)

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
            with pytest.raises(ValueError, match="a message is no Pose: ") as caught:
                codec.decode(wire)
            assert isinstance(caught.value.__cause__, msgspec.DecodeError)
        with pytest.raises(ValueError, match=r"a message is no Pose: .*\$\.x"):
            codec.decode(msgspec.msgpack.encode({"x": "a", "y": 2}))

    @given(st.binary(max_size=60))
    def test_any_bytes_are_an_error_or_an_object(self, wire: bytes) -> None:
        for wanted in (Animal, Node, None):
            with suppress(ValueError):
                MsgspecCodec(wanted).decode(wire)

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
        with pytest.raises(TypeError, match=r"a message is of .*object"):
            MsgspecCodec(object)
        with pytest.raises(TypeError, match="'5' is not supported"):
            MsgspecCodec(5)

    def test_a_message_is_no_array(self) -> None:
        with pytest.raises(TypeError, match="'msgspec' is no array"):
            MsgspecCodec(Pose).array(b"")


class Broken:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ZeroDivisionError


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
                # numpy's own pickles lose the byte order now and then, where it is not the machine's.
                (arrays.scalar_dtypes() | arrays.array_dtypes()).map(lambda dtype: dtype.newbyteorder("=")),
                arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5),
            ),
            max_size=4,
        )
    )
    @settings(deadline=None)
    def test_arrays_come_back_as_they_were(self, found: list[Any]) -> None:
        back = there_and_back(self.codec, found)
        for there, here in zip(found, back, strict=True):
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
        with pytest.raises(TypeError, match="cannot pickle 'generator' object"):
            self.codec.encode(each for each in [1])
        with pytest.raises(pickle.PicklingError, match="non-contiguous buffer"):
            self.codec.encode(pickle.PickleBuffer(np.arange(9)[::2]))
        with pytest.raises(ZeroDivisionError):
            self.codec.encode(Broken())

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

    def test_a_pickle_does_not_reach_into_the_padding(self) -> None:
        wire = bytearray(message(self.codec, [np.arange(300, dtype="u1")]))
        _, length, first, _ = struct.unpack_from("<4Q", wire)
        assert first > 32 + length
        for wrong in (0, length - 1, length + 1):
            struct.pack_into("<Q", wire, 8, wrong)
            with pytest.raises(ValueError, match="damaged"):
                self.codec.decode(wire)

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
            ({"default": "pickle"}, "pickle", 64 << 10),
            ({"default": "pickle", "codec": "bytes"}, "bytes", 64 << 10),
            ({"default": "pickle", "shape": 3}, "numpy", 24),
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
