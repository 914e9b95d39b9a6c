"""What must lie in S3, and what may, after a flow run: from its plan and its diary alone, without pos3.

* Completed: exactly the files of the attempt that completed, what was there before below places that are not to be
  cleaned, and nothing else. What a task wrote whose result a later attempt found is there as well, and what a hook
  wrote, unless its process was struck.
* Otherwise: every object from before is there, unless the body of an attempt had ended well and the place holds all of
  its files, since then its final push had begun. What asks to be pushed on errors is there. Nothing is half.
"""

from __future__ import annotations

from chaos.plan import PLACES, Diary, Plan


def violations(plan: Plan, diary: Diary, state: str, last_end: str, found: dict[str, bytes]) -> list[str]:
    """What contradicts the plan in the objects below the run's prefix."""
    wrong = [line["what"] for line in diary.lines() if line["event"] == "wrong"]
    ended, begun = diary.attempts("body-ended"), len(diary.attempts("begins"))
    before = plan.before()
    if state == "Completed":
        if not ended:
            return [*wrong, "completed, but no attempt came to its end"]
        expected = {key: content for key, content in before.items() if key.startswith(("in/", "keep/"))}
        for place in (*PLACES, "memo", "hook"):
            expected |= {f"{place}/{name}": content for name, content in plan.written(place, ended[-1]).items()}
        if last_end != "nothing" and "hook/done" not in found:
            del expected["hook/done"]
        return wrong + _differences(expected, found)

    for place in ("in", "memo", "hook", *PLACES):
        there = {key: content for key, content in found.items() if key.startswith(f"{place}/")}
        wrong += _of_an_incomplete_run(plan, place, there, ended, begun)
    log_written = diary.attempts("log-written")
    if log_written and log_written[-1] == begun and last_end != "SIGKILL":
        wanted = {f"log/{name}": content for name, content in plan.written("log", begun).items()}
        wrong += [f"not pushed on error: {key}" for key, content in wanted.items() if found.get(key) != content]
    return wrong


def of_a_pair(plan: Plan, diary: Diary, state: str, found: dict[str, bytes]) -> list[str]:
    """What contradicts the plan in the objects that a run and its neighbour have written below one prefix."""
    ended, begun = diary.attempts("body-ended"), len(diary.attempts("begins"))
    attempts = ended[-1:] if state == "Completed" else range(1, begun + 1)
    allowed = [plan.written("pair", attempt)[plan.name] for attempt in attempts]
    if plan.name not in found:
        return ["missing in what it shares with its neighbour"] if state == "Completed" else []
    return [] if found[plan.name] in allowed else ["nobody wrote this below what it shares with its neighbour"]


def _of_an_incomplete_run(plan: Plan, place: str, there: dict[str, bytes], ended: list[int], begun: int) -> list[str]:
    before = {key: content for key, content in plan.before().items() if key.startswith(f"{place}/")}
    written = {
        attempt: {f"{place}/{name}": content for name, content in plan.written(place, attempt).items()}
        for attempt in range(1, begun + 1)
        if place != "in"
    }
    wrong = []
    for key, content in there.items():
        allowed = [each[key] for each in (before, *written.values()) if key in each]
        if place.startswith("parts/") and key.endswith("/half"):
            allowed.append(b"half")
        if content not in allowed:
            wrong.append(f"nobody wrote this: {key}, {len(content)} bytes")
    missing = sorted(before.keys() - there.keys())
    # After the final push of an attempt, a later one finds the place cleaned, and may leave it so.
    was_finished = bool(ended) and place not in ("in", "keep")
    if was_finished and ended[-1] == begun:
        was_finished = written[begun].items() <= there.items()
    if missing and not was_finished:
        wrong.append(f"deleted, although the run did not complete: {missing}")
    return wrong


def _differences(expected: dict[str, bytes], found: dict[str, bytes]) -> list[str]:
    wrong = [f"missing: {key}" for key in sorted(expected.keys() - found.keys())]
    wrong += [f"too much: {key}" for key in sorted(found.keys() - expected.keys())]
    same = expected.keys() & found.keys()
    return wrong + [f"wrong content: {key}" for key in sorted(same) if expected[key] != found[key]]
