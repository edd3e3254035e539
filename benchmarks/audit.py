"""pip-audit where none of its services can be reached: against a checkout of github.com/pypa/advisory-database.

    python benchmarks/audit.py ADVISORY_DATABASE [PIP_AUDIT_OPTION]...

pip-audit itself does the scan of the environment that it is installed in, or of `--path SITE_PACKAGES`; this serves it the
advisories as OSV's own service would. Exit codes are pip-audit's. It knows what the checkout knows: mind its date.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

Advisories = dict[str, list[tuple[dict[str, Any], dict[str, Any]]]]
"""Package -> (advisory, what of it is affected)."""


def read(database: Path) -> Advisories:
    """Every advisory that was not withdrawn. Exits where there is none."""
    found: Advisories = defaultdict(list)
    for path in sorted(database.glob("vulns/*/*.yaml")):
        advisory = yaml.safe_load(path.read_text())
        if not advisory.get("withdrawn"):
            for affected in advisory.get("affected", []):
                found[canonicalize_name(affected["package"]["name"])].append((advisory, affected))
    if not found:
        sys.exit(f"{database} is no checkout of pypa/advisory-database: it has no vulns/*/*.yaml")
    return found


def concerns(affected: dict[str, Any], version: str) -> bool:
    """Whether the version is listed, or lies in one of the ranges."""
    ranges = (each["events"] for each in affected.get("ranges", []) if each["type"] == "ECOSYSTEM")
    return version in affected.get("versions", []) or any(inside(events, Version(version)) for events in ranges)


def inside(events: Iterable[dict[str, str]], version: Version) -> bool:
    """Events are in order: each that the version has passed opens the range or closes it."""
    within = False
    for event in events:
        if "introduced" in event and (event["introduced"] == "0" or version >= Version(event["introduced"])):
            within = True
        if "fixed" in event and version >= Version(event["fixed"]):
            within = False
        if "last_affected" in event and version > Version(event["last_affected"]):
            within = False
    return within


class Service(BaseHTTPRequestHandler):
    """OSV's query, answered from `advisories`."""

    def __init__(self, advisories: Advisories, *handled: Any) -> None:
        self.advisories = advisories
        super().__init__(*handled)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = self.advisories.get(canonicalize_name(asked["package"]["name"]), [])
        found = [advisory for advisory, affected in known if concerns(affected, asked["version"])]
        body = json.dumps({"vulns": found} if found else {}, default=as_rfc3339).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing: pip-audit says what was found."""


def as_rfc3339(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Service, read(Path(sys.argv[1]))))
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1/query"
    sys.exit(
        subprocess.run(["pip-audit", "--vulnerability-service", "osv", "--osv-url", url, *sys.argv[2:]], check=False).returncode
    )


if __name__ == "__main__":
    main()
