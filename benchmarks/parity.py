# SPDX-License-Identifier: Apache-2.0
"""Exact arithmetic against native float32: paired trainings over seeds, and a page about them.

A training takes minutes; what is measured once is kept in `docs/parity/NAME.json` and not measured
again. `--page` writes `docs/parity/README.md` and a chart of the losses for each name.

The pairs agree where the mean difference of test accuracy and AUC is at most two standard errors,
and where the median deviation of the step loss over the first 100 steps is at most 1 %.

Usage: python -m benchmarks.parity [--only NAME] [--seeds N ...] [--data DIR] [--page]
"""

import argparse
import math
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tiny_agent_trainer import canonical
from tiny_agent_trainer.experiments import run
from tiny_agent_trainer.experiments.run_directory import layout
from tiny_agent_trainer.meta import chronicle_reader, records
from tiny_agent_trainer.reports import svg

CONFIGS: Final = Path("experiments/configs")
PAGES: Final = Path("docs/parity")
CASES: Final = {
    "exp_010": "exp_010_breastmnist.toml",
    "exp_011": "exp_011_pneumoniamnist.toml",
    "exp_012": "exp_012_vit_breastmnist.toml",
}
ARITHMETICS: Final = ("exact", "native")
STEPS: Final = 100
"""Losses that are kept and compared."""


def measure(name: str, seed: int, arithmetic: str, data: Path | None) -> dict[str, Any]:
    """Train once, in a directory that is removed afterwards."""
    text = (CONFIGS / CASES[name]).read_text()
    text = re.sub(r"base_seed = \d+", f'base_seed = {seed}\narithmetic = "{arithmetic}"', text)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / CASES[name]
        config.write_text(text)
        began = time.perf_counter()
        finished = run.run_experiment(config, results_dir=folder, data_dir=data)
        seconds = time.perf_counter() - began
        ledger = chronicle_reader.read(finished.path / layout.CHRONICLE)
    assert finished.test is not None
    return {
        "seed": seed,
        "arithmetic": arithmetic,
        "accuracy": finished.test.value("accuracy"),
        "auroc": finished.test.value("auroc"),
        "seconds": round(seconds),
        "run_digest": finished.run_digest,
        "losses": losses(ledger),
    }


def losses(ledger: chronicle_reader.Chronicle) -> list[float]:
    """The losses of the first steps."""
    steps = [r for r in ledger.records if isinstance(r, records.CycleRecord) and r.phase == "train"]
    return [float(record.metrics["loss"]) for record in steps[:STEPS]]


def kept(name: str) -> list[dict[str, Any]]:
    """What was measured before."""
    path = PAGES / f"{name}.json"
    found: Any = canonical.decode(path.read_bytes()) if path.exists() else []
    return list(found)


def complete(name: str, seeds: list[int], data: Path | None) -> None:
    """Measure what is missing, and keep every training as soon as it has ended."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for arithmetic in ARITHMETICS:
            known = {(entry["seed"], entry["arithmetic"]) for entry in kept(name)}
            if (seed, arithmetic) in known:
                continue
            entry = measure(name, seed, arithmetic, data)
            entries = sorted([*kept(name), entry], key=lambda e: (e["seed"], e["arithmetic"]))
            (PAGES / f"{name}.json").write_bytes(canonical.encode_line(entries))
            shown = {key: value for key, value in entry.items() if key != "losses"}
            print(name, shown, flush=True)


def pairs(name: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Exact and native trainings of one seed."""
    found = {(entry["seed"], entry["arithmetic"]): entry for entry in kept(name)}
    seeds = sorted({seed for seed, _ in found})
    both = [tuple(found.get((seed, a)) for a in ARITHMETICS) for seed in seeds]
    return [pair for pair in both if None not in pair]  # type: ignore[misc]


def describe(name: str) -> list[str]:
    """Lines of the page about one configuration."""
    chosen = pairs(name)
    lines = [f"## {CASES[name].removesuffix('.toml')}", ""]
    lines += ["| seed | accuracy exact | native | AUC exact | native |", "|---|---|---|---|---|"]
    for exact, native in chosen:
        numbers = [f"{e[key]:.4f}" for key in ("accuracy", "auroc") for e in (exact, native)]
        lines.append(f"| {exact['seed']} | {' | '.join(numbers)} |")
    lines.append("")
    for key in ("accuracy", "auroc"):
        differences = [exact[key] - native[key] for exact, native in chosen]
        lines.append(f"- {key}: {spread(differences)}")
    lines.append(f"- {deviation(chosen)}")
    lines += ["", f"![Losses of the first {STEPS} steps]({name}.svg)", ""]
    return lines


def spread(differences: list[float]) -> str:
    """Mean difference against its standard error."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return f"difference {mean:+.4f} (one pair)"
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    verdict = "within" if abs(mean) <= 2 * error else "beyond"
    return f"mean difference {mean:+.4f}, standard error {error:.4f}: {verdict} two of them"


def deviation(chosen: list[tuple[dict[str, Any], dict[str, Any]]]) -> str:
    """How far the losses of the first steps are apart."""
    apart = [
        abs(mine - theirs) / theirs
        for exact, native in chosen
        for mine, theirs in zip(exact["losses"], native["losses"], strict=True)
    ]
    return f"step loss: median deviation {100 * statistics.median(apart):.3f} %"


def draw(name: str) -> str:
    """The losses of the first pair."""
    exact, native = pairs(name)[0]
    lines = [tuple((float(i), x) for i, x in enumerate(e["losses"], 1)) for e in (exact, native)]
    values = [value for line in lines for _, value in line]
    plot = svg.Plot(
        title=f"Step loss of {name}, seed {exact['seed']}: exact (full) and native (dashed)",
        x=svg.build_axis("step", [1.0, float(len(lines[0]))], whole=True),
        y=svg.build_axis("loss", values),
        series=tuple(
            svg.Series(label=label, points=line, style=style)
            for style, (label, line) in enumerate(zip(ARITHMETICS, lines, strict=True))
        ),
    )
    return svg.line_chart(plot)


def write_page() -> None:
    """The page and its charts."""
    names = [name for name in CASES if pairs(name)]
    head = ["# Exact arithmetic against native float32", "", (__doc__ or "").split("\n\n")[2], ""]
    for name in names:
        head += describe(name)
        (PAGES / f"{name}.svg").write_text(draw(name) + "\n")
    (PAGES / "README.md").write_text("\n".join(head))


def main() -> None:
    """Read the arguments."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--page", action="store_true")
    chosen = parser.parse_args()
    if not chosen.page:
        for name in [chosen.only] if chosen.only else CASES:
            complete(name, chosen.seeds, chosen.data)
    write_page()


if __name__ == "__main__":
    main()
