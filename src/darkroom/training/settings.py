"""Parameters of the training stages."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from darkroom.foundations import naming
from darkroom.foundations.params import Section

Device = Literal["auto", "cpu", "cuda", "mps"]
Balance = Literal["none", "weights", "sampler"]
Architecture = Literal[
    "lab_cnn", "wic_cnn", "vgg1", "vgg2", "vgg3", "vgg3_bn", "vgg3_dropout", "vgg_light", "resnet9", "airbench"
]
"""The names of `models.ZOO`, here because checking the parameters must not import torch."""
Backbone = Literal[
    "resnet18",
    "resnet34",
    "resnet50",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "convnext_tiny",
    "vit_b_16",
    "squeezenet1_0",
    "vgg16",
    "vgg16_bn",
    "googlenet",
    "inception_v3",
]
"""Networks of torchvision that `backbones` can take apart."""
Method = Literal["auto", "probe", "finetune", "probe+finetune"]
IMAGENET = "imagenet"
WEIGHT_FILES = (".pth", ".pt", ".safetensors")
SMALLEST_INPUT: dict[Backbone, int] = {"inception_v3": 75}
"""Side in pixels that a network of torchvision needs, where 32 are too few."""
ONLY_INPUT: dict[Backbone, int] = {"vit_b_16": 224}
"""Side in pixels of networks that take no other; images are resized to it."""
SMALLEST_IMAGE: dict[Architecture, int] = {"wic_cnn": 16, "airbench": 12}
"""Side in pixels that a network needs, where the 8 that every data set has are too few."""


ONE_SIZE: frozenset[Architecture] = frozenset(get_args(Architecture)) - {"wic_cnn", "resnet9", "airbench"}
"""Networks whose dense layers take images of the one size they were made for."""


class AugmentSettings(Section):
    """Random changes to each training image; what is allowed depends on the data (digits must not be mirrored)."""

    flip: Literal[False, True, "alternating"] = False
    """Mirror left to right, half of the time; `alternating` shows an image each way in two epochs running."""
    shift: Annotated[int, Field(ge=0, le=64)] = 0
    """Move by up to this many pixels in each direction; the border is reflected."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Enlarge a random part of at least this share of the area and of a ratio from 3:4 to 4:3; 0 is none."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Turn by up to this many degrees either way."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Scale by up to this share either way."""
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0
    """Two operations an image of RandAugment's fourteen at this magnitude, often 9; 0 is none. Made for photographs."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Brighten or darken by up to this share."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strengthen or weaken the contrast by up to this share."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Strengthen or weaken the colours by up to this share."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Turn the colour wheel by up to this share of a whole turn either way."""
    cutout: Annotated[int, Field(ge=0, le=512)] = 0
    """Grey out one square of this side, in pixels."""


class TrainingSettings(Section):
    """What the data decide about training, whichever model is trained."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    """Images a step; less, down to 8, where an epoch would have fewer than 16 steps."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Time a training may take; the schedule is then shortened to end in time, not cut."""
    accumulate: bool = False
    """When a batch does not fit into memory, take it in parts instead of stopping."""
    balance: Balance = "none"
    """Gives classes of all sizes the same say: `weights` in the loss, `sampler` by how often their images come."""


class BaselineSettings(Section):
    """The classical bar: HOG features and a linear classifier."""

    orientations: Annotated[int, Field(ge=2, le=32)] = 9
    """Directions of the gradient histogram."""
    cells: Annotated[int, Field(ge=2, le=32)] = 8
    """About this many cells along each side of the image."""
    strengths: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [0.1, 1.0, 10.0]
    """Inverse regularisation strengths C to try; validation chooses."""
    max_iterations: Annotated[int, Field(ge=1)] = 200
    """Most steps of the solver."""


class RecipeSettings(Section):
    """How a network is trained."""

    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "sgd"
    """`sgd` is with Nesterov momentum 0.9; `muon`, from random weights only, moves convolutions and AdamW the rest."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    adam_learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """With `muon`, the peak for all that is no convolution, which AdamW moves."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled in adamw and muon (there not on filters), an L2 term in the others; never on biases and norms."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of a step's gradient; a larger one is scaled down to it."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the target that is spread over all classes."""
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Blends each image with another, as strongly as Beta(α, α) says; 0 is off."""
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Pastes a piece of another image, as large as Beta(α, α) says; 0 is off."""
    schedule: Literal["constant", "one_cycle", "cosine", "plateau"] = "one_cycle"
    """`one_cycle` rises and falls in lines, `cosine` falls like one; `plateau` falls to 1/5 after 5 epochs in vain."""
    warmup: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Share of the training in which `one_cycle` and `cosine` rise."""
    small_start: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Image side at first as a share of the whole one, which it grows to in two steps: small images are seen faster."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] | None = None
    """Images a step, where this recipe wants others than the data set says."""
    epochs_factor: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Multiplies the data set's epochs."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Epochs without a better one after which training ends; the best is kept in any case."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the exponential average of the weights that is evaluated; 0 turns it off."""
    compile: bool = False
    """Compile the network first; for GPUs: on processors it takes longer to start and is not faster."""


