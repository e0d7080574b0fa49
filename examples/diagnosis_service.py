"""A diagnosis service: it predicts from a cell sample now, and gets the true diagnosis days later.

It trains its model at start on the Breast Cancer Wisconsin (Diagnostic) data by W. H. Wolberg, W. N. Street
and O. L. Mangasarian (UCI Machine Learning Repository, CC BY 4.0), read from the installed scikit-learn.
"""

from datetime import datetime
from typing import Any

from flask import Flask, abort, request
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import joinback

APPLICATION = "diagnosis-example"
DATA = load_breast_cancer()
FEATURES = [str(name) for name in DATA.feature_names]
MALIGNANT = DATA.target == list(DATA.target_names).index("malignant")


def train(cases: list[int]) -> Pipeline:
    """Return a model, fitted on these rows of the data, that predicts whether a case is malignant."""
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(DATA.data[cases], MALIGNANT[cases])


def create_app(model: Pipeline) -> Flask:
    """Return the service, with a route for predictions and a route for diagnoses."""
    app = Flask(__name__)

    @app.post("/cases/<case_id>/predict")
    def predict(case_id: str) -> dict[str, Any]:
        try:
            inputs = {name: float(request.json[name]) for name in FEATURES}
        except (KeyError, TypeError, ValueError) as error:
            abort(400, f"give every feature as a number: {error!r}")
        probability = float(model.predict_proba([list(inputs.values())])[0, 1])
        outputs = {"malignant": probability > 0.5, "probability": probability}
        joinback.log_record(
            APPLICATION, inputs=inputs, outputs=outputs, join_key=case_id, version="1.0", timestamp=event_time()
        )
        return outputs

    @app.post("/cases/<case_id>/diagnose")
    def diagnose(case_id: str) -> tuple[str, int]:
        malignant = request.json.get("malignant")
        if not isinstance(malignant, bool):
            abort(400, "malignant must be true or false")
        feedback = {"malignant": malignant}
        joinback.log_record(APPLICATION, feedback=feedback, join_key=case_id, timestamp=event_time())
        return "", 204

    return app


def event_time() -> datetime | None:
    """Return the `at` of the request, which a replay of past days sends; without it None, which means now."""
    try:
        return datetime.fromisoformat(request.json["at"]) if "at" in request.json else None
    except (TypeError, ValueError) as error:
        abort(400, f"at must be a time in ISO 8601: {error}")


if __name__ == "__main__":
    create_app(train(list(range(len(MALIGNANT))))).run()
