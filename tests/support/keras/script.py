"""A training script as they were written for Keras's ImageDataGenerator. The tests change its import, and nothing else.

Arguments: a folder with `train` and `validation`, each a folder a class, and a file for what the script found out.
"""

# ruff: noqa: B007, B905, C408, NPY002, PTH123, SIM113 - as such scripts are
# mypy: ignore-errors
# pyright: basic, reportAttributeAccessIssue=false, reportMissingImports=false, reportMissingModuleSource=false

import json
import sys

import numpy as np
from tensorflow.keras.layers import Conv2D, Dense, Flatten, Input, MaxPooling2D
from tensorflow.keras.models import Sequential
from tensorflow.keras.preprocessing.image import ImageDataGenerator

data_dir, report_file = sys.argv[1:]
img_width, img_height = 32, 24
batch_size = 8
np.random.seed(42)

train_datagen = ImageDataGenerator(
    rescale=1.0 / 255,
    rotation_range=20,
    width_shift_range=0.1,
    height_shift_range=0.1,
    shear_range=0.2,
    zoom_range=0.2,
    horizontal_flip=True,
    fill_mode="nearest",
)
test_datagen = ImageDataGenerator(rescale=1.0 / 255)

train_generator = train_datagen.flow_from_directory(
    data_dir + "/train", target_size=(img_height, img_width), batch_size=batch_size, class_mode="binary"
)
validation_generator = test_datagen.flow_from_directory(
    data_dir + "/validation",
    target_size=(img_height, img_width),
    batch_size=batch_size,
    class_mode="binary",
    shuffle=False,
)

model = Sequential(
    [
        Input((img_height, img_width, 3)),
        Conv2D(4, (3, 3), activation="relu"),
        MaxPooling2D((2, 2)),
        Flatten(),
        Dense(1, activation="sigmoid"),
    ]
)
model.compile(loss="binary_crossentropy", optimizer="adam", metrics=["accuracy"])
history = model.fit(
    train_generator,
    steps_per_epoch=train_generator.samples // batch_size,
    epochs=3,
    validation_data=validation_generator,
    validation_steps=validation_generator.samples // batch_size,
    verbose=0,
)
scores = model.evaluate(validation_generator, verbose=0)
validation_generator.reset()
predictions = model.predict(validation_generator, verbose=0)

# The old loop over batches, which has to be broken by hand.
batches = 0
rows = []
for x_batch, y_batch in train_generator:
    rows.append(len(y_batch))
    batches += 1
    if batches >= 2 * len(train_generator):
        break

# Arrays, with statistics of the training set.
x_train = np.concatenate([validation_generator[i][0] for i in range(len(validation_generator))])
y_train = validation_generator.classes
datagen = ImageDataGenerator(featurewise_center=True, featurewise_std_normalization=True, horizontal_flip=True)
datagen.fit(x_train)
model.fit(datagen.flow(x_train, y_train, batch_size=4), epochs=1, verbose=0)

# Pictures and masks, two generators with one seed, zipped.
args = dict(rotation_range=90, zoom_range=0.3)
image_generator = ImageDataGenerator(**args).flow(x_train, batch_size=4, seed=1)
mask_generator = ImageDataGenerator(**args).flow(x_train, batch_size=4, seed=1)
steps = 0
for image, mask in zip(image_generator, mask_generator):
    assert np.allclose(image, mask)
    steps += 1
    if steps == 5:
        break

with open(report_file, "w") as file:
    json.dump(
        {
            "classes": train_generator.class_indices,
            "samples": [train_generator.samples, validation_generator.n],
            "files": validation_generator.filenames,
            "labels": validation_generator.classes.tolist(),
            "epochs": len(history.history["val_accuracy"]),
            "scores": len(scores),
            "predictions": list(predictions.shape),
            "rows": sorted(rows),
            "x": [list(x_train.shape), str(x_train.dtype), round(float(x_train.mean()), 4)],
            "mean": [round(float(value), 3) for value in datagen.mean.ravel()],
            "std": [round(float(value), 3) for value in datagen.std.ravel()],
        },
        file,
    )
