"""Pages of ListObjectsV2, parsed a hundred times as fast as botocore does.

botocore's own parser takes about 0.2 ms for each object, most of it for its date. With it, a listing
of 7,000 objects takes longer than everything else that coverage does.  A page that comes again, byte
by byte, as it does where somebody looks at the same destination every minute, is not parsed again.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

PAGES_REMEMBERED = 64
"""Pages of at most 1,000 objects: about half a megabyte each."""

_EVENT, _ID = "before-parse.s3.ListObjectsV2", "scoring-listing"


def parse_listings_fast(client: Any) -> None:
    """Have ``client`` give key, size, ETag and date of listed objects without botocore's parser."""
    client.meta.events.register(_EVENT, _parse, unique_id=_ID)


def _parse(
    response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any
) -> None:
    """Take the objects out of the answer; botocore parses what is left of it."""
    if response_dict["status_code"] != 200:
        return
    try:
        found, rest = _taken_apart(response_dict["body"])
    except ElementTree.ParseError:
        return  # botocore says what is wrong with it
    if found:
        customized_response_dict["Contents"] = found
        response_dict["body"] = rest


@lru_cache(maxsize=PAGES_REMEMBERED)
def _taken_apart(body: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """Return the objects in a page, and the page without them."""
    root = ElementTree.fromstring(body)
    space = root.tag.rpartition("}")[0] + "}" if "}" in root.tag else ""
    nodes = root.findall(f"{space}Contents")
    for node in nodes:
        root.remove(node)
    return [_object(node, space) for node in nodes], ElementTree.tostring(root)


def _object(node: ElementTree.Element, space: str) -> dict[str, Any]:
    return {
        "Key": node.findtext(f"{space}Key", ""),
        "Size": int(node.findtext(f"{space}Size", "0")),
        "ETag": node.findtext(f"{space}ETag", ""),
        "LastModified": datetime.fromisoformat(node.findtext(f"{space}LastModified", "")),
    }
