"""What Airflow's providers page and ``airflow providers list`` show of this package."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """Describe the package, as the entry point ``apache_airflow_provider`` asks for it.

    Airflow checks the result against ``airflow/provider_info.schema.json``.
    """
    integration = "Batch scoring"
    return {
        "package-name": "batch-scoring",
        "name": integration,
        "description": "Scores each partition with the model version that was in force then.",
        "operators": [
            {
                "integration-name": integration,
                "python-modules": [
                    "scoring_airflow.operators.evaluate",
                    "scoring_airflow.operators.extract",
                    "scoring_airflow.operators.score",
                    "scoring_airflow.operators.upload",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": integration,
                "python-modules": ["scoring_airflow.triggers.source"],
            }
        ],
        "cli": ["scoring_airflow.cli.definition.commands"],
        "extra-links": [
            "scoring_airflow.links.PartitionLink",
            "scoring_airflow.links.PredictionsLink",
            "scoring_airflow.links.QuarantineLink",
        ],
        "plugins": [{"name": "scoring", "plugin-class": "scoring_airflow.plugin.ScoringPlugin"}],
    }
