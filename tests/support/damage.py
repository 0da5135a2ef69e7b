# SPDX-License-Identifier: Apache-2.0
"""Files with changed, cut, repeated or inserted bytes; the same on every machine."""

import random


def mutated(data, number):
    """One of many ways to damage a file."""
    die = random.Random(number)
    damaged = bytearray(data)
    # Headers stand in front: half of the damage goes there.
    reach = min(len(data), 2048) if number % 2 else len(data)
    for _ in range(die.choice((1, 1, 2, 4, 16))):
        place = die.randrange(min(reach, len(damaged)) or 1)
        kind = die.randrange(7)
        if kind == 0:
            damaged[place : place + 1] = bytes([die.randrange(256)])
        elif kind == 1:
            damaged[place : place + 1] = bytes([damaged[place] ^ (1 << die.randrange(8))])
        elif kind == 2:
            damaged[place : place + 4] = die.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        elif kind == 3:
            del damaged[place : place + die.randrange(1, 64)]
        elif kind == 4:
            damaged[place:place] = damaged[place : place + die.randrange(1, 64)]
        elif kind == 5:
            damaged[place:place] = die.randbytes(die.randrange(1, 16))
        else:
            del damaged[max(place, 8) :]
        if not damaged:
            damaged = bytearray(b"\0")
    return bytes(damaged)
