"""What is advised for a model that another scikit-learn saved."""

from __future__ import annotations

import pytest

from scoring.models.base import ModelFile
from scoring.models.sklearn import in_environment

FILE = ModelFile(name="job", version="v1", uri="v1.pkl", sha256="", format="joblib")


@pytest.mark.parametrize(
    ("release", "python"),
    [
        ("0.22.1", "3.8"),
        ("0.23.2", "3.8"),
        ("0.24.2", "3.9"),
        ("1.0.2", "3.9"),
        ("1.6.1", "3.9"),
        ("1.7.2", "3.10"),
        ("1.8.0", "3.11"),
        ("2.0", "3.11"),
    ],
)
def test_the_advised_python_has_wheels_of_the_release(release: str, python: str):
    line = f'environment: {{python: "{python}", requirements: [scikit-learn=={release}]}} in this'
    advice = in_environment(FILE, release)
    assert advice.startswith(line)
    assert "accept" not in advice


def test_a_release_without_a_wheel_for_any_python_is_read_by_the_oldest_that_has_one():
    advice = in_environment(FILE, "0.20.3")
    assert 'environment: {python: "3.8", requirements: [scikit-learn==0.22.2.post1]}' in advice
    assert 'together with accept: {scikit-learn: "0.20"}' in advice


def test_a_model_of_an_unknown_release():
    assert "with the packages that it was trained with" in in_environment(FILE, None)


def test_an_mlflow_model_knows_what_it_needs():
    folder = FILE.model_copy(update={"uri": "model/", "format": "mlflow"})
    assert in_environment(folder, "1.0.2").startswith("environment: model in this version")
