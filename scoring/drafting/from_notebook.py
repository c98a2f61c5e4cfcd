"""The part of a draft that a notebook says: the scorer, the files it is given, what is missing."""

from __future__ import annotations

import hashlib
from pathlib import Path

from scoring.drafting.contract import DraftInput
from scoring.drafting.draft import Draft, DraftFile, wanted_inputs
from scoring.drafting.months import plain_uri
from scoring.drafting.notebook import LoadedFile, NotebookFacts
from scoring.job.inputs import ColumnConfig
from scoring.job.notebook import SKIP
from scoring.models.artifacts import READERS, artifact_kind


def add_notebook(draft: Draft, facts: NotebookFacts, name: str, model: Path | None) -> Path | None:
    """Add the notebook, called ``name`` from the job file's folder, as scorer to ``draft``.

    Returns the model's file: ``model``, or the one that the notebook loads into the parameter of
    ``run`` that is not the frame.
    """
    draft.scorer, draft.notebook = name, facts
    draft.left += facts.problems
    if facts.parameters is None:
        draft.left.append("add a cell that defines run: def run(df, model): return DataFrame")
        return model
    if not facts.parameters:
        draft.left.append("run takes no parameters: its first one is the DataFrame of the inputs")
    if facts.outputs:
        draft.prediction = facts.outputs[0]
        if len(facts.outputs) > 1:
            draft.notes.append(f"run returns {', '.join(facts.outputs)}: all are published")
    else:
        draft.left.append(
            "write the column of run's result that is the prediction into output.prediction"
        )
    return model or _model_of(draft, facts)


def add_files(
    draft: Draft, facts: NotebookFacts, model: Path | None, roots: dict[str, str]
) -> None:
    """Add the further files that ``run`` is given, and what has to be done about all that it loads."""
    further = [name for name in (facts.parameters or [])[1:] if name != _model_parameter(facts)]
    for name in further:
        loaded = next((one for one in facts.loads if one.variable == name), None)
        path = _existing(facts, loaded) if loaded else None
        if path is None:
            draft.left.append(
                f"run is given {name!r}: name its file in model.files, or give it a default"
            )
            continue
        data = path.read_bytes()
        uri = plain_uri(path, dict(reversed(roots.items())))
        may_run_code = artifact_kind(data, path.name) not in (*READERS, "skops")
        draft.files.append(DraftFile(name, uri, hashlib.sha256(data).hexdigest(), may_run_code))
        if may_run_code and not draft.trusted:
            draft.left.append(f"add the sha256 of {name} if you trust that file, too")
    if draft.files and model is None:
        draft.left.append("model.files go with a model: give one with --model")
    if model is None and _model_parameter(facts):
        draft.left.append(f"run is given {_model_parameter(facts)!r}: give its file with --model")
    draft.left += [_about(one, facts) for one in facts.loads if not one.skipped]


def without_sample(draft: Draft) -> None:
    """Add what a sample would say, to be filled in."""
    draft.source_uri = f"{{data}}/{draft.name}/{{year}}-{{month}}.parquet"
    draft.left.append(
        "without --sample, source.uri, start, row_id and the types of the inputs are placeholders"
    )
    draft.row_id_comment = "TODO: the columns that identify a row, if there are some"
    wanted = wanted_inputs(draft)
    if wanted is None:
        draft.left.append("list the columns that run reads under inputs")
        wanted = ["TODO"]
    config = ColumnConfig(type="float64")
    draft.inputs = [DraftInput(name, config, "TODO: its type") for name in wanted]


def _model_parameter(facts: NotebookFacts) -> str | None:
    """Return the parameter of ``run`` that is given the model: ``model``, or the only one for which
    no file is loaded.
    """
    further = (facts.parameters or [])[1:]
    if "model" in further or len(further) == 1:
        return "model" if "model" in further else further[0]
    loaded = {one.variable for one in facts.loads}
    others = [name for name in further if name not in loaded]
    return others[0] if len(others) == 1 else None


def _model_of(draft: Draft, facts: NotebookFacts) -> Path | None:
    parameter = _model_parameter(facts)
    loaded = [one for one in facts.loads if parameter and one.variable == parameter]
    path = _existing(facts, loaded[-1]) if loaded else None
    if path is not None:
        draft.notes.append(f"the model is {path}, which cell {loaded[-1].cell} loads")
    return path


def _existing(facts: NotebookFacts, loaded: LoadedFile) -> Path | None:
    """Return the file that a cell loads, from the notebook's folder, if it is there."""
    path = (facts.path.parent / loaded.path).absolute()
    return path if path.is_file() else None


def _about(loaded: LoadedFile, facts: NotebookFacts) -> str:
    """Return what to do about a cell that loads a file, which no manifest would name."""
    where = f"cell {loaded.cell} loads {loaded.path!r}"
    if loaded.variable in (facts.parameters or [])[1:]:
        return f"{where}, and run is given it: tag the cell {SKIP}"
    return (
        f"{where} when the scorer is loaded, and no manifest has its digest: tag the cell {SKIP}, or "
        f"make it a parameter of run ({loaded.variable or 'name'}) and a file of model.files"
    )
