"""Parameters of the training stages."""

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from darkroom.foundations import naming, params
from darkroom.foundations.params import Section

Device = Literal["auto", "cpu", "cuda", "mps"]
Balance = Literal["none", "weights", "sampler"]
Architecture = Literal[
    "lab_cnn", "wic_cnn", "vgg1", "vgg2", "vgg3", "vgg3_bn", "vgg3_dropout", "vgg_light", "resnet9", "airbench"
]
"""The names of `models.ZOO`, repeated here because validating the parameters must not import torch."""
TorchvisionName = Literal[
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
"""torchvision networks that `backbones` can split into features and head."""
LiteName = Literal["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"]
"""Networks whose ImageNet weights are installed with the environment, see `transfer/packaged.py`."""
BACKBONES: tuple[str, ...] = (*get_args(TorchvisionName), *get_args(LiteName))
TIMM = re.compile(r"timm/[a-z0-9_]+(\.[a-z0-9_]+)?")
"""Any network of timm, by its name there, with the tag of its weights if these are not the default ones. `pretrained`
looks them up: validating the parameters imports no timm."""


def _known(name: str) -> str:
    if name not in BACKBONES and not TIMM.fullmatch(name):
        raise ValueError(
            f"it is neither timm/NAME nor one of these networks. {params.choices(name, list(BACKBONES))[:-1]}"
        )
    return name


Backbone = Annotated[
    str,
    AfterValidator(_known),
    WithJsonSchema({"anyOf": [{"enum": list(BACKBONES)}, {"pattern": f"^{TIMM.pattern}$"}]}),
]
"""A pretrained network: one of `BACKBONES`, or timm/NAME."""
Method = Literal["auto", "probe", "finetune", "probe+finetune"]
IMAGENET = "imagenet"
WEIGHT_FILES = (".pth", ".pt", ".safetensors")
SMALLEST = 32
"""Smallest input side in pixels of pretrained networks."""
SMALLEST_INPUT: dict[str, int] = {"inception_v3": 75}
"""Smallest input side in pixels of torchvision networks that need more."""
ONLY_INPUT: dict[str, int] = {"vit_b_16": 224}
"""Input side in pixels of networks that accept only one size; images are resized to it."""
OWN_INPUT: dict[str, int] = {"efficientnet_lite0": 224, "efficientnet_lite1": 240, "efficientnet_lite2": 260}
"""Input side in pixels at which the weights of these networks were trained; the default of `input_size`."""
SMALLEST_IMAGE: dict[Architecture, int] = {"wic_cnn": 16, "airbench": 12}
"""Smallest image side in pixels of networks that need more than 8, the minimum of `pack.image_size`."""


ONE_SIZE: frozenset[Architecture] = frozenset(get_args(Architecture)) - {"wic_cnn", "resnet9", "airbench"}
"""Networks whose dense layers accept only the image size they were built for."""


class AugmentSettings(Section):
    """Random transforms of the training images. The right choice depends on the data: digits must not be flipped."""

    flip: Literal[False, True, "alternating"] = False
    """Flip horizontally with probability 0.5; `alternating` flips each image in every other epoch."""
    shift: Annotated[int, Field(ge=0, le=64)] = 0
    """Largest translation in pixels, in each direction; the border is padded by reflection."""
    crop: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Random resized crop: smallest fraction of the area, with aspect ratios from 3:4 to 4:3; 0 turns it off."""
    rotate: Annotated[float, Field(ge=0, le=180)] = 0.0
    """Largest rotation in degrees, in either direction."""
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Largest relative change of scale, in either direction."""
    randaugment: Annotated[int, Field(ge=0, le=30)] = 0
    """Magnitude of RandAugment, often 9, with two of its 14 operations per image; 0 turns it off. For photographs."""
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest relative change of brightness."""
    contrast: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest relative change of contrast."""
    saturation: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest relative change of saturation."""
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Largest shift of the hue, as a fraction of the colour wheel, in either direction."""
    cutout: Annotated[int, Field(ge=0, le=512)] = 0
    """Side in pixels of one grey square per image; 0 turns it off."""


class TrainingSettings(Section):
    """Training parameters that depend on the data set and apply to all models."""

    epochs: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 64
    """Images per step; reduced, down to 8, if an epoch would have fewer than 16 steps."""
    max_minutes: Annotated[float, Field(gt=0)] | None = None
    """Time limit of one training run; the whole schedule is compressed to end in time."""
    accumulate: bool = False
    """Use gradient accumulation when a batch does not fit into memory, instead of stopping."""
    balance: Balance = "none"
    """Handling of class imbalance: `weights` weights the loss, `sampler` draws images of rare classes more often."""


class BaselineSettings(Section):
    """The classical baseline: HOG features and logistic regression."""

    removed: ClassVar[dict[str, str]] = {"max_iterations": "delete it; the solver takes at most 200 iterations"}
    orientations: Annotated[int, Field(ge=2, le=32)] = 9
    """Orientation bins of the gradient histogram."""
    cells: Annotated[int, Field(ge=2, le=32)] = 8
    """Approximate number of cells along each side of the image."""
    strengths: Annotated[list[Annotated[float, Field(gt=0)]], Field(min_length=1)] = [0.1, 1.0, 10.0]
    """Inverse regularisation strengths C to try; the validation log loss selects one."""


class RecipeSettings(Section):
    """Training of a network."""

    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "sgd"
    """`sgd` has Nesterov momentum 0.9; `muon`, from random weights only, updates convolutions and AdamW the rest."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate."""
    adam_learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """With `muon`, the peak learning rate of the AdamW parameters, that is, all except convolutions."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Decoupled in `adamw` and `muon` (AdamW part), an L2 penalty in the others; never on biases and norms."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the gradient; larger gradients are scaled down to it."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the target that is spread evenly over all classes."""
    mixup: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Parameter α of mixup's Beta(α, α) distribution; 0 turns it off."""
    cutmix: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Parameter α of CutMix's Beta(α, α) distribution; 0 turns it off."""
    schedule: Literal["constant", "one_cycle", "cosine", "plateau"] = "one_cycle"
    """`one_cycle` (linear) and `cosine` warm up first; `plateau` divides by 5 after 5 epochs without improvement."""
    warmup: Annotated[float, Field(ge=0, le=0.9)] = 0.2
    """Fraction of the training in which `one_cycle` and `cosine` warm up."""
    small_start: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Initial image side as a fraction of the full side, which is reached in two steps; smaller images train faster."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] | None = None
    """Images per step; overrides the data set's `batch_size`."""
    epochs_factor: Annotated[float, Field(gt=0, le=100)] = 1.0
    """Factor by which the data set's `epochs` is multiplied."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Epochs without improvement after which training stops; the best epoch is kept in any case."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay per step of the exponential average of the weights that is evaluated; 0 turns it off."""
    compile: bool = False
    """Compile the network with `torch.compile`. For GPUs: on CPUs it delays the start and is not faster."""


class ScratchSettings(RecipeSettings):
    """One model trained from random weights."""

    architecture: Architecture
    """A network of the zoo in src/darkroom/training/networks/models.py."""
    width: Annotated[int, Field(ge=4, le=1024)] = 32
    """Channels of the first layer; the other layers scale with it."""

    @model_validator(mode="after")
    def _fits_together(self) -> "ScratchSettings":
        if self.small_start < 1 and self.architecture in ONE_SIZE:
            raise ValueError(
                f"small_start: {self.small_start} needs a network that accepts images of any size, and "
                f"{self.architecture} does not: set it to 1"
            )
        return self


class TransferSettings(RecipeSettings):
    """One model that starts from pretrained weights."""

    architecture: Backbone | None = None
    """A network of docs/transfer.md or `timm/NAME`; omitted if `weights` is a candidate, whose card names it."""
    weights: str = IMAGENET
    """`imagenet` (the published ones), a `.pth` or `.safetensors` file, its URL, or the folder of a candidate."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    """SHA-256 of the weights file; required for a URL and for files that git does not track."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")] | None = None
    """Commit of the repository on timm's hub, for the published weights of `timm/NAME`; the newest if omitted."""
    method: Method = "auto"
    """`probe` fits only a new last layer, `finetune` then trains all layers, `probe+finetune` keeps the better one."""
    max_minutes: Annotated[float, Field(gt=0)] = 10.0
    """Budget of `auto` for fine-tuning, at a fixed rate per device and not by the clock, see docs/transfer.md."""
    input_size: Annotated[int, Field(ge=SMALLEST, le=1024)] | None = None
    """Side that images are resized to inside the network; the default depends on the network, see docs/transfer.md."""
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = "adamw"
    """`sgd` has Nesterov momentum 0.9; `muon` is only for random weights."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Peak learning rate of the last layer."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    """Decoupled in `adamw`, an L2 penalty in the others; never on biases and norms."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Fraction of the target that is spread evenly over all classes."""
    backbone_factor: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Learning rate of the topmost pretrained layers, relative to that of the new last layer."""
    lower_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    """Learning rate of the lowest pretrained layers, relative to that of the topmost ones."""
    norms: Literal["auto", "frozen", "trained"] = "auto"
    """Whether batch norms keep their pretrained statistics; `auto` freezes them below 5,000 training images."""
    average: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Decay per step of the exponential average of the weights that is evaluated; 0 turns it off."""

    @property
    def from_candidate(self) -> bool:
        """Whether `weights` is the folder of a candidate."""
        return self.weights != IMAGENET and not self.weights.endswith(WEIGHT_FILES) and not self.from_address

    @property
    def from_address(self) -> bool:
        """Whether `weights` is a URL."""
        return "://" in self.weights

    @property
    def from_hub(self) -> bool:
        """Whether the weights are those that timm publishes on its hub."""
        return self.weights == IMAGENET and bool(self.architecture and TIMM.fullmatch(self.architecture))

    @property
    def downloaded(self) -> bool:
        """Whether the weights come from the network, and not from this machine."""
        return self.from_address or (self.weights == IMAGENET and self.architecture not in get_args(LiteName))

    @property
    def weights_shown(self) -> str:
        """`weights` as reports show it: a URL without user, password and query.

        Only the last part of a path outside the project is kept.
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
                f"weights {self.weights!r} is interpreted as the folder of a candidate, whose card names its network: "
                f"omit architecture, or give a file that ends in {', '.join(WEIGHT_FILES)}"
            )
        if not self.from_candidate and not self.architecture:
            raise ValueError(
                f"weights {self.weights_shown!r} need their architecture: {', '.join(BACKBONES)}, or timm/NAME"
            )
        if self.revision and not self.from_hub:
            raise ValueError(
                "revision is a commit of the hub that publishes weights of timm/NAME, and these weights are not from "
                "it: omit revision, and pin other weights with sha256"
            )
        if self.optimizer == "muon":
            raise ValueError(
                "optimizer: muon rescales every filter, which destroys pretrained weights: set it to sgd, adam or adamw"
            )
        if self.from_address and not self.sha256:
            raise ValueError("a URL needs its sha256, so that everyone gets the same bytes")
        if self.architecture and (reason := misfit(self.architecture, self.input_size, self.small_start)):
            raise ValueError(reason)
        return self


def misfit(name: str, input_size: int | None, small_start: float) -> str:
    """Return why a pretrained network cannot be trained at these sizes, or an empty string."""
    if small_start < 1:
        return f"small_start: {small_start} is for networks of the zoo, which {name} is not; set input_size instead"
    if input_size and input_size < (smallest := SMALLEST_INPUT.get(name, SMALLEST)):
        return f"input_size: {name} needs at least {smallest} pixels, not {input_size}"
    if input_size and input_size != (only := ONLY_INPUT.get(name, input_size)):
        return f"input_size: {name} accepts only {only} pixels, not {input_size}"
    return ""
