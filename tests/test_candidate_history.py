from dvclive import Live

from darkroom.candidate import Epoch, read_history
from tests import factories


def test_what_dvclive_writes_is_read_back(tmp_path):
    epochs = [Epoch(1, 1.5, 2.0, 0.25), Epoch(2, 0.75, 1.0, 0.5), Epoch(3, 1e-7, 0.5, 1.0)]
    with Live(str(tmp_path / "history"), dvcyaml=False, save_dvc_exp=False) as live:
        for epoch in epochs:
            live.step = epoch.epoch
            live.log_metric("train/loss", epoch.train_loss)
            live.log_metric("validation/loss", epoch.validation_loss)
            live.log_metric("validation/accuracy", epoch.validation_accuracy)
    assert read_history(tmp_path) == epochs


def test_a_candidate_without_epochs_has_no_history(tmp_path):
    assert read_history(tmp_path) == []


def test_the_factories_write_history_as_dvclive_does(tmp_path):
    top = factories.write_project(tmp_path, networks=("small",))
    history = read_history(top / "models" / "candidates" / "small")
    assert [epoch.epoch for epoch in history] == list(range(1, 9))
    assert read_history(top / "models" / "candidates" / "baseline") == []
