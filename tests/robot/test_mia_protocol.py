"""The hand's serial line, against lines and commands written out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot.mia_protocol import (
    COUNT_LIMITS,
    GAUGES,
    GRASPS,
    KEEP_ALIVE,
    MOTORS,
    Acknowledgement,
    GarbledLineError,
    Reading,
    Stream,
    close_grasp_command,
    decode,
    encode,
    force_command,
    grasp_reference_command,
    open_grasp_command,
    part_grasp_command,
    position_command,
    speed_command,
    stream_command,
)

POSITIONS = b"enc : +00120 ; +00085 ; -00030 ; +00000"
"""As an independent program for the hand (found on GitHub) matches them."""


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (position_command("j_thumb_fle", 120, 40), "@1P+012040......"),
        (position_command("j_index_fle", -7, 99), "@3P-000799......"),
        (speed_command("j_mrl_fle", -5), "@2S-....0550...."),
        (force_command("j_thumb_fle", 30), "@1F+....3080...."),
        (open_grasp_command("cylindrical"), "@AGCa10050......"),
        (close_grasp_command("tridigital"), "@AGTA10050......"),
        (part_grasp_command("pinch", 35), "@AGPM03550......"),
        (grasp_reference_command("lateral", "j_thumb_fle", 20, 110, 15), "@1GL+020+110+015"),
        (stream_command(Stream.POSITION, on=True), "@ADP1..........."),
        (stream_command(Stream.GAUGE, on=False), "@ADA0..........."),
    ],
)
def test_commands_are_the_makers(command, text):
    assert command == text
    assert encode(command) == text.encode() + b"*\r"


@given(
    st.sampled_from(MOTORS).flatmap(lambda motor: st.tuples(st.just(motor), st.integers(*COUNT_LIMITS[motor]))),
    st.integers(1, 99),
    st.sampled_from(sorted(GRASPS)),
)
def test_every_command_has_sixteen_characters_and_an_end(motor_and_counts, percent, grasp):
    motor, counts = motor_and_counts
    commands = [
        position_command(motor, counts, percent),
        speed_command(motor, percent - 50),
        force_command(motor, percent),
        part_grasp_command(grasp, percent),
        grasp_reference_command(grasp, motor, counts, counts, percent),
        KEEP_ALIVE,
    ]
    for command in commands:
        assert len(encode(command)) == 18


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: position_command("j_thumb_fle", -1, 50),
        lambda: position_command("j_index_fle", 256, 50),
        lambda: position_command("j_index_fle", 0, 0),
        lambda: position_command("j_ring_fle", 0, 50),
        lambda: speed_command("j_index_fle", 91),
        lambda: speed_command("j_index_fle", 9, 81),
        lambda: close_grasp_command("hook"),
        lambda: part_grasp_command("pinch", 101),
        lambda: encode("@short"),
        lambda: encode("1P+012040.......@"[:16]),
    ],
)
def test_what_the_hand_would_misunderstand_is_not_written(wrong):
    with pytest.raises(ValueError, match=r"must lie between|has no motor|knows no grasp|is not a command"):
        wrong()


def test_streams_are_read_at_the_makers_places():
    assert decode(POSITIONS) == Reading(Stream.POSITION, (120, 85, -30))
    assert decode(b"spe : -00012 ; +00034 ; +00000") == Reading(Stream.SPEED, (-12, 34, 0))
    assert decode(b"cur : +00512 ; +01024 ; -00003\r") == Reading(Stream.CURRENT, (512, 1024, -3))
    gauges = b"adc : " + b" ; ".join(b"%+06d" % (100 * k) for k in range(1, 9))
    assert decode(gauges) == Reading(Stream.GAUGE, (100, 200, 300, 400, 500, 600))
    assert len(GAUGES) == 6


def test_acknowledgements_belong_to_their_command():
    reply = decode(b"<?AreYouPlugged?")
    assert isinstance(reply, Acknowledgement)
    assert reply.answers(KEEP_ALIVE)
    assert not reply.answers(stream_command(Stream.POSITION, on=True))


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(line):
    try:
        reply = decode(line)
    except GarbledLineError:
        return
    assert isinstance(reply, Acknowledgement | Reading)


@given(st.integers(0, len(POSITIONS) - 12))
def test_truncated_lines_are_garbled(length):
    with pytest.raises(GarbledLineError):
        decode(POSITIONS[:length])


@given(st.sampled_from([6, *range(8, 12), 15, *range(17, 21), 24, *range(26, 30)]), st.sampled_from(b"xX;:#\x00\x80"))
def test_lines_with_a_strange_byte_in_a_field_are_garbled(place, byte):
    line = bytearray(POSITIONS)
    line[place] = byte
    with pytest.raises(GarbledLineError):
        decode(bytes(line))
