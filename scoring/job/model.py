"""The model section of a job file: the versions, and when each is in force."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from scoring.job import mlflow_uris
from scoring.job.mlflow_uris import RegisteredUri, parse_registered
from scoring.job.section import Section, check_kind
from scoring.job.uri_templates import check_root_template
from scoring.registry import MODELS

FOLDER_FORMATS = ("mlflow",)
"""The built-in kinds that read a folder; all others read one file."""

DATA_FORMATS = ("skops", "onnx", "lightgbm", "xgboost", "catboost")
"""The built-in kinds whose files are data: loading one runs no code that lies in it."""

DATA_EXTENSIONS = (*DATA_FORMATS, "cbm", "ubj")
"""Extensions of such files alone; what is called so and is a pickle is refused once it is read."""

TIMEOUT_SECONDS = 3600
"""How long a model's own process may take, unless the job says otherwise."""

ARTIFACT_FORMATS = ("csv", "parquet", "json", "bytes")
ModelFormat = Annotated[str, AfterValidator(partial(check_kind, MODELS))]


ArtifactName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")]
ArtifactFormat = Annotated[
    str,
    AfterValidator(partial(check_kind, MODELS, hidden=FOLDER_FORMATS, more=ARTIFACT_FORMATS)),
]
AcceptedRelease = Annotated[str, Field(pattern=r"^\d+\.\d+$")]


def _check_model_uri(uri: str) -> str:
    return uri if parse_registered(uri) else check_root_template(uri)


def _check_artifact_uri(uri: str) -> str:
    if mlflow_uris.is_folder(uri):
        raise ValueError("is a folder or a registered model; an artifact is one file")
    return check_root_template(uri)


def _may_run_code(kind: str | None, uri: str) -> bool:
    if kind is not None:
        return kind not in DATA_FORMATS
    return Path(uri).suffix.removeprefix(".") not in DATA_EXTENSIONS


class ArtifactConfig(Section):
    """A file that the job's scorer is given besides the model, such as a vectorizer."""

    uri: Annotated[
        str,
        AfterValidator(_check_artifact_uri),
        Field(description="The [URI](#uris) of one file, on disk or in S3."),
    ]
    sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="The file's SHA-256 digest. Required for pickles, and where neither "
            "`format` nor the extension says that the file is skops, onnx, lightgbm, xgboost or catboost.",
        ),
    ] = None
    format: Annotated[
        ArtifactFormat | None,
        Field(
            description="A model format, or `csv` and `parquet` (a DataFrame), `json`, `bytes`. By "
            "default, the content decides, and the file extension for tables."
        ),
    ] = None

    @property
    def declared_format(self) -> str | None:
        return self.format

    @property
    def may_run_code(self) -> bool:
        """Whether loading the file can run code, so that only a digest makes it safe."""
        return _may_run_code(self.format, self.uri)


class EnvironmentConfig(Section):
    """The Python and the packages in which a model version is scored, in a process of its own."""

    python: Annotated[
        str,
        Field(
            pattern=r"^3\.([89]|[1-9]\d)$",
            description='The Python, such as `"3.9"` (quoted): 3.8 or later. It must be installed '
            "where the job is scored; nothing is downloaded.",
        ),
    ]
    requirements: Annotated[
        Annotated[str, Field(min_length=1)] | Annotated[list[str], Field(min_length=1)],
        Field(
            description="A requirements file in the job file's folder or below it, or a list of "
            "its lines: `[scikit-learn==1.0.2]`. pandas and pyarrow are added where it does not "
            "name them. Wheels only."
        ),
    ]
    variables: Annotated[
        list[Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]],
        Field(
            description="Environment variables that the process is given in addition to `PATH`, "
            "the locale, `TMPDIR` and `TZ`. It has no others."
        ),
    ] = []
    timeout_seconds: Annotated[
        float,
        Field(
            gt=0,
            le=86400,
            description="How long one batch, or loading the model, may take before the process is "
            "killed.",
        ),
    ] = TIMEOUT_SECONDS


Environment = Annotated[
    Annotated[Literal["model"], Tag("model")] | Annotated[EnvironmentConfig, Tag("own")],
    Discriminator(lambda value: "model" if isinstance(value, str) else "own"),
]


