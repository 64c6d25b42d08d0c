"""A deployed application in; out when it runs, or why it does not: what a replica said, or which room it lacks."""

from __future__ import annotations

import time

from ray import serve
from ray._private import state  # Ray has no public name for what one node has left; rejoinder.cluster asks the same

from rejoinder.errors import ClusterError, ServingError
from rejoinder.recipe import Recipe, ServingSection

ROOM_WITHIN_S = 60.0
"""How long a replica is waited for that no node has room for; more by cluster.wait_for_nodes_s. Not less: a replica
that was given the last room has no process for some seconds, and looks the same meanwhile."""
_LOOK_EVERY_S = 0.2
_NOT_YET = ("DEPENDENCIES_UNREADY", "PENDING_CREATION")
"""What Ray says of an actor that has no process yet, or has one and is still being made in it."""


def wait_until_running(recipe: Recipe) -> None:
    """Blocks until as many replicas run as were asked for, all of them new.

    Serve itself waits for room without end and says nothing. Raises ServingError when the application does not come
    up, ClusterError when no node has room for a replica: those that ran before go on meanwhile.
    """
    serving, since = recipe.serving, time.monotonic()
    patience_s = ROOM_WITHIN_S + recipe.cluster.wait_for_nodes_s
    while True:
        name, application = serving.application, serve.status().applications.get(serving.application)
        if application is None:
            raise ServingError(f"the application {name!r} was taken away while it was being deployed")
        if application.status == "RUNNING":
            return
        if application.status == "DEPLOY_FAILED":
            raise ServingError(f"the application {name!r} did not come up: {_reason(application) or 'no replica ran'}")
        some_stop = any("STOPPING" in one.replica_states for one in application.deployments.values())
        if some_stop or not _waits_for_room(serving):
            since = time.monotonic()  # who stops leaves room when its last reply has ended
        elif time.monotonic() - since > patience_s:
            raise ClusterError(_no_room(serving))
        time.sleep(_LOOK_EVERY_S)


def _waits_for_room(serving: ServingSection) -> bool:
    prefix = f"SERVE_REPLICA::{serving.application}#"
    is_waiting = any(
        actor["Name"].startswith(prefix) and actor["State"] in _NOT_YET and not actor["Pid"]
        for actor in state.actors().values()
    )
    return is_waiting and not any(
        has.get("CPU", 0) >= serving.cpus_per_replica and has.get("GPU", 0) >= serving.gpus_per_replica
        for has in state.available_resources_per_node().values()
    )


def _no_room(serving: ServingSection) -> str:
    needs = _resources(serving.cpus_per_replica, serving.gpus_per_replica)
    free = state.available_resources_per_node()
    left = [
        f"{_resources(free.get(id, {}).get('CPU', 0), free.get(id, {}).get('GPU', 0))} of {total.get('CPU', 0):g} CPUs"
        for id, total in state.total_resources_per_node().items()
    ]
    go_on = "; those that run go on, and are replaced as soon as there is room" if num_running(serving) else ""
    return (
        f"no node has room for a new replica of {serving.application!r}: it needs {needs} (serving.cpus_per_replica), "
        f"free are {', '.join(left)}; end other work, add nodes or ask for less, or stop the endpoint "
        f"(`serve shutdown`) and deploy it again{go_on}"
    )


def _resources(cpus: float, gpus: float) -> str:
    return f"{cpus:g} CPU" + ("s" if cpus != 1 else "") + (f" and {gpus:g} GPU" if gpus else "")


def num_running(serving: ServingSection) -> int:
    """Replicas that take requests, by Serve's own count."""
    application = serve.status().applications.get(serving.application)
    deployments = application.deployments.values() if application else ()
    return sum(int(one.replica_states.get("RUNNING", 0)) for one in deployments)


def _reason(application: object) -> str:
    """What a replica said last, else what the application says."""
    said = [one.message for one in application.deployments.values()] + [application.message]  # type: ignore[attr-defined]
    lines = [line.strip() for message in said for line in message.splitlines()[-1:] if line.strip()]
    return lines[0] if lines else ""
