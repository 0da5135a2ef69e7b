# SPDX-License-Identifier: Apache-2.0
"""AP or PA in published chest radiographs: five folds by patient, from a table and PNG files.

    python -m benchmarks.radiograph_folds FOLDER

FOLDER is the repository ml-workgroup/covid-19-image-repository (CC BY 3.0), or a part of it:
`data.csv` and images whose names without endings are its `image_id`. A small network at 64 pixels
and few epochs: the figures show that the data path is right, not what is possible.
"""

import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from tiny_agent_trainer.experiments import run

FOLDS = 5

_CONFIG = """
[engine]
base_seed = 1
epochs = 8
batch_size = 16
arithmetic = "exact"

[data]
reader = "folder"

[data.labels]
file = "data.csv"
id_column = "image_id"
id_name = "stem"
patient_column = "patient_id"
column = "projection"

[data.split]
method = "folds"
folds = {folds}
fold = {fold}

[tokenizer]
resize = 64

[model]
name = "cnn"
layers = 4
width = 16

[optimizer.loss]
name = "cross_entropy"
"""


def main() -> None:
    """Print the AUC of every fold, and their mean."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    values = []
    for fold, auc, about in _measure(Path(sys.argv[1])):
        values.append(auc)
        print(f"fold {fold}  test AUC {auc:.4f}  {about}")
    mean = sum(map(Fraction, values), Fraction(0)) / len(values)
    print(f"mean of {len(values)} folds  {float(mean):.4f}  from {min(values):.4f} to "
          f"{max(values):.4f}")  # fmt: skip


def _measure(root: Path) -> Iterator[tuple[int, float, str]]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "fold.toml"
        for fold in range(FOLDS):
            config.write_text(_CONFIG.format(folds=FOLDS, fold=fold))
            finished = run.run_experiment(config, results_dir=folder, data_dir=root)
            if finished.test is None:
                raise SystemExit(f"fold {fold} was interrupted")
            about = f"({finished.test.num_samples} images of {finished.test.num_patients} patients)"
            yield fold, finished.test.value("auroc") or 0.0, about


if __name__ == "__main__":
    main()
