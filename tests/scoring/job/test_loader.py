from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scoring.errors import JobError
from scoring.job.loader import load_job
from tests.scoring.factories import JOB

TEXT = """\
name: sample
schedule: "0 3 2 * *"
start: 2013-02
source:
  uri: "{data}/{partition}.parquet"
row_id: [id]
inputs:
  x: {type: float64}
model:
  versions:
    - version: v1
      uri: "{models}/v1.skops"
      in_force_from: 2013-02
destination: {uri: "{data}/out"}
"""


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "sample.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def message_of(folder: Path, text: str | bytes) -> str:
    """What is said of a wrong job file, without the file's name."""
    path = write(folder, text)
    with pytest.raises(JobError) as error:
        load_job(path)
    assert str(error.value).startswith(str(path))
    return str(error.value).removeprefix(str(path))


def test_a_right_file_is_read_with_its_digest(tmp_path: Path):
    path = write(tmp_path, TEXT)
    file = load_job(path)
    assert file.job.name == "sample"
    assert file.job.first_partition.key == "2013-02"
    assert file.job.version_names == ["v1"]
    assert file.path == path
    assert file.sha256 == hashlib.sha256(TEXT.encode()).hexdigest()
    assert file.scorer_path is None


def test_relative_uris_and_the_scorer_start_from_the_folder_of_the_file(tmp_path: Path):
    text = TEXT.replace("{data}/{partition}", "months/{partition}") + "scorer: own/scorer.py\n"
    file = load_job(write(tmp_path, text))
    partition = file.job.first_partition
    assert (
        file.roots().expand(file.job.source.uri, partition) == f"{tmp_path}/months/2013-02.parquet"
    )
    assert file.scorer_path == tmp_path / "own/scorer.py"


def test_a_file_named_relatively_has_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write(tmp_path, TEXT)
    monkeypatch.chdir(tmp_path)
    assert load_job("sample.yaml").path == tmp_path / "sample.yaml"


