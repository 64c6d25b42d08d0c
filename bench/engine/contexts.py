"""What does a slot cost in memory and time, by the length of its context?"""

from __future__ import annotations

from statistics import median

from bench.engine.corpus import CONTENDERS, ENVIRONMENT
from bench.framework import Figure, Result
from bench.plots import lines
from bench.setting import Setting

NEEDS_PEERS = False
NAMES = {"transformer": "Transformer", "gru_attention": "GRU with attention"}


def measure(setting: Setting) -> Result:
    """32 rows, int8; nobody to compare with: drawn."""
    lengths = [16, 32] if setting.tiny else [16, 32, 64, 128, 256, 512]
    found = {
        shown: [
            setting.run(
                f"{CONTENDERS}.ours", extra=ENVIRONMENT, mode="contexts", threads=setting.cores, seconds=0,
                precision="int8", name=name, lengths=lengths,
            )["by_length"]
            for _ in range(setting.rounds)
        ]
        for name, shown in NAMES.items()
    }  # fmt: skip

    def by_length(key: str, factor: float = 1.0) -> dict[str, dict[float, float]]:
        return {
            name: {length: factor * median(one[place][key] for one in rounds) for place, length in enumerate(lengths)}
            for name, rounds in found.items()
        }

    panels = [
        ("Memory of a slot", "kB", by_length("bytes_per_slot", 1e-3)),
        ("A step, per row", "µs", by_length("step_us_per_row")),
        ("Reading a context", "ms", by_length("encode_ms_per_row")),
    ]
    longest = lengths[-1]
    figures = [
        Figure(f"{name}: {title.lower()}, context of {longest}", unit, [values[name][longest]])
        for title, unit, values in panels
        for name in NAMES.values()
    ]
    return Result(figures, {}, lambda file: lines(file, "tokens of the context", panels))
