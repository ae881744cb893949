"""Fuzz the decoder of mask records with atheris (pip install atheris, Python 3.11).

python -m tests.fuzz.record_decoder [CORPUS FOLDER] [-max_total_time=3600 ...]    options are libFuzzer's

An input is raw bytes for the decoder, or instructions that damage a good record whose checksums are then made right.
Only the documented error may come out; anything else stops the run and leaves the input in a file.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=['sapd_plugin.priors']):
    from sapd_plugin.priors.labels import LabelMap
    from sapd_plugin.priors.store.codec import Record, encode
    from sapd_plugin.priors.store.digests import ImageDigests

import numpy as np

from tests.fuzz.forging import damage, damage_parts, forge, read_all, take_apart


def _samples() -> list[bytes]:
    """Good records: one and several tiles, without regions, with labels of 8, 16 and 32 bits, half with colors, one with digests."""
    rng = np.random.default_rng(0)
    shapes = ((1, 1, 1), (40, 30, 0), (40, 30, 9), (130, 140, 40), (70, 60, 300), (280, 260, 70_000))
    maps = [LabelMap.from_labels(rng.integers(0, regions + 1, shape)) for *shape, regions in shapes]
    maps[::2] = [m.with_colors(rng.integers(0, 256, (*m.shape, 3), dtype=np.uint8)) for m in maps[::2]]
    digests = [ImageDigests(bytes(range(16, 32)), bytes(range(32, 48))) if i == 2 else None for i in range(len(maps))]
    return [encode(label_map, bytes(range(16)), own) for label_map, own in zip(maps, digests)]


SAMPLES = _samples()
# The last one is large and slow, hence rare.
CHOICE = [0, 1, 2, 3, 4] * 12 + [5]
PARTS = [take_apart(sample) for sample in SAMPLES]


def one_input(data: bytes) -> None:
    """Try one input."""
    source = atheris.FuzzedDataProvider(data)
    mode, which = source.ConsumeIntInRange(0, 5), CHOICE[source.ConsumeIntInRange(0, len(CHOICE) - 1)]
    low, high = source.ConsumeIntInRange(0, 300), source.ConsumeIntInRange(0, 300)
    crop = (low // 2, low // 2 + high, high // 3, high // 3 + low)
    if mode == 0:
        read_all(source.ConsumeBytes(source.remaining_bytes()), crop)
    elif mode == 1:
        record = SAMPLES[which]
        while source.remaining_bytes():
            record = damage(record, source.ConsumeUInt(3), source.ConsumeUInt(1), source.ConsumeUInt(1))
        read_all(record, crop)
    elif mode == 2:
        width, raw = source.ConsumeIntInRange(1, 40), source.ConsumeBytes(source.remaining_bytes())
        labels = np.resize(np.frombuffer(raw or b'\0', np.uint8), (len(raw) // width + 1, width))
        label_map = LabelMap.from_labels(labels)
        record = encode(label_map, bytes(16))
        assert read_all(record, crop)
        assert np.array_equal(Record(record).labels(), label_map.labels)
    else:
        parts = PARTS[which]
        ends = None
        if mode == 5:
            ends = tuple(source.ConsumeIntListInRange(len(parts.tiles), 0, 2**32 - 1))
        while source.remaining_bytes():
            numbers = [source.ConsumeUInt(size) for size in (1, 3, 4, 1)]
            parts = damage_parts(parts, *numbers)
        read_all(forge(parts, ends, raw=mode == 4), crop)


def main() -> None:
    """Hand over to libFuzzer."""
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == '__main__':
    main()
