"""Train `wic_cnn` in Keras on TensorFlow and print images/s: one side of benchmarks/training.py.

    PYTHON benchmarks/keras_loop.py data/packed data/split.csv

Needs numpy and tensorflow alone.
"""

import csv
import os
import sys
import time
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
from keras import layers

BATCH, WARM, STEPS = 128, 20, 100


def main() -> None:
    folder, split = sys.argv[1:3]
    with Path(split).open(newline="") as file:
        lines = list(csv.DictReader(file))
    names = sorted({line["label"] for line in lines})
    rows = np.array([int(line["row"]) for line in lines if line["split"] == "train"])
    labels = np.array([names.index(line["label"]) for line in lines if line["split"] == "train"])
    some = np.random.default_rng(0).permutation(len(rows))[: BATCH * (WARM + STEPS)]
    images = np.load(f"{folder}/images.npy", mmap_mode="r")[rows[np.sort(some)]]
    labels = labels[np.sort(some)]
    model = network(len(names))
    model.compile(keras.optimizers.Adam(0.001), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    numbers = sum(
        int(np.prod(weight.shape)) for layer in model.layers for weight in layer.weights if "seed" not in weight.path
    )
    assert numbers == 187_402, numbers
    clock = Clock()
    model.fit(images, labels, batch_size=BATCH, epochs=1, verbose=0, callbacks=[clock])
    print(BATCH * STEPS / (clock.times[-1] - clock.times[WARM - 1]))


class Clock(keras.callbacks.Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def on_train_batch_end(self, batch: int, logs: object = None) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def network(classes: int) -> keras.Model:
    """Return the network with crops and mirroring in front, which Keras turns off when it predicts."""
    he = "he_normal"
    return keras.Sequential(
        [
            layers.Input((32, 32, 3)),
            layers.Rescaling(1 / 127.5, -1),
            layers.RandomFlip("horizontal"),
            layers.RandomTranslation(4 / 32, 4 / 32, fill_mode="reflect"),
            layers.Conv2D(32, 3, activation="relu", kernel_initializer=he),
            layers.BatchNormalization(),
            layers.Dropout(0.2),
            layers.Conv2D(64, 3, activation="relu", kernel_initializer=he),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(128, 3, padding="same", activation="relu", kernel_initializer=he),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu", kernel_initializer=he),
            layers.BatchNormalization(),
            layers.GlobalMaxPooling2D(),
            layers.Dropout(0.2),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.2),
            layers.Dense(classes),
        ]
    )


if __name__ == "__main__":
    main()
