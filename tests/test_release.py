"""The workflows do what they may and no more, and a release whose parts disagree is refused."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

yaml = pytest.importorskip("yaml", reason="reads workflows: pip install pyyaml")

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "cmake" / "wheels"))
try:
    import check_release
    import test_wheel
finally:
    sys.path.remove(str(ROOT / "cmake" / "wheels"))

WORKFLOWS = {file.name: file for file in sorted((ROOT / ".github" / "workflows").glob("*.yml"))}


def read(name: str) -> dict:
    return yaml.safe_load(WORKFLOWS[name].read_text(encoding="utf-8"))


def steps() -> list:
    return [
        pytest.param(step, id=f"{name}:{job_name}:{number}")
        for name in WORKFLOWS
        for job_name, job in read(name)["jobs"].items()
        for number, step in enumerate(job.get("steps", []))
    ]


def test_the_workflows_are_there():
    assert set(WORKFLOWS) == {"ci.yml", "release.yml", "wheels.yml"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned(name):
    """By the full SHA of a commit, with the version for people behind it; our own workflows are those of the commit."""
    lines = re.findall(r"^.*\buses:.*$", WORKFLOWS[name].read_text(encoding="utf-8"), re.MULTILINE)
    assert lines
    for line in lines:
        assert re.search(
            r"uses: (\./\.github/workflows/\w+\.yml( #|$)|[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$)", line
        ), line


@pytest.mark.parametrize("step", steps())
def test_no_step_keeps_credentials_or_runs_what_others_wrote(step):
    if step.get("uses", "").startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] is False
    assert "${{" not in step.get("run", ""), "an expression in a script is text that others may write: use env"


@pytest.mark.parametrize("name", WORKFLOWS)
def test_permissions_are_least(name):
    workflow = read(name)
    assert workflow["permissions"] == {"contents": "read"}
    more = {job: body["permissions"] for job, body in workflow["jobs"].items() if "permissions" in body}
    more = {job: allowed for job, allowed in more.items() if allowed != {"contents": "read"}}
    assert more == ({"publish": {"id-token": "write"}} if name == "release.yml" else {})


def test_the_job_that_may_publish_runs_nothing_of_the_repository():
    release = read("release.yml")
    assert release[True] == {"push": {"tags": ["v*"]}}  # YAML reads the word `on` so
    publish = release["jobs"]["publish"]
    assert publish["environment"]["name"] == "pypi"
    used = [step["uses"].split("@")[0] for step in publish["steps"] if "uses" in step]
    assert used == ["actions/download-artifact", "pypa/gh-action-pypi-publish"]
    assert "password" not in publish["steps"][-1]["with"]
    needed, reached = {"publish"}, set()
    while needed:
        job = needed.pop()
        reached.add(job)
        needs = release["jobs"][job].get("needs", [])
        needed |= {needs} if isinstance(needs, str) else set(needs)
    assert reached == {"publish", "files", "wheels", "tag"}


def test_ci_runs_its_jobs_one_behind_the_other():
    needs = {job: body.get("needs") for job, body in read("ci.yml")["jobs"].items()}
    assert needs == {"lint": None, "linux": "lint", "macos": "linux", "wheels": "macos"}


@pytest.mark.parametrize("step", steps())
def test_the_files_that_a_step_runs_exist(step):
    for word in re.findall(r"(?:cmake|\.ci|kernels|tests)/[\w./]+", step.get("run", "")):
        assert (ROOT / word).exists(), word


@pytest.mark.parametrize(
    ("asked", "of_pip"), [("2.11", "torch==2.11.*"), ("2.11.0", "torch==2.11.0"), ("newest", "torch")]
)
def test_the_torch_that_a_wheel_is_tried_beside(asked, of_pip):
    assert test_wheel.requirement(asked) == of_pip


def pack(folder: pathlib.Path, *names: str) -> pathlib.Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


SOURCE = "sdist/metalsvd-1.2.3.tar.gz"
LINUX = "linux/metalsvd-1.2.3-py3-none-manylinux_2_28_x86_64.whl"
MACOS = "metalsvd-1.2.3-py3-none-macosx_14_0_arm64.whl"


@pytest.fixture
def release(tmp_path):
    """A repository of version 1.2.3 that is ready to be released."""
    repository = tmp_path / "repository"
    repository.mkdir()
    (repository / "pyproject.toml").write_text('[build-system]\n[project]\nname = "metalsvd"\nversion = "1.2.3"\n')
    (repository / "CHANGELOG.md").write_text("# Changes\n\n## 1.2.3 (2027-01-31)\n\n## 1.2.2 (2027-01-01)\n")
    return repository


def faults(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_a_release_that_agrees_passes(release, tmp_path, capsys):
    dist = pack(tmp_path / "dist", SOURCE, LINUX, MACOS)
    assert check_release.main(["v1.2.3", "--files", str(dist)], release) == 0
    assert capsys.readouterr().out == "v1.2.3: version 1.2.3\n"


@pytest.mark.parametrize("tag", ["1.2.3", "v1.2.4", "v1.2.3rc1", "v1.2", "v1.2.3.0"])
def test_a_tag_of_another_version_is_refused(tag, release, capsys):
    assert check_release.main([tag], release) == 1
    (fault,) = faults(capsys)
    assert f"the tag is {tag}, expected v1.2.3" in fault


@pytest.mark.parametrize("heading", ["1.2.3 (unreleased)", "1.2.2 (2027-01-31)", "1.2.3", "11.2.3 (2027-01-31)"])
def test_changes_that_are_not_dated_are_refused(heading, release, capsys):
    (release / "CHANGELOG.md").write_text(f"# Changes\n\n## {heading}\n")
    assert check_release.main(["v1.2.3"], release) == 1
    (fault,) = faults(capsys)
    assert f"CHANGELOG.md begins with {heading}, expected 1.2.3 and the day" in fault


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ([SOURCE, LINUX], ["holds 0 files metalsvd-1.2.3-py3-none-macosx_14_0_arm64.whl, expected one macOS wheel"]),
        ([SOURCE, LINUX, MACOS, f"more/{MACOS}"], ["holds 2 files metalsvd-1.2.3-py3-none-macosx_14_0_arm64.whl"]),
        (
            [SOURCE, LINUX.replace("manylinux_2_28", "linux"), MACOS],
            ["holds 0 files metalsvd-1.2.3-py3-none-manylinux_*_x86_64.whl", "linux_x86_64.whl is none of "],
        ),
        ([SOURCE, LINUX, MACOS, "sdist/metalsvd-1.2.2.tar.gz"], ["metalsvd-1.2.2.tar.gz is none of source dist"]),
    ],
    ids=["missing", "twice", "not manylinux", "another version"],
)
def test_other_files_are_refused(files, words, release, tmp_path, capsys):
    dist = pack(tmp_path / "dist", *files)
    assert check_release.main(["v1.2.3", "--files", str(dist)], release) == 1
    found = faults(capsys)
    assert len(found) == len(words), found
    assert all(word in fault for word, fault in zip(words, found, strict=True)), found


def test_the_version_that_is_checked_is_the_one_of_the_package():
    import metalsvd

    assert check_release.version_of((ROOT / "pyproject.toml").read_text(encoding="utf-8")) == metalsvd.__version__


def test_the_script_itself_fails_with_a_status():
    script = ROOT / "cmake" / "wheels" / "check_release.py"
    done = subprocess.run([sys.executable, script, "v0.0.0"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "the tag is v0.0.0, expected v" in done.stderr
