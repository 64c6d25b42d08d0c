"""The only `ray.init`: joins or starts Ray, ships our packages to every worker, and answers what the cluster has."""

from __future__ import annotations

import functools
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from rejoinder.errors import ClusterError, RejoinderError
from rejoinder.recipe import Recipe

CHECKOUT = Path(__file__).resolve().parents[2]
"""The directory that holds platform/, serve/ and tuning/."""

RAY_SETTINGS = {
    # Our runs are no concern of Ray's usage statistics.
    "RAY_USAGE_STATS_ENABLED": "0",
    # How often the Train controller polls; every ray.train.report blocks for about this long (default 2 s).
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # A rank that misses a report ends the run instead of hanging it for ever (Ray's default: no limit).
    "RAY_TRAIN_COLLECTIVE_TIMEOUT_S": "600",
    # Ray's own announcement of the same result tables that our console shows.
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # Serve's proxies ask another replica when one dies (serve/door.py).
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.door.middlewares",
    # On a full machine a proxy takes longer to start than the three times 5 s after which Serve kills it.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "20",
    # How often replicas and proxies tell Serve their load (default 10 s, which a burst would have to wait for). Ray
    # 2.60 has the names and does not read them yet: serve.app says it in the way that it heeds.
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}

_WORKER_SETTINGS = {
    # Batches differ in shape, and oneDNN keeps what it made for each of the last 1,024: gigabytes. docs/results.md.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16",
    "LRU_CACHE_CAPACITY": "16",
    # Memory that a step gives back is taken again by the next one: returning it to the system costs page faults.
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    # The training runs in a thread, and a thread's own arena would give large pieces back all the same.
    "MALLOC_ARENA_MAX": "1",
}

_TOO_SLOW = "timed out during startup"
"""In Ray's words when its own processes did not come up in time."""
_PASSED_ON = ("AWS_", "REJOINDER_CACHE", "REJOINDER_DOOR")


@contextmanager
def connect(recipe: Recipe) -> Iterator[None]:
    """Connects to Ray for the length of the block; a Ray that was started here is stopped at its end.

    Raises ClusterError when the cluster of `cluster.address` cannot be joined.
    """
    import ray

    if ray.is_initialized():
        yield
        return
    for name, value in RAY_SETTINGS.items():
        os.environ.setdefault(name, value)
    settings, local = recipe.cluster, recipe.cluster.address == "local"
    _require_somebody_listens(settings.address)
    debug = "REJOINDER_DEBUG" in os.environ
    options: dict[str, Any] = {}
    if local:
        options = {"num_cpus": settings.num_cpus, "include_dashboard": False, "object_store_memory": 400 * 10**6}
    try:
        with _in_groups_of_their_own():
            _patiently(
                functools.partial(
                    ray.init,
                    address=settings.address,
                    runtime_env=runtime_env(),
                    log_to_driver=debug,
                    logging_level="INFO" if debug else "ERROR",
                    **options,
                )
            )
    except Exception as error:  # Ray has bare ones, such as when its own processes are too slow to come up
        if local:
            raise ClusterError(
                f"cluster.address = local: Ray did not start ({' '.join(str(error).split())}); is this machine "
                "overloaded, or its memory or disk full? Try again, or join a cluster with cluster.address"
            ) from error
        raise ClusterError(
            f"cluster.address = {settings.address}: no Ray cluster can be joined there "
            f"({' '.join(str(error).split())}); start one with `ray start --head`, or leave cluster.address=local"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _patiently(start: Callable[[], object]) -> None:
    """Ray gives its own processes half a minute to come up, which a full machine takes; the next time it is quicker."""
    before = set(psutil.Process().children())
    for is_last in (False, False, True):
        try:
            start()
            return
        except Exception as error:
            if is_last or _TOO_SLOW not in str(error):
                raise
        for process in set(psutil.Process().children()) - before:  # what Ray left of it
            with suppress(psutil.NoSuchProcess):
                process.kill()


@contextmanager
def _in_groups_of_their_own() -> Iterator[None]:
    """A SIGTERM to the job's whole process group, as batch systems send it, must leave Ray alive for a last checkpoint.

    Ray's processes still die with the driver: the kernel is asked to see to that.
    """
    from ray._private import services

    popen = services.ConsolePopen
    services.ConsolePopen = functools.partial(popen, process_group=0)
    try:
        yield
    finally:
        services.ConsolePopen = popen


def _require_somebody_listens(address: str) -> None:
    """Ray itself tries for minutes to reach a host that does not answer."""
    match = re.fullmatch(r"(?:ray://)?(?P<host>[^:/]+|\[.+\]):(?P<port>\d+)", address)
    if match is None:  # `local`, `auto`, or something that ray.init has its own words for
        return
    try:
        socket.create_connection((match["host"].strip("[]"), int(match["port"])), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"cluster.address = {address}: nobody listens there ({error.strerror or error}); start a cluster with "
            "`ray start --head`, or leave cluster.address=local"
        ) from None


def runtime_env() -> dict[str, Any]:
    """What Ray's workers need to run our code: the packages themselves, uploaded from this checkout.

    Chosen over PYTHONPATH because it needs no shared file system and does not clash with a PYTHONPATH that the job
    was submitted with.
    """
    packages = [CHECKOUT / "platform" / "rejoinder", CHECKOUT / "serve", CHECKOUT / "tuning"]
    settings = _WORKER_SETTINGS | {name: os.environ[name] for name in RAY_SETTINGS if name in os.environ}
    settings |= {name: os.environ[name] for name in _WORKER_SETTINGS if name in os.environ}
    # What reaches a bucket from here is to reach it from every node.
    settings |= {name: value for name, value in os.environ.items() if name.startswith(_PASSED_ON)}
    return {"py_modules": [str(package) for package in packages], "env_vars": settings}


def results(references: Sequence[Any]) -> list[Any]:
    """`ray.get`, with the task's own error instead of Ray's wrapping when a user can put it right."""
    import ray

    try:
        return list(ray.get(list(references)))
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, RejoinderError):
            raise cause from None
        raise


