import numpy as np

from darkroom.candidate import read_predictions
from darkroom.packed import fingerprint, open_packed, read_split
from darkroom.predictor import Predictor
from tests import factories


def test_a_made_candidate_answers_as_its_predictions_say(tmp_path):
    top = factories.write_project(tmp_path, networks=("small",))
    data, split = top / "data" / "packed", read_split(top / "data" / "split.csv")
    predictor = Predictor(top / "models" / "candidates" / "small")
    predictions = read_predictions(top / "models" / "candidates" / "small")
    logits = predictor.logits(np.asarray(open_packed(data).images[split.rows("test")]))
    np.testing.assert_allclose(logits, predictions.test, atol=1e-5)
    assert predictor.card.data == fingerprint(data, top / "data" / "split.csv")
    assert (logits.argmax(axis=1) == split.labels[split.rows("test")]).mean() > 0.6