class ModelVersionConfig(Section):
    """One version of the model, and the partition from which it is in force."""

    version: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$",
            description="The version's name: letters, digits, `.`, `_` and `-`, beginning with a "
            "letter or digit; at most 64 characters.",
        ),
    ]
    uri: Annotated[
        str,
        AfterValidator(_check_model_uri),
        Field(
            description="The [URI](#uris) of one file, on disk or in S3. It may contain `{data}` "
            "and `{models}`, but no field of a partition. With a `/` at its end, it is the folder "
            "of an [MLflow model](#mlflow-models); `mlflow:models:/NAME/3` is one in a registry."
        ),
    ]
    sha256: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9a-f]{64}$",
            description="The file's SHA-256 digest, 64 lowercase hexadecimal digits, as printed by "
            "`sha256sum FILE`. Required for pickles, folders, kinds of packages, and where neither "
            "`format` nor the extension says that the file is [data](#model-formats). Of an MLflow "
            "model, that of the whole folder, which the error for a missing one names.",
        ),
    ] = None
    trust: Annotated[
        Literal["registry"] | None,
        Field(
            description="`registry`: load whatever the MLflow registry has under this URI, without "
            "a `sha256`. [What that means](security.md#mlflow-registries)."
        ),
    ] = None
    in_force_from: Annotated[
        str | None,
        Field(
            description="The [key](#partitions-and-their-keys) of the first partition that this "
            "version scores under `as_of`. Required, but for a candidate."
        ),
    ] = None
    candidate: Annotated[
        bool,
        Field(
            description="`true`: a [candidate](candidates.md), which is never in force. It scores "
            "where it is named: as a challenger, in `scoring diff`, or pinned for one run."
        ),
    ] = False
    format: Annotated[
        ModelFormat | None,
        Field(
            description="`skops`, `joblib`, which reads every pickle, `mlflow`, `onnx`, `lightgbm`, "
            "`xgboost`, `catboost` ([which is what](#model-formats)), or a kind that a "
            "[package](architecture.md#add-a-kind) adds. By default, the content decides."
        ),
    ] = None
    accept: Annotated[
        dict[str, AcceptedRelease],
        Field(
            description="Releases that may have saved the file although another one is installed: "
            '`{scikit-learn: "1.2"}` after you have compared predictions. The manifest records it.'
        ),
    ] = {}
    files: Annotated[
        dict[ArtifactName, ArtifactConfig],
        Field(description="Artifacts of this version, on top of `model.files` or instead of them."),
    ] = {}
    profile: Annotated[
        str | None,
        AfterValidator(_check_artifact_uri),
        Field(
            description="The [URI](#uris) of the [training profile](monitoring.md#profiles) of this "
            "version, as `scoring profile` writes it."
        ),
    ] = None
    environment: Annotated[
        Environment | None,
        Field(
            description="[An own Python](#modelversionsenvironment) with the packages that saved "
            "the model, instead of those that are installed. `model`: those that an MLflow model "
            "asks for."
        ),
    ] = None

    @property
    def declared_format(self) -> str | None:
        """The kind that is given, or that a package adds for the extension; None: by content."""
        if self.format is None and self.is_folder:
            return "mlflow"
        suffix = Path(self.uri).suffix.removeprefix(".")
        added = suffix if suffix in MODELS and suffix not in MODELS.built_in else None
        return self.format or added

    @property
    def is_folder(self) -> bool:
        """Whether the model is a folder of files, not one file."""
        return mlflow_uris.is_folder(self.uri)

    @property
    def registered(self) -> RegisteredUri | None:
        """What the URI means in an MLflow registry; None for a model that lies elsewhere."""
        return parse_registered(self.uri)

    def pinned_to(self, name: str) -> ModelVersionConfig | None:
        """Return the version ``name``: this one's and a number, such as ``champion.3``, for a URI
        that means another registered version over time; None where ``name`` is not of that form.
        """
        registered, (own, _, number) = self.registered, name.rpartition(".")
        if registered is None or not registered.moves or own != self.version:
            return None
        if not number.isascii() or not number.isdigit() or number.startswith("0"):
            return None
        uri = str(RegisteredUri(registered.name, number))
        return self.model_copy(update={"version": name, "uri": uri})

    @property
    def has_signature(self) -> bool:
        """Whether the model says itself which inputs it has, before it is loaded."""
        return self.declared_format == "mlflow"

    @property
    def may_run_code(self) -> bool:
        """Whether loading the file can run code, so that only a digest makes it safe."""
        return _may_run_code(self.declared_format, self.uri)


class ModelConfig(Section):
    """The versions of the model, and which of them scores which partition."""

    policy: Annotated[
        Literal["as_of", "current"],
        Field(
            description="`as_of`: the version in force at the partition, so that a backfill never "
            "uses a later one. `current`: the newest version, for all partitions."
        ),
    ] = "as_of"
    input: Annotated[
        Literal["frame", "records", "array"],
        Field(
            description="What `predict` is given: `frame`, a DataFrame of the inputs; `records`, a "
            "list of dicts, as a DictVectorizer wants; `array`, a NumPy array in the order of the "
            "inputs. A scorer is always given a DataFrame."
        ),
    ] = "frame"
    files: Annotated[
        dict[ArtifactName, ArtifactConfig],
        Field(
            description="[Further files](#a-scorer-of-your-own) that a scorer is given as "
            "parameters of these names: `run(df, model, dv)`."
        ),
    ] = {}
    versions: Annotated[
        list[ModelVersionConfig],
        Field(min_length=1, description="The history of promotions."),
    ]
    trusted_types: Annotated[
        list[str],
        Field(
            description="Types that a skops file may contain in addition to those that skops "
            "considers safe. The error for a missing one names it."
        ),
    ] = []

    @property
    def has_signatures(self) -> bool:
        """Whether every version says itself which inputs it has."""
        return all(version.has_signature for version in self.versions)
