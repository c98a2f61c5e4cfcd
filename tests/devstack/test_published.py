from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from devstack.commands.published import published_table
from tests.scoring.factories import Place, rows, run_steps


def test_the_table_omits_a_month_whose_predictions_never_came(tmp_path: Path) -> None:
    """A publisher that dies before the swap leaves a `.next-` manifest without its predictions."""
    place = Place(tmp_path)
    place.model()
    for key in ("2013-02", "2013-03"):
        place.source(rows(10), f"{key}.parquet")
    job = place.job()
    published, interrupted = (place.run(job, key) for key in ("2013-02", "2013-03"))
    run_steps(published)
    manifest = run_steps(interrupted)
    manifests = place.out / "_manifests"
    waiting = manifests / f"month=2013-03.next-{manifest.output.sha256[:16]}.json"
    (manifests / "month=2013-03.json").rename(waiting)
    shutil.rmtree(place.out / "month=2013-03")

    console = Console(width=120)
    with console.capture() as output:
        console.print(published_table(published.publisher))
    (_, *table) = output.get().splitlines()
    assert [row.split()[0] for row in table] == ["2013-02"]
