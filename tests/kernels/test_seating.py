"""Where the columns of a matrix sit while method ``block`` makes a sweep: what the planner says (csrc/seating.cpp), and
what kernels make of it (kernels/block_seating.h)."""

import ctypes

import pytest
from metal_harness import zeros

SEATS = 64


def seat_columns(emulator, columns):
    """The columns at each table of each round."""
    room = columns
    flat = zeros(ctypes.c_long, 5 * room)
    count = emulator.library.test_seating(ctypes.c_long(columns), flat, room)
    assert 0 < count <= room
    rounds = []
    for first in range(0, 5 * count, 5):
        classes, order, point_bits, slope, polynomial = flat[first : first + 5]
        seats = zeros(ctypes.c_int, classes * order * SEATS)
        arguments = [seats, columns, classes, order, point_bits, slope, polynomial]
        emulator.run("common", "seating", len(seats), SEATS, arguments)
        tables = [seats[first : first + SEATS] for first in range(0, len(seats), SEATS)]
        rounds.append([[column for column in table if column >= 0] for table in tables])
    return rounds


# Pairs of blocks; tables of 4, 8 and 16 points, whose sides have a power of two, a prime, the square of one (9, 25) and
# another number of places;
# classes that a design, a tournament and a single round are left to, and seats that are empty.
@pytest.mark.parametrize("columns", [66, 130, 256, 300, 416, 448, 512, 520, 576, 640, 768, 1024, 1090, 1600])
def test_in_a_sweep_each_two_columns_sit_at_one_table(columns, emulator):
    together = [0] * columns  # of each column, the others as bits
    rounds = seat_columns(emulator, columns)
    for tables in rounds:
        seated = [column for table in tables for column in table]
        assert len(set(seated)) == len(seated)
        if tables is rounds[-1]:  # in others half a table of columns of a class may rest
            assert len(seated) == columns
        for table in tables:
            bits = sum(1 << column for column in table)
            for column in table:
                together[column] |= bits
    assert all(bits == (1 << columns) - 1 for bits in together)


@pytest.mark.parametrize(("columns", "rounds"), [(512, 9), (1024, 17), (2048, 33), (4096, 65)])
def test_affine_planes_need_no_more_rounds_than_there_are_other_columns_to_meet(columns, rounds, emulator):
    assert emulator.library.test_seating(ctypes.c_long(columns), zeros(ctypes.c_long, 0), 0) == rounds
    assert rounds * (SEATS - 1) < columns + SEATS - 1
