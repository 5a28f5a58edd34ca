"""Starting a network from the weights of another, with a new last layer."""

from pathlib import Path

from safetensors.torch import load_file

from darkroom import candidate
from darkroom.errors import DarkroomError
from darkroom.training import network, optimizer
from darkroom.training.network import Network
from darkroom.training.session import Start
from darkroom.training.settings import ONE_SIZE, TransferSettings


def start(pretrained: Path, settings: TransferSettings, classes: int, image_size: int, seed: int) -> Start:
    """Return the network of the folder `pretrained` with a new head.

    The head learns at the full rate, the layers that know something already at `backbone_factor` of it. The
    normalisation is the one that the old layers were trained with.

    Raises DarkroomError when the weights do not fit the network that their card describes.
    """
    card = candidate.read_card(pretrained)
    if settings.small_start < 1 and card.network["architecture"] in ONE_SIZE:
        raise DarkroomError(
            f"small_start: {settings.small_start} is for networks of any size, which {card.network['architecture']} is "
            "not: set it to 1"
        )
    model = network.build(card.network, classes, image_size, seed)
    state = load_file(pretrained / "weights.safetensors")
    old = {name: tensor for name, tensor in state.items() if not name.startswith("model.head.")}
    whole = Network(model, card.mean, card.std)
    try:
        missing, unexpected = whole.load_state_dict(old, strict=False)
    except RuntimeError as error:
        raise DarkroomError(f"{pretrained}: the weights do not fit their card: {error}") from None
    if unexpected or any(not name.startswith("model.head.") for name in missing):
        names = ", ".join([*missing, *unexpected])
        raise DarkroomError(f"{pretrained}: the weights do not fit their card, see {names}")
    features, head = model.get_submodule("features"), model.get_submodule("head")
    shares = [(features, settings.backbone_factor), (head, 1.0)]
    words = f"{card.network['architecture']}, width {card.network['width']}, from the weights of {card.name}"
    return Start(whole, optimizer.groups(shares, settings), card.network, words)
