"""A version and an alias in; the alias moved or a refusal out, with a table, a reason and an entry in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rejoinder import checkpoints, console
from rejoinder.errors import CheckpointError, EvaluationError, RecipeError, RegistryError
from rejoinder.evaluation import evaluated
from rejoinder.recipe import Recipe
from rejoinder.registry import (
    CHECKPOINT_TAG,
    LATENCY,
    PROMOTED,
    REFUSED,
    ROLLED_BACK,
    Contestant,
    Decision,
    Registry,
    Verdict,
    Version,
    compare_latency,
    contest,
    judge,
    looked_at,
    table,
)
from rejoinder.shards import Prepared
from rejoinder.stages import evaluate_stage, prepare_stage


def promote_stage(recipe: Recipe, number: int | None = None, to: str = "champion", force: str | None = None) -> bool:
    """Asks the gate whether an alias may move to a version, by default to the candidate. Whether it points there now.

    `force` is a reason to move it without asking. Raises RegistryError for what is not there, or when somebody else
    moves the alias meanwhile.
    """
    if force is not None and not force.strip():
        raise RegistryError("--force needs a reason, such as --force 'the champion was trained on the wrong corpus'")
    registry = Registry(recipe)
    candidate, holder = registry.find("candidate" if number is None else number), registry.holder(to)
    with console.stage(f"Promote: {candidate} to {to!r}"):
        if holder == candidate.number:
            console.say(f"   nothing to do: {candidate} is the {to!r} already")
            return True
        if force is not None:
            registry.decide(Decision(PROMOTED, to, candidate.number, holder, force, is_forced=True))
            console.say(f"   {candidate} is now the {to!r} in {registry.uri}, by force: {force}")
            return True
    verdict, compared = _judged(recipe, registry, candidate, None if holder is None else registry.find(holder))
    with console.stage(f"Gate: {candidate} against {f'version {holder}' if holder else 'the limits alone'}"):
        for line in table(verdict.rows):
            console.say(f"   {line}")
        action = PROMOTED if verdict.promotes else REFUSED
        decision = Decision(action, to, candidate.number, holder, verdict.reason, compared | verdict.evidence())
        registry.decide(decision)
        if verdict.promotes:
            console.say(f"   {candidate} is now the {to!r} in {registry.uri}: {verdict.reason}")
        else:
            console.say(f"   refused: {verdict.reason}")
    return verdict.promotes


def promote_job(recipe: Recipe, number: int | None, to: str, force: str | None) -> None:
    """Raises RegistryError when the gate refuses, so that a script sees it."""
    if not promote_stage(recipe, number, to, force):
        raise RegistryError(
            f"the gate refused, {to!r} is as it was; see registry.gate for what is tolerated, or give a reason to do "
            "it all the same: --force REASON"
        )


def rollback_stage(recipe: Recipe, to: str = "champion", reason: str = "") -> Version:
    """An alias goes back to the version before. Twice goes back by two. Raises RegistryError when there is none."""
    registry = Registry(recipe)
    with console.stage(f"Roll back: {to}"):
        holder = registry.holder(to)
        before = registry.ledger.standing().before(to)
        if holder is None or before is None:
            there_is = f"version {holder} is the first" if holder else "it points nowhere: run jobs/promote.py"
            raise RegistryError(f"{to!r} of {recipe.registry.model!r} has nothing to go back to; {there_is}")
        version = registry.find(before)
        registry.decide(Decision(ROLLED_BACK, to, before, holder, reason or f"back from version {holder}"))
        console.say(f"   {version} is the {to!r} again in {registry.uri}, version {holder} no longer")
    return version


def _judged(
    recipe: Recipe, registry: Registry, candidate: Version, champion: Version | None
) -> tuple[Verdict, dict[str, Any]]:
    """By what was measured when the versions were registered; anew where they were measured on other exchanges.

    And, for the ledger, what was compared on what. A champion that cannot be loaded cannot serve either, and is not
    compared with.
    """
    gate = recipe.registry.gate
    looked_at(gate)  # not only when all is measured
    lost = _what_is_wrong_with(registry, champion)
    if lost is not None:
        champion = None
    known = {of.number: _measured_before(registry, of, gate.split) for of in (candidate, champion) if of is not None}
    try:
        ours, theirs = known[candidate.number], known[champion.number] if champion else None
        if ours is None or (champion is not None and theirs is None):
            raise EvaluationError("not measured yet")
        rows = contest(gate, ours, theirs)
    except EvaluationError:
        ours, theirs = _measured_now(recipe, registry, candidate, champion)
        rows = contest(gate, ours, theirs)
    if gate.limits.get(LATENCY) is not None or (champion is not None and gate.tolerated.get(LATENCY) is not None):
        paths = [registry.download(of) for of in (candidate, champion) if of is not None]
        rows.append(compare_latency(recipe, paths, ours.evaluation.samples))
    compared = {
        "split": gate.split,
        "prepared": ours.per_exchange.prepared,
        "checkpoints": [of.tags.get(CHECKPOINT_TAG, "") for of in (candidate, champion) if of is not None],
        "gate": gate.model_dump(mode="json"),
    }
    verdict = judge(gate, rows)
    if lost is not None and verdict.promotes:
        verdict = replace(verdict, reason=f"no limit is missed, and the champion cannot be loaded: {lost}")
    return verdict, compared


def _what_is_wrong_with(registry: Registry, champion: Version | None) -> str | None:
    """Why this code cannot load a champion of older code; None where it can. One that is damaged stops the gate."""
    if champion is None:
        return None
    checkpoint = registry.download(champion)
    try:
        checkpoints.load(checkpoint)
    except (CheckpointError, RecipeError) as error:
        console.say(f"   {champion} is the champion and cannot be loaded, so the limits alone decide: {error}")
        return str(error)
    return None


def _measured_before(registry: Registry, version: Version, split: str) -> Contestant | None:
    found = registry.measured(version)
    return Contestant(*found) if found and found[0].split == split else None


def _measured_now(
    recipe: Recipe, registry: Registry, candidate: Version, champion: Version | None
) -> tuple[Contestant, Contestant | None]:
    """Both on the held-out exchanges of this recipe, with this recipe's metrics and decoding."""
    prepared = prepare_stage(recipe)
    ours = _evaluated(recipe, registry, candidate, prepared)
    return ours, _evaluated(recipe, registry, champion, prepared) if champion else None


def _evaluated(recipe: Recipe, registry: Registry, version: Version, prepared: Prepared) -> Contestant:
    checkpoint, split = registry.download(version), recipe.registry.gate.split
    evaluate_stage(recipe, checkpoint, prepared.folder, split, str(version))
    kept = evaluated(recipe, checkpoint, prepared.folder, split, str(version))
    return Contestant(kept.evaluation, kept.per_exchange)
