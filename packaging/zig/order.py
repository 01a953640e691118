"""Which functions are linked first: those that run when footbridge starts and rests.

    order.py link ORDER OBJECT...    prints symbols of these objects, as LLD's --symbol-ordering-file has them
    order.py trace BINARY LOG        prints what packaging/order has: functions that qemu saw running

What runs at rest then lies on pages of its own, and the rest of the program is not read from flash or kept in
memory before somebody needs it. Names are demangled and cut, as types and hashes in them change often; one
that is there no longer does no harm."""

import re
import struct
import subprocess
import sys
from pathlib import Path

#: Longer names are those of closures and generic functions.
CUT = 100


def names(symbols):
    """What packaging/order calls each symbol."""
    said = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, check=True)
    return [re.sub(r"\[[0-9a-f]{4,16}\]", "", name)[:CUT] for name in said.stdout.splitlines()]


def functions(path):
    """The functions that an ELF file defines, of either word size and byte order."""
    data = Path(path).read_bytes()
    if data[:4] != b"\x7fELF":
        raise SystemExit(f"{path} is no ELF file")
    order, wide = "<>"[data[5] - 1], data[4] == 2
    at, size, count = (
        struct.unpack_from(order + form, data, offset)[0]
        for form, offset in ([("Q", 40), ("H", 58), ("H", 60)] if wide else [("I", 32), ("H", 46), ("H", 48)])
    )
    form = order + ("IIQQQQIIQQ" if wide else "10I")
    sections = [struct.unpack_from(form, data, at + size * n) for n in range(count)]
    if count == 0:  # more than fit into 16 bits: the first section has their number
        count = struct.unpack_from(form, data, at)[5]
        sections = [struct.unpack_from(form, data, at + size * n) for n in range(count)]
    for section in sections:
        if section[1] != 2:  # SHT_SYMTAB
            continue
        strings = sections[section[6]][4]
        for n in range(section[4], section[4] + section[5], section[9]):
            name, info = struct.unpack_from(order + ("IB" if wide else "I8xB"), data, n)
            kind, where = info & 15, struct.unpack_from(order + "H", data, n + (6 if wide else 14))[0]
            if kind == 2 and where:  # STT_FUNC, and defined here
                start = strings + name
                yield data[start : data.index(b"\0", start)].decode()


def link(order, objects):
    wanted = {line.rstrip("\n") for line in open(order) if not line.startswith("#")}
    symbols = [symbol for path in objects for symbol in functions(path)]
    return [symbol for symbol, name in zip(symbols, names(symbols), strict=True) if name in wanted]


def trace(binary, log):
    there = set(functions(binary))
    ran = {line.split()[1] for line in open(log) if line.startswith("IN: ") and line.strip() != "IN:"}
    return sorted(set(names(sorted(ran & there))))


if __name__ == "__main__":
    made = {"link": lambda a: link(a[0], a[1:]), "trace": lambda a: trace(*a)}[sys.argv[1]](sys.argv[2:])
    print("\n".join(made))
