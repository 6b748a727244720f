"""Train a small classifier on handwritten digits, and hand it to TensorFlow: a SavedModel and an int8 TFLite file.

pip install 'jtorch[tf,examples]'; python examples/tf_savedmodel.py
"""

import argparse
import os
import tempfile

import numpy as np
from sklearn.datasets import load_digits

import jtorch as torch
from jtorch import nn
from jtorch.interop import tf as jtf
from jtorch.nn import functional as F


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--out", help="folder for the models (default: a temporary one)")
    args = parser.parse_args()

    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy((images / 16).astype(np.float32).reshape(-1, 1, 8, 8))
    labels = torch.from_numpy(labels.astype(np.int64))
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(16 * 16, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for _ in range(args.steps):
        chosen = torch.randint(0, 1500, (64,))
        optimizer.zero_grad()
        F.cross_entropy(model(images[chosen]), labels[chosen]).backward()
        optimizer.step()
    model.eval()
    test, wanted = images[1500:], labels[1500:].numpy()

    with tempfile.TemporaryDirectory() as temporary:
        out = args.out or temporary
        print(
            "SavedModel: difference", jtf.save_saved_model(model, test[:4], os.path.join(out, "digits"), overwrite=True)
        )
        again = jtf.from_saved_model(os.path.join(out, "digits"))
        right = (again(test)["output"].argmax(1).numpy() == wanted).mean()
        print(f"run by TensorFlow: test accuracy {right:.3f}")
        for quantize in (None, "int8"):
            path = os.path.join(out, f"digits_{quantize or 'float'}.tflite")
            calibration = [images[i : i + 33] for i in range(0, 330, 33)] if quantize else None
            made = jtf.to_tflite(
                model, test[:33], path, quantize=quantize, representative_data=calibration, tolerance=0.3
            )
            found = np.concatenate([made(test[i : i + 33])[0].argmax(1) for i in range(0, 297, 33)])
            print(f"TFLite {quantize or 'float'}: {len(made.content)} bytes, accuracy {(found == wanted).mean():.3f}")


if __name__ == "__main__":
    main()
