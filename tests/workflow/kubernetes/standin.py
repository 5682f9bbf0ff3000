"""A stand-in for the API of a Kubernetes cluster on the loopback interface, which runs a pod's command as a process.

What it accepts is decided by the published OpenAPI schema of one version, as the package kubernetes-validate ships it,
and by two rules that the API server has beyond it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

VERSION = "1.37.0"


def problems(job: Mapping[str, Any]) -> list[str]:
    """Why the API server would refuse a Job.

    Beyond the schema: an extended resource (one with a domain, such as ``nvidia.com/gpu``) is an integer, and its limit
    is there and equals its request; no two volumes of a container are mounted at one path.
    """
    import kubernetes_validate

    try:
        kubernetes_validate.validate(dict(job), VERSION, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [error.message]
    found = []
    for container in job["spec"]["template"]["spec"]["containers"]:
        asked = {kind: container.get("resources", {}).get(kind) or {} for kind in ("requests", "limits")}
        for name in sorted({key for each in asked.values() for key in each if "/" in key}):
            limit, request = asked["limits"].get(name), asked["requests"].get(name)
            if limit is None or request not in (None, limit):
                found.append(f"{name}: limit must be set for non overcommitable resources and equal its request")
            elif not re.fullmatch(r"\d+", str(limit)):
                found.append(f"{name}: must be an integer")
        places = [mount["mountPath"] for mount in container.get("volumeMounts", [])]
        found += [f"{place}: must be unique" for place in {*places} if places.count(place) > 1]
    return found


class Cluster(ThreadingHTTPServer):
    """The API; ``jobs`` are the manifests that were accepted, ``refused`` why others were not.

    Args:
        folder: Where each pod has a folder of its own, its ``/workdir``.
        environment: Of the container.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.folder, self.environment = folder, environment
        self.jobs: dict[str, dict[str, Any]] = {}
        self.refused: list[str] = []
        self.pods: dict[str, subprocess.Popen] = {}
        self.daemon_threads = True
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def start(self, job: dict[str, Any]) -> None:
        name, (container,) = job["metadata"]["name"], job["spec"]["template"]["spec"]["containers"]
        place = self.folder / name
        place.mkdir(parents=True)
        self.jobs[name] = job
        log = place.with_suffix(".log").open("w")
        self.pods[name] = subprocess.Popen([*container["command"], *container["args"]], cwd=place, stderr=log,
                                           stdout=log, env={**os.environ, **self.environment})  # fmt: skip

    def kubeconfig(self) -> Path:
        """A file that leads a client here."""
        server = f"http://127.0.0.1:{self.server_port}"
        content = {"apiVersion": "v1", "kind": "Config", "current-context": "here",
                   "clusters": [{"name": "here", "cluster": {"server": server}}],
                   "users": [{"name": "me", "user": {}}],
                   "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}]}  # fmt: skip
        file = self.folder / "kubeconfig"
        file.write_text(json.dumps(content))
        return file


class _Answers(BaseHTTPRequestHandler):
    server: Cluster

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, content: Mapping[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.path.endswith("/jobs"):
            return self.answer(content, 201)
        content = {"apiVersion": "batch/v1", "kind": "Job", **content}
        if wrong := problems(content):
            self.server.refused += wrong
            status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Invalid",
                      "message": "; ".join(wrong), "code": 422}  # fmt: skip
            return self.answer(status, 422)
        self.server.start(content)
        self.answer(content, 201)

    def do_DELETE(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def do_GET(self) -> None:
        name = self.path.split("/")[-2]
        if "/jobs/" not in self.path:
            return self.answer({"kind": "PodList", "apiVersion": "v1", "items": []})
        code = self.server.pods[name].poll()
        status = {} if code is None else {"failed": 1} if code else {"succeeded": 1}
        self.answer(self.server.jobs[name] | {"status": status})