class ScratchSettings(RecipeSettings):
    """One model trained from random weights."""

    architecture: Architecture
    """A network of the zoo, src/darkroom/training/networks/models.py."""
    width: Annotated[int, Field(ge=4, le=1024)] = 32
    """Channels of the first layer; the others follow from it."""

    @model_validator(mode="after")
    def _fits_together(self) -> "ScratchSettings":
        if self.small_start < 1 and self.architecture in ONE_SIZE:
            raise ValueError(
                f"small_start: {self.small_start} is for networks of any size, which {self.architecture} is not: "
                "set it to 1"
            )
        return self


class TransferSettings(RecipeSettings):
    """One model that starts from the weights of another."""

    architecture: Backbone | None = None
    """A network of torchvision; not given where `weights` is a candidate, whose card names its network."""
    weights: str = IMAGENET
    """`imagenet` (torchvision's own), a `.pth` or `.safetensors` file, its address, or the folder of a candidate."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the weights' file: needed for an address and for files that git does not hold."""
    method: Method = "auto"
    """`probe` fits a new last layer alone, `finetune` then trains all, `probe+finetune` keeps the better of both."""
    input_size: Annotated[int, Field(ge=32, le=1024)] | None = None
    """Side that images are resized to inside the network of torchvision; by default theirs, or 64 if that is more."""
    # At 0.01 the loss of mobilenet_v2 on 204 photographs rose from 0.08 to 0.6 before it fell.
    learning_rate: Annotated[float, Field(gt=0)] = 0.003
    """Peak learning rate of the last layer."""
    backbone_factor: Annotated[float, Field(gt=0, le=1)] = 0.2
    """The highest old layers' learning rate as a share of the new last layer's."""
    lower_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """The lowest old layers' learning rate as a share of the highest ones'."""
    norms: Literal["auto", "frozen", "trained"] = "auto"
    """Whether batch norms keep their old statistics; `auto` does below 5,000 training images."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step of the exponential average of the weights that is evaluated; 0 turns it off."""

    @property
    def from_candidate(self) -> bool:
        """Whether `weights` is the folder of a candidate."""
        return self.weights != IMAGENET and not self.weights.endswith(WEIGHT_FILES) and not self.from_address

    @property
    def from_address(self) -> bool:
        """Whether `weights` is an address."""
        return "://" in self.weights

    @property
    def weights_shown(self) -> str:
        """`weights` as reports may show it: an address without user, password and query, a path without the machine's.

        Of a path that leads out of the project only the last part is kept.
        """
        if self.from_address:
            return naming.shown_address(self.weights)
        path = Path(self.weights)
        outside = path.expanduser().is_absolute() or ".." in path.parts
        return path.name if outside else self.weights

    @model_validator(mode="after")
    def _fits_together(self) -> "TransferSettings":
        if self.from_candidate and self.architecture:
            raise ValueError(
                f"weights {self.weights!r} is taken for the folder of a candidate, whose card names its network: leave "
                f"architecture out, or name a file that ends in {', '.join(WEIGHT_FILES)}"
            )
        if not self.from_candidate and not self.architecture:
            raise ValueError(f"weights {self.weights_shown!r} need their architecture: {', '.join(get_args(Backbone))}")
        if self.optimizer == "muon":
            raise ValueError(
                "optimizer: muon sets the size of every filter anew, which undoes what pretrained weights know: set it "
                "to sgd, adam or adamw"
            )
        if self.from_address and not self.sha256:
            raise ValueError("an address needs its sha256, so that everyone gets the same bytes")
        if self.architecture and (reason := misfit(self.architecture, self.input_size, self.small_start)):
            raise ValueError(reason)
        return self


def misfit(name: Backbone, input_size: int | None, small_start: float) -> str:
    """Return why a network of torchvision cannot be trained at these sizes, or nothing when it can."""
    if small_start < 1:
        return f"small_start: {small_start} is for networks of the zoo, which {name} is not; set input_size instead"
    if input_size and input_size < (smallest := SMALLEST_INPUT.get(name, 32)):
        return f"input_size: {name} takes {smallest} pixels or more, not {input_size}"
    if input_size and input_size != (only := ONLY_INPUT.get(name, input_size)):
        return f"input_size: {name} takes {only} pixels and no others, not {input_size}"
    return ""