@pytest.mark.parametrize(
    ("old", "new", "line", "field", "message"),
    [
        # What is missing or unknown.
        ("name: sample\n", "", 1, "name", "missing; this key is required"),
        ("      in_force_from: 2013-02\n", "", 11, "model.versions[1].in_force_from", "missing"),
        (
            "name:",
            "nmae: a\nname:",
            1,
            "nmae",
            "unknown key; did you mean 'name'? (known here: name,",
        ),
        (
            "{type: float64}",
            "{typ: float64, type: float64}",
            8,
            "inputs.x.typ",
            "unknown key; did you mean 'type'? (known here: type, nullable, min, max, allowed, "
            "unit, timezone)",
        ),
        (
            "      uri:",
            "      sha: a\n      uri:",
            12,
            "model.versions[1].sha",
            "did you mean 'sha256'? (known here: version, uri, sha256, trust, in_force_from, "
            "candidate, format, accept, files, profile, environment)",
        ),
        ("row_id:", "xyz: 1\nrow_id:", 6, "xyz", "unknown key (known here: name, description"),
        ("row_id:", "run: {shards: 1}\nrow_id:", 6, "run.shards", "unknown key; did you mean"),
        # What stands there, and what may.
        (
            "float64",
            "float46",
            8,
            "inputs.x.type",
            "\"float46\" is not allowed; valid values: 'string', 'int8'",
        ),
        ("float64", "float46", 8, "inputs.x.type", "; did you mean float64?"),
        (
            "row_id:",
            "partition: monthly\nrow_id:",
            6,
            "partition",
            "\"monthly\" is not allowed; valid values: 'month', 'week', 'day' or 'hour'; did you "
            "mean month?",
        ),
        (
            "row_id:",
            "timezone: Mars/Olympus\nrow_id:",
            6,
            "timezone",
            "'Mars/Olympus' is not an IANA time zone such as UTC",
        ),
        ("row_id:", "timezone: ''\nrow_id:", 6, "timezone", "'' is not an IANA time zone"),
        (
            "row_id:",
            "timezone: America\nrow_id:",
            6,
            "timezone",
            "'America' is not an IANA time zone",
        ),
        (
            "row_id:",
            "timezone: ../../etc/passwd\nrow_id:",
            6,
            "timezone",
            "is not an IANA time zone",
        ),
        ('"0 3 2 * *"', "monthly", 2, "schedule", "'monthly' is not a cron expression"),
        (
            '"0 3 2 * *"',
            '"0 3 2-9 * *"',
            2,
            "schedule",
            "does not fit month partitions: there would be more than one run for 2013-02; '0 3 2 * "
            "*' fits",
        ),
        (
            "start: 2013-02",
            "start: 2013-2",
            3,
            "start",
            "'2013-2' is not a month; a month looks like 2013-05",
        ),
        (
            "start: 2013-02",
            "start: 2013",
            3,
            "start",
            "2013 should be a valid string; put it in quotes",
        ),
        ("start: 2013-02", "start: 9999-12", 3, "start", "'9999-12' is not a month"),
        (
            "in_force_from: 2013-02",
            "in_force_from: 2013-02-01",
            13,
            "model.versions[1].in_force_from",
            "'2013-02-01' is not a month",
        ),
        (
            "{partition}",
            "{moth}",
            5,
            "source.uri",
            "{moth} is not a field of a URI; known: data, models, year, month",
        ),
        (
            "{data}/out",
            "{data}/{month}",
            14,
            "destination.uri",
            "{month} is not a field of this URI",
        ),
        (
            "{models}/v1",
            "{models}/{month}",
            12,
            "model.versions[1].uri",
            "{month} is not a field of this URI",
        ),
        ("{data}/out", "s4://out", 14, "destination.uri", "s4:// is not supported"),
        (
            '"{data}/{partition}.parquet"',
            "https://host/*.parquet",
            5,
            "source.uri",
            "is a pattern, but https servers cannot list files; name one file per partition",
        ),
        (
            '"{data}/{partition}.parquet"',
            "http://host/x.parquet",
            5,
            "source.uri",
            "http:// is not supported (the rows could be modified in transit); use https://",
        ),
        (
            "{data}/out",
            "https://host/out",
            14,
            "destination.uri",
            "https:// is not supported; use s3://,",
        ),
        (
            "{models}/v1",
            "https://host/v1",
            12,
            "model.versions[1].uri",
            "https:// is not supported",
        ),
        (
            "row_id:",
            f"  sha256: {{2013-02: {'x' * 64}}}\nrow_id:",
            6,
            "source.sha256.2013-02",
            "is not a SHA-256 digest: 64 hexadecimal digits",
        ),
        (
            "row_id:",
            f"  sha256: {{2013-02-01: {'a' * 64}}}\nrow_id:",
            6,
            "source.sha256.2013-02-01",
            "'2013-02-01' is not a month; a month looks like 2013-05",
        ),
        (
            "row_id:",
            f"  sha256: {{2013-01: {'a' * 64}}}\nrow_id:",
            6,
            "source.sha256.2013-01",
            "sample has no partition 2013-01: its partitions are from 2013-02 on",
        ),
        (
            '"{data}/{partition}.parquet"',
            f'"{{data}}/*.parquet"\n  sha256: {{2013-02: {"a" * 64}}}',
            6,
            "source.sha256",
            "requires one file per partition, and uri is a pattern",
        ),
        (
            'uri: "{data}/{partition}.parquet"',
            "sql: SELECT id, x FROM t ORDER BY id\n  conn_id: warehouse\n"
            f"  sha256: {{2013-02: {'a' * 64}}}",
            7,
            "source.sha256",
            "requires uri",
        ),
        (
            "row_id:",
            "  wait: {timeout_hours: 0}\nrow_id:",
            6,
            "source.wait.timeout_hours",
            "0 should be greater than 0",
        ),
        (
            "row_id:",
            "  wait: {poke_interval_seconds: .inf}\nrow_id:",
            6,
            "source.wait.poke_interval_seconds",
            "should be less than or equal to 86400",
        ),
        (
            "row_id:",
            "  wait: {timeout: 4}\nrow_id:",
            6,
            "source.wait.timeout",
            "did you mean 'timeout_hours'? (known here: timeout_hours, poke_interval_seconds)",
        ),
        ("row_id:", "  wait: yes\nrow_id:", 6, "source.wait", "true should be a valid mapping"),
        (
            'uri: "{data}/{partition}.parquet"',
            "sql: SELECT id, x FROM t ORDER BY id\n  conn_id: warehouse\n  wait: {}",
            7,
            "source.wait",
            "requires uri; a query without rows is a matter of checks.min_rows",
        ),
        ("row_id: [id]", "row_id: id", 6, "row_id", '"id" should be a valid list'),
        ("row_id: [id]", "row_id: []", 6, "row_id", "[] "),
        (
            "row_id: [id]",
            "row_id: [1]",
            6,
            "row_id[1]",
            "1 should be a valid string; put it in quotes",
        ),
        (
            '  uri: "{data}/{partition}.parquet"\n',
            "  date_column: at\n",
            4,
            "source",
            "requires uri (files), sql (a database), or both; neither is given",
        ),
        (
            "row_id:",
            "  sql: SELECT 1 ORDER BY 1\nrow_id:",
            6,
            "source.sql",
            "reads no table source",
        ),
        (
            "row_id:",
            "  conn_id: warehouse\nrow_id:",
            6,
            "source.conn_id",
            "is for sql without uri; set run.aws_conn_id",
        ),
        (
            'uri: "{data}/{partition}.parquet"',
            "sql: SELECT id, x FROM t ORDER BY id",
            4,
            "source.conn_id",
            "missing; sql requires an Airflow connection",
        ),
        (
            'uri: "{data}/{partition}.parquet"',
            "sql: SELECT id, x FROM t ORDER BY id\n  conn_id: warehouse\n  format: csv",
            7,
            "source.format",
            "requires uri",
        ),
        (
            'uri: "{data}/{partition}.parquet"',
            "conn_id: a b\n  sql: SELECT id, x FROM t ORDER BY id",
            5,
            "source.conn_id",
            '"a b" ',
        ),
        (
            'uri: "{data}/{partition}.parquet"',
            "conn_id: warehouse\n  sql: SELECT id, x FROM t",
            6,
            "source.sql",
            "a query must end with ORDER BY",
        ),
        (
            'uri: "{data}/{partition}.parquet"',
            "conn_id: warehouse\n  sql: SELECT id, x FROM t WHERE day = :day ORDER BY id",
            6,
            "source.sql",
            ":day is not a parameter of a query; known: :start, :end, :partition",
        ),
        (
            "row_id:",
            "checks: {min_rows: many}\nrow_id:",
            6,
            "checks.min_rows",
            '"many" should be a valid integer',
        ),
        (
            "row_id:",
            "checks: {min_rows: -1}\nrow_id:",
            6,
            "checks.min_rows",
            "-1 should be greater than or equal to 0",
        ),
        (
            "row_id:",
            "checks: {max_quarantined_fraction: 5}\nrow_id:",
            6,
            "checks.max_quarantined_fraction",
            "5 should be less than or equal to 1",
        ),
        (
            "row_id:",
            "run: {shard_rows: 10}\nrow_id:",
            6,
            "run.shard_rows",
            "10 should be greater than or equal to 1000",
        ),
        (
            "row_id:",
            "checks:\n  drift:\n    hold: {PSI: 0.05}\nrow_id:",
            8,
            "checks.drift.hold.PSI",
            "0.05 should be greater than or equal to 0.1",
        ),
        (
            "row_id:",
            "run: {retries: yes}\nrow_id:",
            6,
            "run.retries",
            "true should be a valid integer",
        ),
        ("name: sample", "name: my sample", 1, "name", '"my sample" '),
        (
            "version: v1",
            "version: 1",
            11,
            "model.versions[1].version",
            "1 should be a valid string; put it in quotes",
        ),
        ("version: v1", "version: v1\n      sha256: abc", 12, "model.versions[1].sha256", '"abc" '),
        ("v1.skops", "v1.bin", 11, "model.versions[1].sha256", "missing; a file that is not skops"),
        (
            "v1.skops",
            "v1.joblib",
            11,
            "model.versions[1].sha256",
            "missing; a file that is not skops can run code",
        ),
        ("{type: float64}", "float64", 8, "inputs.x", '"float64" should be a valid mapping'),
        (
            "{type: float64}",
            "{type: string, allowed: [DE, NO]}",
            8,
            "inputs.x.allowed",
            "false is not of type string; put it in quotes",
        ),
        (
            "destination:",
            "output: {probabilities: {p: [1]}}\ndestination:",
            14,
            "output.probabilities.p",
            "[1] should be a valid string, or [1] should be a valid integer, or",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line_its_field_what_stands_there_and_what_may(
    tmp_path: Path, old: str, new: str, line: int, field: str, message: str
):
    assert old in TEXT
    text = message_of(tmp_path, TEXT.replace(old, new, 1))
    assert f"\n  line {line}, {field}: " in text
    assert message in text
    assert text.startswith(" is not a valid job file (1 problem):")


def test_all_mistakes_of_a_file_are_reported_in_the_order_of_their_lines(tmp_path: Path):
    text = (
        TEXT.replace("float64", "real").replace("name: sample", "name: 7").replace("start", "strat")
    )
    lines = message_of(tmp_path, text).splitlines()
    assert lines[0] == " is not a valid job file (4 problems):"
    assert [line.split(":")[0] for line in lines[1:]] == [
        "  line 1, name",
        "  line 1, start",
        "  line 3, strat",
        "  line 8, inputs.x.type",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", ", line 2: the key 'name' is given twice, first in line 1; remove one"),
        ("source:\n  uri: a\n  x: 1\n  uri: b\n", ", line 4: the key 'uri' is given twice"),
        ("name: [a\n", ", line 1: not valid YAML: the [ that begins here is not closed"),
        ("name: a\n\tx: b\n", ", line 2: not valid YAML: "),
        ("name: 'a\n", ": not valid YAML: "),
        ("a: b: c\n", ", line 1: not valid YAML: "),
        ("name: *nobody\n", ", line 1: not valid YAML: "),
        ("name: !!python/object:os.system ls\n", ", line 1: not valid YAML: "),
        ("x: 1\nname: !!int one\n", ", line 2: not valid YAML: 'one' cannot be read as int; remove the tag"),
        ("x: 1\nname: " + "9" * 5000, ", line 2: not valid YAML: '999"),
        ("name: !!bool maybe\n", ", line 1: not valid YAML: "),
        ("name: !!timestamp today\n", ", line 1: not valid YAML: "),
        ('x: 1\nname: "a\\0"\n', ", line 2: not valid YAML: the text has a character that cannot be stored"),
        (b"x: 1\ny: a\x01\n", ", line 2: not valid YAML: control characters are not allowed"),
        ("name: a\n---\nname: b\n", ", line 2: not valid YAML: "),
        ("a: &a [*a]\n", ": not valid YAML: "),
        ("? [a, b]\n: c\n", ", line 1: the key here is not text; put it in quotes"),
        ("x: a\n1: b\n", ", line 2: the key '1' is not text; put it in quotes"),
        ("inputs:\n  no: {type: string}\n", ", line 2: the key 'no' is not text"),
        ("a: " + "[" * 20 + "]" * 20, " is not a valid job file"),
        ("a: " + "[" * 2000 + "]" * 2000, ", line 1: not a job file: values within values, more than 30 deep"),
        ("a: " + "[" * 200_000, ", line 1: not a job file: values within values"),  # crashes PyYAML
        ("a: 1\nb:\n" + "- " * 100_000, ", line 3: not a job file: values within values"),
        ("a: 1\nb: 1" + ":1" * 100_000, ", line 2: not a job file: a text of more than 10,000 characters"),
        ("#" * 300_000, " is larger than a job file may be, 256 KiB"),
        (b"x: 1\nname: \xff\xfe\n", ", line 2: not valid YAML: the byte 0xff is not UTF-8"),
        ("", ", line 1: a job file is a mapping of keys such as `name: my_job`"),
        ("# nothing\n", ", line 1: a job file is a mapping of keys"),
        ("- name: a\n", ", line 1: a job file is a mapping of keys"),
        ("name\n", ", line 1: a job file is a mapping of keys"),
    ],
)  # fmt: skip
def test_what_is_not_a_mapping_of_keys_is_named_with_its_line(
    tmp_path: Path, text: str | bytes, message: str
):
    assert message in message_of(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(JobError, match=r"nowhere\.yaml cannot be read: No such file"):
        load_job(tmp_path / "nowhere.yaml")
    with pytest.raises(JobError, match="cannot be read: Is a directory"):
        load_job(tmp_path)


LAUGHS = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"] + [
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)
]
MERGES = ["a0: &a0 {x: 1}"] + [f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 40)]


