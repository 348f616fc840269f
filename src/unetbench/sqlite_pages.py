"""Read the rows of a damaged SQLite file page by page, without its index of pages. Read only.

Where the tree above them is damaged, SQLite no longer finds rows that are still whole. Every leaf page
of a table is looked at by itself; whether what it gives is true is for the caller to check.
Source: the file format, https://www.sqlite.org/fileformat2.html, sections 1.3, 1.6 and 2.1.
"""

from __future__ import annotations

from collections.abc import Iterator

_LEAF = 0x0D  # the first byte of a table's leaf page
_HEADER_BYTES = 100  # of the file, before the first page's own header
_LEAF_HEADER_BYTES = 8
_PAGE_SIZES = tuple(1 << power for power in range(9, 17))
_USUAL_PAGE = 4096  # where the header is damaged too
_INTEGER_BYTES = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # by serial type
_LARGEST_PAYLOAD = 1 << 28  # more is damage, not a row

Value = int | float | str | bytes | None


def rows(content: bytes) -> Iterator[tuple[int, tuple[Value, ...]]]:
    """Give (row id, values) of everything that reads as a row of some table; an integer key reads None."""
    size = int.from_bytes(content[16:18], "big")
    size = 65536 if size == 1 else size
    size = size if size in _PAGE_SIZES else _USUAL_PAGE
    for start in range(0, len(content) - size + 1, size):
        page = content[start : start + size]
        header = _HEADER_BYTES if start == 0 else 0
        if page[header] != _LEAF:
            continue
        cells = int.from_bytes(page[header + 3 : header + 5], "big")
        for index in range(min(cells, size // 4)):
            place = header + _LEAF_HEADER_BYTES + 2 * index
            pointer = int.from_bytes(page[place : place + 2], "big")
            try:
                yield _cell(content, page, pointer, size)
            except (IndexError, ValueError, UnicodeDecodeError):
                continue  # damaged: not a row


def _cell(content: bytes, page: bytes, place: int, size: int) -> tuple[int, tuple[Value, ...]]:
    length, place = _varint(page, place)
    identifier, place = _varint(page, place)
    if not 0 < length < _LARGEST_PAYLOAD:
        raise ValueError("no payload is so long")
    return identifier, _record(_payload(content, page, place, length, size))


def _payload(content: bytes, page: bytes, place: int, length: int, size: int) -> bytes:
    """The bytes of a row: on the leaf, and what does not fit there on a chain of overflow pages."""
    most, least = size - 35, (size - 12) * 32 // 255 - 23
    local = length
    if length > most:
        local = least + (length - least) % (size - 4)
        local = local if local <= most else least
    whole = bytearray(page[place : place + local])
    following = int.from_bytes(page[place + local : place + local + 4], "big") if local < length else 0
    seen = set()
    while len(whole) < length:
        if following == 0 or following in seen or following * size > len(content):
            raise ValueError("the chain of overflow pages is broken")
        seen.add(following)
        overflow = content[(following - 1) * size : following * size]
        whole += overflow[4 : 4 + length - len(whole)]
        following = int.from_bytes(overflow[:4], "big")
    return bytes(whole)


def _record(payload: bytes) -> tuple[Value, ...]:
    header, place = _varint(payload, 0)
    if header > len(payload):
        raise ValueError("the header is longer than the row")
    types = []
    while place < header:
        serial, place = _varint(payload, place)
        types.append(serial)
    values: list[Value] = []
    for serial in types:
        value, place = _value(payload, place, serial)
        values.append(value)
    return tuple(values)


def _value(payload: bytes, place: int, serial: int) -> tuple[Value, int]:
    if serial == 0:
        return None, place
    if serial in (8, 9):
        return serial - 8, place
    if serial in _INTEGER_BYTES:
        end = place + _INTEGER_BYTES[serial]
        return int.from_bytes(payload[place:end], "big", signed=True), end
    if serial < 12:
        raise ValueError("no such type in our tables")
    end = place + (serial - 12) // 2
    if end > len(payload):
        raise ValueError("the value is longer than the row")
    return (payload[place:end].decode() if serial % 2 else payload[place:end]), end


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for _ in range(8):
        byte = data[place]
        place += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place
    return value << 8 | data[place], place + 1
