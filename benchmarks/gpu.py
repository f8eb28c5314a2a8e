"""A network on a GPU beside a plain torch loop over the same Parquet files, in the same run: float32 and bf16.

    python benchmarks/gpu.py [--rows 2000000] [--epochs 4] [--device cuda]

mlp 1024,1024,512 with batches of 8192 and Adam.  Both begin with the same weights, standardise alike and take the same
batches; the plain loop holds the rows in pinned memory and moves every batch.  Each measurement is a process of its
own.  Told are rows/s of the epochs after the first, in which files are decoded and kernels loaded, and how far the
curves of the loss lie apart.  Without a GPU nothing is measured, and the reason is printed; ``--device cpu`` runs the
script anywhere, with few rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HIDDEN, BATCH, RATE, FEATURES, SEED = (1024, 1024, 512), 8192, 1e-3, 28, 1
#: ours must be at least as quick, and the curves this close
MIN_RATIO, MAX_APART = 1.0, 1e-3


def made(folder: Path, n_rows: int) -> None:
    """Eight Parquet parts of 28 float32 columns and a label that a network can learn."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(SEED)
    weights = rng.normal(size=(FEATURES, 16)).astype(np.float32)
    for part in range(8):
        x = rng.normal(size=(n_rows // 8, FEATURES)).astype(np.float32)
        score = np.tanh(x @ weights / 3).sum(axis=1) + 0.3 * x[:, 0] * x[:, 1]
        label = (score + rng.normal(size=len(x)) > 0).astype(np.int8)
        columns = {f"f{j:02d}": x[:, j] for j in range(FEATURES)}
        pq.write_table(pa.table({**columns, "label": label}), folder / f"part-{part}.parquet")


def ours(data: str, precision: str, device: str, epochs: int) -> dict[str, Any]:
    from mrml.config.sections import DataConfig, EngineConfig, RunConfig
    from mrml.runs import train as run

    told: list[dict[str, Any]] = []

    class Told(run.Silent):
        def round(self, facts: dict[str, Any]) -> None:
            told.append({**facts, "at": time.perf_counter()})

    params = {"hidden": HIDDEN, "batch_size": BATCH, "learning_rate": RATE, "epochs": epochs, "seed": SEED,
              "kernels": "torch", "device": device, "precision": precision}  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        source = DataConfig(data=(data,), target="label")
        config = RunConfig("mlp", params, source, EngineConfig("inline"), f"{folder}/m")
        run.train(config, Told())
        facts = run.inspect(f"{folder}/m")["facts"]
    if device != "cpu":
        import torch

        assert facts["identity"] == "waived: CUDA" and torch.cuda.max_memory_allocated() > 0, "it fell back to the CPU"
    epochs_told = [t for t in told if "loss" in t][:epochs]
    return {"losses": [t["loss"] for t in epochs_told], "seconds": [t["seconds"] for t in epochs_told]}


def plain(data: str, precision: str, device: str, epochs: int) -> dict[str, Any]:
    """What one would write by hand."""
    import numpy as np
    import pyarrow.parquet as pq
    import torch

    from mrml.kernels.net.describe import Net
    from mrml.kernels.net.torch_net import module_of

    table = pq.read_table(data)
    y = table["label"].to_numpy().astype(np.float32)
    wide = np.stack([table[f"f{j:02d}"].to_numpy() for j in range(FEATURES)], 1)
    x = ((wide - wide.mean(axis=0, dtype=np.float64)) / wide.std(axis=0, dtype=np.float64)).astype(np.float32)
    net = Net(n_numeric=FEATURES, hidden=HIDDEN)
    odds = y.mean(dtype=np.float64)
    module = module_of(net, net.init(SEED, [float(np.log(odds / (1 - odds)))])).to(device).train()
    rows, labels = (torch.from_numpy(a) if device == "cpu" else torch.from_numpy(a).pin_memory() for a in (x, y))
    optimizer = torch.optim.Adam(module.parameters(), RATE)
    told: dict[str, Any] = {"losses": [], "seconds": []}
    for batches in drawn(data, epochs):
        began, total = time.perf_counter(), torch.zeros((), device=device)
        for batch in map(torch.from_numpy, batches):
            given, target = (a[batch].to(device, non_blocking=True) for a in (rows, labels))
            with torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16"):
                raw = module(given)[:, 0]
            loss = torch.nn.functional.binary_cross_entropy_with_logits(raw.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        told["losses"].append(float(total) / len(rows))  # waits for the device
        told["seconds"].append(time.perf_counter() - began)
    return told


def drawn(data: str, epochs: int) -> Iterator[list[Any]]:
    """The rows of every batch, as mrml draws them: so only how they are computed with differs."""
    import numpy as np

    from mrml.algorithms.sgd.mlp import MLP
    from mrml.algorithms.sgd.rows import SHUFFLES
    from mrml.config.sections import DataConfig, RunConfig
    from mrml.kernels.random import bits
    from mrml.runs import setup

    dataset, _ = setup.open_training(RunConfig("mlp", {}, DataConfig(data=(data,), target="label")), MLP())
    keys: list[list[Any]] = [[]]
    for block in (b for split in dataset.splits(1 << 30) for part in split for b in dataset.read(part)):
        if sum(map(len, keys[-1])) >= MLP().shuffle_rows:
            keys.append([])
        keys[-1].append(block.row_key)
    buffers = [np.concatenate(parts) for parts in keys]
    starts = np.cumsum([0, *map(len, buffers)])
    for epoch in range(epochs):
        orders = [at + np.argsort(bits(SEED, SHUFFLES + epoch, b), kind="stable") for at, b in zip(starts, buffers)]  # noqa: B905
        yield [order[i : i + BATCH] for order in orders for i in range(0, len(order), BATCH)]


def measured(name: str, *args: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, __file__, "--only", name, *args], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs=5, metavar=("NAME", "DATA", "PRECISION", "DEVICE", "EPOCHS"))
    args = parser.parse_args()
    if args.only:
        name, data, precision, device, epochs = args.only
        print(json.dumps({"ours": ours, "plain": plain}[name](data, precision, device, int(epochs))))
        return
    from mrml.errors import ConfigError
    from mrml.kernels.device import device_of

    try:
        device = device_of(args.device)
    except ConfigError as error:
        print(f"skipped: {error}")
        return
    with tempfile.TemporaryDirectory(prefix="mrml-gpu-") as folder:
        made(Path(folder), args.rows)
        compared(folder, device, args.rows, args.epochs)


def compared(folder: str, device: str, n_rows: int, epochs: int) -> None:
    """Ours and theirs in turns; a line each, then one JSON object."""
    found: dict[str, Any] = {"device": name_of(device), "rows": n_rows}
    print(f"{found['device']}, {n_rows:,} rows")
    print(f"{'precision':10} {'mrml':>12} {'plain loop':>12} {'ratio':>6} {'apart':>9}")
    for precision in ("float32", "bf16"):
        sides = {name: measured(name, folder, precision, device, str(epochs)) for name in ("plain", "ours")}
        rates = {name: n_rows * (epochs - 1) / sum(side["seconds"][1:]) for name, side in sides.items()}
        apart = max(abs(a - b) for a, b in zip(sides["ours"]["losses"], sides["plain"]["losses"], strict=True))
        ratio = rates["ours"] / rates["plain"]
        print(f"{precision:10} {rates['ours']:12,.0f} {rates['plain']:12,.0f} {ratio:6.2f} {apart:9.1e}")
        ok = ratio >= MIN_RATIO and apart <= MAX_APART
        found[precision] = {**rates, "ratio": ratio, "apart": apart, "ok": ok, **sides}
    print(json.dumps(found))


def name_of(device: str) -> str:
    import torch

    return "cpu" if device == "cpu" else str(torch.cuda.get_device_name(device))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from mrml import pin

    pin.pin()  # before NumPy loads

    main()