@pytest.mark.parametrize("lines", [LAUGHS, MERGES], ids=["lists", "merges"])
def test_aliases_of_aliases_are_refused_before_they_fill_the_memory(
    tmp_path: Path, lines: list[str]
):
    text = message_of(tmp_path, "\n".join(lines))
    assert ": not a job file: more than 20,000 values, counting what stands behind each" in text


def test_a_long_value_is_quoted_in_part_and_on_one_line(tmp_path: Path):
    text = message_of(tmp_path, TEXT.replace("float64", '"' + "x" * 5000 + '"'))
    assert 'inputs.x.type: "xxx' in text
    assert "x… (5,002 characters) is not allowed; valid values: 'string'" in text
    assert len(text) < 1000
    text = message_of(tmp_path, '"a\\n  line 99, name: \\e[31m": 1\n' + TEXT)
    assert "\n  line 1, a\\n  line 99, name: \\x1b[31m: unknown key" in text


@pytest.mark.parametrize("scorer", ["../scorer.py", "own/../../scorer.py", "/srv/scorer.py"])
def test_a_scorer_lies_where_the_job_file_is_reviewed(tmp_path: Path, scorer: str):
    text = message_of(tmp_path, TEXT + f"scorer: {scorer}\n")
    assert f"line 15, scorer: '{scorer}' is not in the job file's folder" in text


