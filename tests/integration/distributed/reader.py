"""A reader that reads all published months all the time: python reader.py ENDPOINT BUCKET
DESTINATION DIGESTS REPORT

It is not part of the product and uses none of it: boto3 reads, hashlib judges. Keys come by boto3's
own variables. DIGESTS is a JSON file, month → the digests that its predictions may have. A month is
read well when it is absent and has never been there, or when it is whole: a digest that is
expected, and that a manifest of the month names. REPORT holds the figures as JSON after each look
at all months.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

PAUSE_SECONDS = 0.01  # it shares two cores with all that it watches


class Reader:
    def __init__(self, endpoint: str, bucket: str, destination: str, digests: Path) -> None:
        self.expected: dict[str, list[str]] = json.loads(digests.read_text())
        self.bucket, self.destination = bucket, destination
        self.counts: Counter[str] = Counter()
        self.bad: list[str] = []
        self.seen: set[str] = set()
        settings = Config(
            retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10,
            s3={"addressing_style": "path"},
        )  # fmt: skip
        self.s3 = boto3.client("s3", endpoint_url=endpoint, config=settings)

    def read(self, month: str) -> None:
        try:
            before = self.named(month)
            data = self.get(f"month={month}/predictions.parquet")
            named = before | self.named(month)
        except (BotoCoreError, ClientError):  # the server is down, which does not count
            self.counts["unanswered"] += 1
            return
        self.counts["reads"] += 1
        if data is None:
            self.judge(month in self.seen, f"{month}: absent, after it was there")
            self.counts["absent"] += 1
            return
        self.seen.add(month)
        digest = hashlib.sha256(data).hexdigest()
        self.judge(
            digest not in self.expected[month], f"{month}: {len(data)} bytes, {digest}, unknown"
        )
        self.judge(digest not in named, f"{month}: {digest}, but manifests name {sorted(named)}")

    def judge(self, is_bad: bool, what: str) -> None:
        if is_bad:
            self.bad.append(f"{time.time():.3f} {what}")

    def named(self, month: str) -> set[str]:
        """The digests that the manifests of a month name, of the present one and of a coming one.

        The coming one is read first: where it has gone meanwhile, it has become the present one.
        """
        prefix = f"{self.destination}/_manifests/month={month}"
        found = self.s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix)
        keys = [
            item["Key"].removeprefix(f"{self.destination}/") for item in found.get("Contents", [])
        ]
        texts = [text for text in map(self.get, sorted(keys, reverse=True)) if text is not None]
        return {json.loads(text)["output"]["sha256"] for text in texts}

    def get(self, name: str) -> bytes | None:
        try:
            answer = self.s3.get_object(Bucket=self.bucket, Key=f"{self.destination}/{name}")
            data: bytes = answer["Body"].read()
        except ClientError as error:
            if error.response["Error"]["Code"] == "NoSuchKey":
                return None
            raise
        return data

    def report(self) -> dict[str, Any]:
        return {**self.counts, "bad": self.bad}


def main(arguments: list[str]) -> None:
    endpoint, bucket, destination, digests, report = arguments
    reader = Reader(endpoint, bucket, destination, Path(digests))
    part = Path(f"{report}.part")
    while True:
        for month in reader.expected:
            reader.read(month)
            time.sleep(PAUSE_SECONDS)
        part.write_text(json.dumps(reader.report()))
        part.replace(report)


if __name__ == "__main__":
    main(sys.argv[1:])
