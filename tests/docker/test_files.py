"""The files around the image are in order, as far as that can be told without an engine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from prefect.utilities.templating import apply_values

from pos3.orchestration.worker.settings import NAMES
from tests.docker.engine import ROOT, compose

DOCKER = ROOT / "docker"
KUBERNETES = "1.31.0"


def tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


@pytest.mark.parametrize("file", ["docker/Dockerfile", "examples/stack/Dockerfile"])
def test_hadolint_finds_nothing(file: str) -> None:
    done = subprocess.run([tool("hadolint"), str(ROOT / file)], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_an_old_engine_can_build_the_image() -> None:
    text = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"^# *syntax=|<<-?\w+|--link|--start-interval|--mount", text, re.MULTILINE)


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run([tool("shellcheck"), str(DOCKER / "entrypoint.sh")], capture_output=True, text=True)
    assert done.stdout + done.stderr == ""


def test_compose_accepts_its_file() -> None:
    command = compose()
    if not shutil.which(command[0]):
        pytest.skip("neither 'docker compose' nor docker-compose is installed")
    file = DOCKER / "compose.yaml"
    done = subprocess.run([*command, "--file", str(file), "config", "--quiet"], capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_manifest_is_what_kubernetes_expects() -> None:
    documents = list(yaml.safe_load_all((DOCKER / "kubernetes" / "worker.yaml").read_text(encoding="utf-8")))
    assert [document["kind"] for document in documents][-1] == "StatefulSet"
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)


def template(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCKER / "pools" / f"{name}.json").read_text(encoding="utf-8"))
    return found


def defaults(given: dict[str, Any]) -> dict[str, Any]:
    properties = given["variables"]["properties"]
    # Prefect leaves out what is None.
    return {name: item["default"] for name, item in properties.items() if item.get("default") is not None}


def test_the_jobs_of_the_kubernetes_pool_are_what_kubernetes_expects() -> None:
    given = template("kubernetes")
    manifest = apply_values(given["job_configuration"]["job_manifest"], {**defaults(given), "name": "run"})
    # Prefect fills these in for each run.
    manifest["spec"]["template"]["spec"]["containers"][0] |= {"args": ["prefect", "flow-run", "execute"], "env": []}
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    pod = manifest["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 60
    assert {"name": "tmp", "emptyDir": {"sizeLimit": "2Gi"}} in pod["volumes"]


@pytest.mark.parametrize("name", ["docker", "kubernetes"])
def test_a_template_of_a_pool_uses_the_variables_that_it_has(name: str) -> None:
    given = template(name)
    Draft202012Validator.check_schema(given["variables"])
    used = set(re.findall(r"{{ (\w+) }}", json.dumps(given["job_configuration"])))
    assert used == set(given["variables"]["properties"])


def test_every_setting_of_a_worker_is_documented() -> None:
    page = (ROOT / "docs" / "workers.md").read_text(encoding="utf-8")
    entrypoint = (DOCKER / "entrypoint.sh").read_text(encoding="utf-8")
    settings = {f"POS3_WORKER_{name}" for name in NAMES} | set(re.findall(r"\{(POS3_\w+):-", entrypoint))
    assert {name for name in settings if f"| `{name}`" not in page} == set()
