"""Train the digits CNN, export it to ONNX, run the file with onnxruntime, and go on training the file as a module.

python examples/onnx_digits.py
"""

import argparse
import pathlib
import tempfile

import numpy as np
import onnxruntime

import jtorch as torch
from jtorch.nn import functional as F

from digits_cnn import Net, loaders, train_epoch  # isort: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()

    torch.manual_seed(0)
    train, test = loaders(64)
    model = Net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for epoch in range(args.epochs):
        train_epoch(model, train, optimizer, f"epoch {epoch + 1}/{args.epochs}", [])
    model.eval()

    folder = tempfile.TemporaryDirectory()
    path = pathlib.Path(folder.name) / "digits.onnx"
    example = torch.zeros(2, 1, 8, 8)
    torch.onnx.export(model, (example,), path, input_names=["images"], output_names=["scores"],
                      dynamic_axes={"images": {0: "batch"}})  # fmt: skip
    print(f"{path.name}: {path.stat().st_size} bytes")

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    right = total = 0
    worst = 0.0
    with torch.no_grad():
        for x, y in test:  # the last batch is smaller
            (scores,) = session.run(None, {"images": x.numpy()})
            worst = max(worst, float(np.abs(scores - model(x).numpy()).max()))
            right += int((scores.argmax(1) == y.numpy()).sum())
            total += len(y)
    print(f"onnxruntime: test accuracy {right / total:.4f}, largest difference from jtorch {worst:.1e}")
    assert worst < 1e-4

    loaded = torch.onnx.load(path)
    optimizer = torch.optim.SGD(loaded.parameters(), lr=0.05)
    losses = []
    for x, y in train:
        optimizer.zero_grad()
        loss = F.cross_entropy(loaded(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    print(f"trained on from the file: loss {np.mean(losses[:5]):.4f} -> {np.mean(losses[-5:]):.4f}")


if __name__ == "__main__":
    main()