@pytest.mark.parametrize("scorer", ["~/scorer.py", "{data}/scorer.py", "$HOME/s.py", r"own\s.py"])
def test_a_scorers_path_is_not_expanded(tmp_path: Path, scorer: str):
    text = message_of(tmp_path, TEXT + f"scorer: '{scorer}'\n")
    assert "line 15, scorer: " in text
    assert "is not expanded" in text


def test_dates_stay_text(tmp_path: Path):
    daily = TEXT.replace("2013-02", "2013-05-07").replace("0 3 2 * *", "0 3 * * *")
    job = load_job(write(tmp_path, daily + "partition: day\n")).job
    assert (job.start, job.first_partition.key) == ("2013-05-07", "2013-05-07")


def test_what_yaml_merges_is_read(tmp_path: Path):
    merged = TEXT.replace(
        "  x: {type: float64}", "  x: &number {type: float64, min: 0}\n  z: {<<: *number, max: 9}"
    )
    z = load_job(write(tmp_path, merged)).job.inputs["z"]
    assert (z.type, z.min, z.max) == ("float64", 0, 9)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.dates(),
    st.sampled_from(["2013-02", "month", "{data}", "{", "0 3 2 * *", "31 2 30 2 *", "9999-12", ""]),
)  # fmt: skip
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalars, inner, max_size=3),
    max_leaves=6,
)


