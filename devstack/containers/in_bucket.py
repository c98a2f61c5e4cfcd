"""What lies in the bucket: run by Python in a container, with the job's name; prints JSON for
`comparison`.
"""

import hashlib
import io
import json
import os
import re
import sys

sys.path.append("/opt/scoring")


def published(job: str) -> dict[str, dict[str, object]]:
    """Rows and sha256 of each month's predictions, from the bytes of the object."""
    import pyarrow.parquet as pq

    from deploy import load_data

    bucket, _, prefix = os.environ["SCORING_DATA"].removeprefix("s3://").partition("/")
    name = os.environ["SCORING_AWS_CONN_ID"]
    s3 = load_data.client(os.environ[f"AIRFLOW_CONN_{name.upper()}"])
    folder = "/".join([*([prefix] if prefix else []), "predictions", job, ""])
    found: dict[str, dict[str, object]] = {}
    for entry in s3.list_objects_v2(Bucket=bucket, Prefix=folder).get("Contents", []):
        month = re.fullmatch(r"month=([\d-]+)/predictions\.parquet", entry["Key"][len(folder) :])
        if month:
            data = s3.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
            rows = pq.ParquetFile(io.BytesIO(data)).metadata.num_rows
            found[month[1]] = {"rows": rows, "sha256": hashlib.sha256(data).hexdigest()}
    return found


if __name__ == "__main__":
    print(json.dumps(published(sys.argv[1])))