def require(recipe: Recipe, num_cpus: float, num_gpus: float, what: str) -> None:
    """Raises ClusterError at once when the cluster has less than is asked for, unless it may grow."""
    import ray

    total = ray.cluster_resources()
    cpus, gpus = total.get("CPU", 0), total.get("GPU", 0)
    if (cpus < num_cpus or gpus < num_gpus) and recipe.cluster.wait_for_nodes_s == 0:
        raise ClusterError(
            f"{what} needs {_count(num_cpus, 'CPU')} and {_count(num_gpus, 'GPU')}, the cluster has "
            f"{_count(cpus, 'CPU')} and {_count(gpus, 'GPU')}; ask for less, add nodes, or set "
            "cluster.wait_for_nodes_s where an autoscaler brings them"
        )


def require_here(recipe: Recipe, num_cpus: float, num_gpus: float, what: str) -> None:
    """`require` before a Ray of our own is started: it will have what this machine has."""
    import ray
    from ray._private import accelerators, utils

    if recipe.cluster.address != "local" or ray.is_initialized():
        return
    devices = accelerators.get_accelerator_manager_for_resource("GPU")
    gpus, visible = devices.get_current_node_num_accelerators(), devices.get_current_process_visible_accelerator_ids()
    gpus = gpus if visible is None else min(gpus, len(visible))
    cpus = recipe.cluster.num_cpus or utils.get_num_cpus()
    if cpus < num_cpus or gpus < num_gpus:
        raise ClusterError(
            f"{what} needs {_count(num_cpus, 'CPU')} and {_count(num_gpus, 'GPU')}, this machine has "
            f"{_count(cpus, 'CPU')} and {_count(gpus, 'GPU')}; ask for less, or join a larger cluster with "
            "cluster.address"
        )


def leaving_nodes() -> set[str]:
    """The ids of nodes that were announced to go away: preempted, or taken by an autoscaler."""
    from ray._private.state import state  # Ray has no public name for it; ray.train asks the same

    return set(state.get_draining_nodes())


def room(recipe: Recipe, *, is_whole: bool = False) -> int:
    """How many training workers fit on the nodes that stay, beside what runs there; `is_whole`: if nothing did."""
    from ray._private import state

    leaving, scaling = leaving_nodes(), recipe.scaling
    nodes = state.total_resources_per_node() if is_whole else state.available_resources_per_node()
    fitting = 0
    for node_id, has in nodes.items():
        if node_id not in leaving:
            by_gpus = [int(has.get("GPU", 0)) // scaling.gpus_per_worker] if scaling.gpus_per_worker else []
            fitting += min([int(has.get("CPU", 0)) // scaling.cpus_per_worker, *by_gpus])
    return fitting


def num_cpus() -> int:
    """CPU cores that Ray has to give, over all nodes."""
    import ray

    return int(ray.cluster_resources().get("CPU", 1))


def versions() -> dict[str, str]:
    """What a run was made with."""
    from importlib.metadata import version

    packages = ("ray", "torch", "mlflow", "pyarrow", "tokenizers")
    return {"python": sys.version.split()[0]} | {package: version(package) for package in packages}


def _count(number: float, unit: str) -> str:
    return f"{number:g} {unit}" + ("" if number == 1 else "s")
