"""Transfer from start to candidate: a probe, fine-tuning, or the better of the two."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from darkroom import candidate
from darkroom.training.engine import session
from darkroom.training.engine.session import Context, Start
from darkroom.training.settings import Method, TransferSettings
from darkroom.training.transfer import choice, initialization
from darkroom.training.transfer.choice import Choice
from darkroom.training.transfer.initialization import Probed, Source


def train(source: Source, settings: TransferSettings, context: Context, out: Path) -> None:
    """Train the pretrained network of `source` by the method of `settings` and write the candidate `out`.

    Raises DarkroomError when the weights do not fit the network, or training diverges.
    """
    pretrained = initialization.load(source, settings, context)
    job, world, size = context.job, context.world, context.training.size
    epochs = max(1, round(job.training.epochs * settings.epochs_factor))
    products = choice.multiply_adds(pretrained.network, size) if settings.method == "auto" else 0
    device = context.compute.device.type
    chosen = choice.choose(settings, len(context.training), epochs, products, device)
    if world.is_main and not job.quiet:
        print(f"{job.name}: {chosen.method}, {chosen.reason}", flush=True)
    decision = {"auto": {"max_minutes": settings.max_minutes, "reason": chosen.reason}}
    facts: dict[str, Any] = decision if settings.method == "auto" else {}

    def begun(probed: Probed, method: Method) -> Start:
        start = initialization.start(source, settings, pretrained, probed, method)
        return replace(start, facts={**start.facts, **facts})

    probed = None
    if chosen.method != "finetune":  # before fine-tuning, so that errors are reported at once
        probed = world.run_on_main("probe", lambda: initialization.fit(source, pretrained, context, final=True))
        if chosen.method == "probe":
            session.train(context, begun(probed, "probe"), out)
            return
    # Quiet if the log already contains the accuracy of the probe.
    quiet = replace(context, job=replace(job, quiet=job.quiet or probed is not None))
    head = world.run_on_main("head", lambda: initialization.fit(source, pretrained, quiet, final=False))
    start = begun(head, chosen.method)
    session.train(_shortened(context, settings, chosen), start, out)
    if probed is None or not world.is_main:
        return
    facts |= {"fine_tuning": _compare(context, probed, out)}
    if not facts["fine_tuning"]["kept"]:
        seconds = candidate.read_card(out).seconds - start.seconds
        pretrained = initialization.load(source, settings, context)
        probe = begun(probed, "probe")
        session.train(context, replace(probe, seconds=probe.seconds + seconds), out)
        return
    card = candidate.read_card(out)
    candidate.write_card(out, replace(card, training={**card.training, **facts}))


def _shortened(context: Context, settings: TransferSettings, chosen: Choice) -> Context:
    """Return the context with the epochs of `auto` and, on a processor, with the batches of a short training."""
    training = context.job.training
    if chosen.epochs is not None:
        settings = settings.model_copy(update={"epochs_factor": 1.0})
        training = training.model_copy(update={"epochs": chosen.epochs})
    if chosen.method == "probe+finetune" and context.compute.device.type == "cpu" and settings.batch_size is None:
        settings = settings.model_copy(update={"batch_size": min(training.batch_size, choice.BATCH)})
    return replace(context, job=replace(context.job, training=training, settings=settings))


def _compare(context: Context, probed: Probed, out: Path) -> dict[str, Any]:
    """Return how the fine-tuned candidate `out` compares with the probe, and whether it is kept, for the card."""
    card, labels = candidate.read_card(out), context.split.labels[context.split.rows("validation")]
    found = choice.compare(candidate.read_predictions(out).validation, probed.validation, labels)
    # The start of fine-tuning is not compared with the probe: it is one, fitted to fewer images.
    is_kept = found.is_better and card.best_epoch > 0
    if not context.job.quiet:
        words = f"it is right on {found.gained:,} validation images where the probe is wrong, wrong on {found.lost:,}"
        print(f"{context.job.name}: fine-tuning {'kept' if is_kept else 'discarded'}: {words} where it is right")
    return {"epochs": card.epochs, **asdict(found), "kept": is_kept}