def places(values: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = values.items() if isinstance(values, dict) else enumerate(values)
    found = [path] if path else []
    for key, value in inner:
        if isinstance(value, dict | list):
            found += places(value, (*path, key))
        else:
            found.append((*path, key))
    return found


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzzed") / "job.yaml"


@given(st.sampled_from(places(JOB)), anything)
def test_whatever_stands_in_a_job_file_the_only_error_is_a_job_error(
    fuzzed: Path, place: tuple[Any, ...], value: Any
):
    """Any other error would take all other Dags with it."""
    values = yaml.safe_load(yaml.safe_dump(JOB))
    section = values
    for step in place[:-1]:
        section = section[step]
    section[place[-1]] = value
    fuzzed.write_text(yaml.safe_dump(values))
    with contextlib.suppress(JobError):
        load_job(fuzzed)


@given(st.text(st.sampled_from("ab:-[]{}&*!?|>'\"#%@`, \n\t0"), max_size=30))
def test_whatever_text_a_job_file_has_the_only_error_is_a_job_error(fuzzed: Path, text: str):
    fuzzed.write_text(text)
    with pytest.raises(JobError):
        load_job(fuzzed)


def test_reading_jobs_and_manifests_loads_no_package_of_data(tmp_path: Path):
    """Airflow parses the Dag files again and again, in a process of its own each time."""
    path = write(tmp_path, TEXT)
    code = (
        "import sys\n"
        "import scoring.job.loader, scoring.destinations.base, scoring.storage.connections\n"
        f"job = scoring.job.loader.load_job({str(path)!r})\n"
        "connections = scoring.storage.connections.Connections()\n"
        "publisher = scoring.destinations.base.open_publisher(job.job, job.roots(), connections)\n"
        "list(publisher.all_published())\n"
        "heavy = {'pandas', 'numpy', 'pyarrow', 'sklearn', 'skops', 'joblib', 'scipy', 'airflow'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
